// A child subreaper that adopted an orphan before, and adopts another one afterwards.
#include "check.h"
#include <sys/prctl.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  pid_t self = getpid();
  MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
  pid_t middle = MUST(fork());
  if (middle == 0) { // leaves an orphan at once
    if (MUST(fork()) == 0) {
      while (getppid() != self) test_sleep_ms(1);
      test_child_ready(0);
      test_wait();
      CHECK(getppid() == self, "the orphan's parent is %d", getppid());
      _exit(0);
    }
    _exit(0);
  }
  test_reap(middle);
  pid_t later = MUST(fork());
  if (later == 0) { // leaves an orphan after the restore
    if (MUST(fork()) == 0) {
      test_child_ready(1);
      test_wait();
      for (int i = 0; i < 1000 && getppid() != self; i++) test_sleep_ms(2);
      CHECK(getppid() == self, "the later orphan's parent is %d", getppid());
      _exit(0);
    }
    test_wait();
    _exit(0);
  }
  test_await_child(0);
  test_await_child(1);
  test_ready();
  test_wait();
  int value = 0;
  MUST(prctl(PR_GET_CHILD_SUBREAPER, &value));
  CHECK(value == 1, "no longer a subreaper");
  for (int i = 0; i < 3; i++) {
    int status;
    CHECK(wait(&status) > 0 && status == 0, "child %d of 3: status 0x%x, %s", i, status, strerror(errno));
  }
  test_pass();
}
