// A session whose controlling terminal nobody has open but the master, in its parent.
// alone: its number must be free at the restore
#include "check.h"
#include <sys/ioctl.h>

static volatile sig_atomic_t hung_up;

static void note(int signal) {
  (void)signal;
  hung_up = 1;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  int master = MUST(posix_openpt(O_RDWR | O_NOCTTY));
  MUST(grantpt(master));
  MUST(unlockpt(master));
  pid_t child = MUST(fork());
  if (child == 0) {
    signal(SIGHUP, note);
    MUST(setsid());
    int slave = MUST(open(ptsname(master), O_RDWR | O_NOCTTY));
    MUST(ioctl(slave, TIOCSCTTY, 0));
    close(slave);
    close(master);
    test_child_ready(1);
    while (!hung_up) pause();
    _exit(0);
  }
  test_await_child(1);
  test_ready();
  test_wait();
  int session = 0;
  MUST(ioctl(master, TIOCGSID, &session));
  CHECK(session == child, "the terminal's session is %d, not %d", session, child);
  MUST(close(master));
  test_reap(child);
  test_pass();
}
