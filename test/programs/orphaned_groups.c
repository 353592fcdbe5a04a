// Sessions and groups whose leaders have ended: members keep the numbers of the dead.
// criu: it gives the orphan of a dead session leader another parent
#include "check.h"
#include <sys/prctl.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
  pid_t leader = MUST(fork());
  if (leader == 0) {
    MUST(setsid());
    pid_t session = getpid();
    if (MUST(fork()) == 0) {
      pid_t group = session;
      while (getppid() == session) test_sleep_ms(1);
      test_child_ready(0);
      test_wait();
      CHECK(getsid(0) == session, "session %d, not %d", getsid(0), session);
      CHECK(getpgrp() == group, "group %d, not %d", getpgrp(), group);
      _exit(0);
    }
    _exit(0);
  }
  test_reap(leader);
  test_await_child(0);
  test_ready();
  test_wait();
  int status;
  CHECK(wait(&status) > 0 && status == 0, "the member ended with 0x%x", status);
  test_pass();
}
