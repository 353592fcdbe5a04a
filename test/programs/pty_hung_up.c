// A pseudo-terminal whose master is closed: a controlling one, of which the program has two descriptors still.
// alone: its number must be free at the restore
#include "check.h"
#include <sys/ioctl.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  signal(SIGHUP, SIG_IGN);
  int master = MUST(posix_openpt(O_RDWR | O_NOCTTY));
  MUST(grantpt(master));
  MUST(unlockpt(master));
  int first = MUST(open(ptsname(master), O_RDWR | O_NOCTTY)), second = MUST(open(ptsname(master), O_RDWR | O_NOCTTY));
  MUST(ioctl(first, TIOCSCTTY, 1));
  MUST(close(master));
  test_ready();
  test_wait();
  char byte;
  CHECK(read(first, &byte, 1) == 0, "the first is no end of file");
  CHECK(read(second, &byte, 1) == 0, "the second is no end of file");
  CHECK(write(first, "x", 1) == -1 && errno == EIO, "write: %s", strerror(errno));
  test_pass();
}
