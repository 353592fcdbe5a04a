// A pseudo-terminal in packet mode with unread output and input.
// alone: its number must be free at the restore
// criu: it takes the marks of packet mode for output
#include "check.h"
#include <sys/ioctl.h>
#include <termios.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int master = MUST(posix_openpt(O_RDWR | O_NOCTTY));
  MUST(grantpt(master));
  MUST(unlockpt(master));
  int slave = MUST(open(ptsname(master), O_RDWR | O_NOCTTY));
  struct termios raw;
  MUST(tcgetattr(slave, &raw));
  cfmakeraw(&raw);
  MUST(tcsetattr(slave, TCSANOW, &raw));
  MUST(ioctl(master, TIOCPKT, &(int){1}));
  MUST(write(slave, "output", 6));
  MUST(write(master, "input", 5));
  test_sleep_ms(50);
  test_ready();
  test_wait();
  char text[16];
  ssize_t size = MUST(read(master, text, 16));
  if (size == 1 && text[0] != TIOCPKT_DATA) size = MUST(read(master, text, 16));
  CHECK(size == 7 && text[0] == TIOCPKT_DATA && memcmp(text + 1, "output", 6) == 0, "%zd bytes of output", size);
  CHECK(read(slave, text, 16) == 5 && memcmp(text, "input", 5) == 0, "the input");
  test_pass();
}
