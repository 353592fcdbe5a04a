// A child that was born before its parent began a session of its own, with one in a group and one below it: sessions as they were.
#include "check.h"

static pid_t first_session;

static void check_and_end(pid_t session, pid_t group, pid_t parent) {
  test_wait();
  CHECK(getsid(0) == session && getpgid(0) == group && getppid() == parent, "session %d, group %d, parent %d", getsid(0), getpgid(0), getppid());
  _exit(0);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  first_session = getsid(0);
  pid_t middle = MUST(fork());
  if (middle == 0) {
    pid_t before[2], after;
    for (int i = 0; i < 2; i++) {
      if ((before[i] = MUST(fork())) > 0) continue;
      if (i == 1) MUST(setpgid(0, 0));
      pid_t below = MUST(fork()), group = getpgid(0), parent = getppid();
      test_child_ready(i * 2 + (below == 0));
      if (below > 0) {
        test_wait();
        test_reap(below);
      }
      check_and_end(first_session, group, parent);
    }
    while (access(test_path("child-3"), F_OK) != 0) test_sleep_ms(1);
    MUST(setsid());
    if ((after = MUST(fork())) == 0) {
      test_child_ready(4);
      check_and_end(getppid(), getppid(), getppid());
    }
    test_wait();
    CHECK(getsid(0) == getpid(), "the session of the one in the middle is %d", getsid(0));
    test_reap(before[0]);
    test_reap(before[1]);
    test_reap(after);
    _exit(0);
  }
  for (int i = 0; i < 5; i++) test_await_child(i);
  test_ready();
  test_wait();
  test_reap(middle);
  test_pass();
}
