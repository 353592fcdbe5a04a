// The signal that a process gets when its parent ends: kept, and sent.
#include "check.h"
#include <sys/prctl.h>

static volatile sig_atomic_t got;
static void handler(int signal) { got = signal; }

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
  pid_t middle = MUST(fork());
  if (middle == 0) {
    pid_t grandchild = MUST(fork());
    if (grandchild == 0) {
      signal(SIGUSR2, handler);
      MUST(prctl(PR_SET_PDEATHSIG, SIGUSR2));
      test_child_ready(0);
      test_wait();
      int now = 0;
      MUST(prctl(PR_GET_PDEATHSIG, &now));
      CHECK(now == SIGUSR2, "the parent-death signal is %d", now);
      test_child_ready(1);
      for (int i = 0; i < 2000 && got == 0; i++) test_sleep_ms(2);
      CHECK(got == SIGUSR2, "no signal when the parent ended");
      _exit(0);
    }
    test_wait();
    test_await_child(1);
    _exit(0);
  }
  test_await_child(0);
  test_ready();
  test_wait();
  test_reap(middle);
  int status;
  CHECK(wait(&status) > 0 && status == 0, "the grandchild ended with 0x%x", status);
  test_pass();
}
