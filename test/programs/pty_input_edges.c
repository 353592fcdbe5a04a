// What waits in pseudo-terminals beyond plain lines: a quoted character, an end-of-file mark, a line that is not complete, bytes
// that the settings would change a second time, and more output than the kernel gives at once.
// criu: it loses an incomplete line, and runs quoted characters and marks through the settings again
// alone: its terminal numbers must be free at the restore
#include "check.h"
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

static void expect(int fd, const char *text, ssize_t size, const char *what) {
  char got[8192];
  ssize_t count = read(fd, got, sizeof got);
  CHECK(count == size && memcmp(got, text, (size_t)size) == 0, "%s: %zd bytes, %.*s", what, count, (int)count, got);
}

static void await_queue(int fd, int size) {
  int now = 0;
  for (int i = 0; i < 1000 && now < size; i++) {
    MUST(ioctl(fd, FIONREAD, &now));
    if (now < size) test_sleep_ms(2);
  }
  CHECK(now == size, "%d bytes queued, not %d", now, size);
}

enum { long_size = 6000 };
static char text[long_size];

int main(int argc, char **argv) {
  test_init(argc, argv);
  int lines, lines_end, raw, raw_end, long_output, long_end;
  struct termios quiet, changing;
  MUST(openpty(&lines, &lines_end, NULL, NULL, NULL));
  MUST(openpty(&raw, &raw_end, NULL, NULL, NULL));
  MUST(openpty(&long_output, &long_end, NULL, NULL, NULL));
  MUST(tcgetattr(lines_end, &quiet));
  changing = quiet; // a second time through these would change what waits
  changing.c_iflag |= INLCR | ISTRIP;
  quiet.c_lflag &= ~(tcflag_t)ECHO;
  changing.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
  MUST(tcsetattr(lines_end, TCSANOW, &quiet));
  MUST(write(lines, "first\nsecond\n\026\004quoted\nmarked\004part", 33));
  await_queue(lines_end, 5 + 1 + 6 + 1 + 7 + 1 + 6);

  struct termios plain = changing;
  cfmakeraw(&plain);
  MUST(tcsetattr(raw_end, TCSANOW, &plain));
  char bytes[256];
  for (int i = 0; i < 256; i++) bytes[i] = (char)i;
  MUST(write(raw, bytes, 256));
  await_queue(raw_end, 256);
  MUST(tcsetattr(raw_end, TCSANOW, &changing));

  MUST(tcsetattr(long_end, TCSANOW, &quiet));
  for (int i = 0; i < long_size; i++) text[i] = (char)('a' + i % 23);
  CHECK(write(long_end, text, long_size) == long_size, "a page and more of output");
  test_ready();
  test_wait();
  MUST(write(lines, "ial\n", 4));
  expect(lines_end, "first\n", 6, "the first line");
  expect(lines_end, "second\n", 7, "the second line");
  expect(lines_end, "\004quoted\n", 8, "a line with a quoted character");
  expect(lines_end, "marked", 6, "a line ended by a mark");
  expect(lines_end, "partial\n", 8, "a line that was not complete");
  expect(raw_end, bytes, 256, "raw bytes");
  for (int got = 0; got < long_size;) {
    ssize_t count = MUST(read(long_output, bytes, 256));
    CHECK(memcmp(bytes, text + got, (size_t)count) == 0, "the output from %d on", got);
    got += (int)count;
  }
  test_pass();
}
