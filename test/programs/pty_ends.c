// Pseudo-terminals of which only the master is left, in packet mode, locked, and with the slave closed after it wrote.
// criu: it takes the packet mode's status for output, and does not restore TIOCEXCL
// alone: its terminal numbers must be free at the restore
#include "check.h"
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int locked = MUST(posix_openpt(O_RDWR | O_NOCTTY));
  int packets = MUST(posix_openpt(O_RDWR | O_NOCTTY));
  MUST(grantpt(packets));
  MUST(unlockpt(packets));
  MUST(ioctl(packets, TIOCPKT, &(int){1}));
  int slave = MUST(open(ptsname(packets), O_RDWR | O_NOCTTY));
  struct termios settings;
  MUST(tcgetattr(slave, &settings));
  cfmakeraw(&settings);
  MUST(tcsetattr(slave, TCSANOW, &settings));
  MUST(ioctl(slave, TIOCEXCL));
  test_ready();
  test_wait();
  int now;
  MUST(ioctl(locked, TIOCGPTLCK, &now));
  CHECK(now == 1, "the lock is open");
  MUST(ioctl(packets, TIOCGPKT, &now));
  CHECK(now == 1, "the packet mode");
  MUST(ioctl(slave, TIOCGEXCL, &now));
  CHECK(now == 1, "the exclusive mode");
  char got[16];
  MUST(write(slave, "text", 4));
  ssize_t size;
  do size = MUST(read(packets, got, 16)); // what changed of the flow control comes first
  while (got[0] != TIOCPKT_DATA);
  CHECK(size == 5 && got[0] == TIOCPKT_DATA && memcmp(got + 1, "text", 4) == 0, "a packet");
  MUST(write(packets, "key", 3));
  CHECK(read(slave, got, 16) == 3, "a key");
  MUST(unlockpt(locked));
  MUST(close(MUST(open(ptsname(locked), O_RDWR | O_NOCTTY))));
  test_pass();
}
