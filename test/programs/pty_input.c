// Pseudo-terminals with input that nobody has read: lines, and bytes of a raw terminal, locked since.
// alone: its terminal numbers must be free at the restore
#include "check.h"
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

static void expect(int fd, const char *text, ssize_t size, const char *what) {
  char got[256];
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

int main(int argc, char **argv) {
  test_init(argc, argv);
  int lines, lines_end, raw, raw_end;
  struct termios settings;
  MUST(openpty(&lines, &lines_end, NULL, NULL, NULL));
  MUST(openpty(&raw, &raw_end, NULL, NULL, NULL));
  MUST(tcgetattr(lines_end, &settings));
  settings.c_lflag &= ~(tcflag_t)ECHO;
  MUST(tcsetattr(lines_end, TCSANOW, &settings));
  MUST(write(lines, "first\nsecond\n", 13));
  await_queue(lines_end, 13);
  MUST(write(lines_end, "output", 6));
  cfmakeraw(&settings);
  MUST(tcsetattr(raw_end, TCSANOW, &settings));
  MUST(write(raw, "key\003\004\021\0", 7));
  await_queue(raw_end, 7);
  MUST(ioctl(raw, TIOCSPTLCK, &(int){1}));
  test_ready();
  test_wait();
  expect(lines_end, "first\n", 6, "the first line");
  expect(lines, "output", 6, "the output");
  MUST(write(lines, "third\n", 6));
  expect(lines_end, "second\n", 7, "the second line");
  expect(lines_end, "third\n", 6, "a new line");
  int locked;
  MUST(ioctl(raw, TIOCGPTLCK, &locked));
  CHECK(locked == 1, "the lock is open");
  expect(raw_end, "key\003\004\021\0", 7, "raw bytes");
  test_pass();
}
