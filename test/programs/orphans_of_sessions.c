// Orphans whose session's leader lives on deeper in the tree than their new parent, a subreaper: parents, sessions and groups as they were.
// criu: CRIU leaves such orphans to pid 1
#include "check.h"
#include <sys/prctl.h>

static void stay(void) {
  test_wait();
  _exit(0);
}

// A child of the caller, by way of a parent that ends at once.
static void make_orphan(int number, bool own_group) {
  pid_t between = MUST(fork());
  if (between > 0) {
    CHECK(waitpid(between, NULL, 0) == between, "waitpid");
    return;
  }
  if (MUST(fork()) == 0) {
    if (own_group) MUST(setpgid(0, 0));
    while (getppid() == between) test_sleep_ms(1);
    char name[32], text[64];
    snprintf(name, sizeof name, "orphan-%d", number);
    snprintf(text, sizeof text, "%d %d", getpid(), getppid());
    test_publish(name, text);
    test_child_ready(number);
    pid_t child = own_group ? MUST(fork()) : 0; // and one below it
    if (own_group && child == 0) stay();
    pid_t session = getsid(0), group = getpgid(0), parent = getppid();
    test_wait();
    CHECK(getppid() == parent && getsid(0) == session && getpgid(0) == group, "orphan %d: parent %d, session %d, group %d", number, getppid(), getsid(0), getpgid(0));
    if (own_group) test_reap(child);
    _exit(0);
  }
  _exit(0);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(prctl(PR_SET_CHILD_SUBREAPER, 1L));
  pid_t middle = MUST(fork());
  if (middle == 0) {
    pid_t leader = MUST(fork());
    if (leader == 0) {
      MUST(setsid());
      make_orphan(0, false);
      make_orphan(1, true);
      test_child_ready(2);
      stay();
    }
    test_wait();
    test_reap(leader);
    _exit(0);
  }
  for (int i = 0; i < 3; i++) test_await_child(i);
  test_ready();
  test_wait();
  int status, ended = 0;
  pid_t pid;
  while ((pid = waitpid(-1, &status, 0)) > 0) {
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child %d ended with %#x", pid, status);
    ended++;
  }
  CHECK(ended == 3, "%d children", ended); // the one in the middle, and both orphans
  test_pass();
}
