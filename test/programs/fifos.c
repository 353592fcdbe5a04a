// Named pipes: with unread content, opened at one end only, and deleted while open.
#include "check.h"

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(mkfifo(test_path("fifo"), 0600));
  MUST(mkfifo(test_path("half"), 0600));
  int reader = MUST(open(test_path("fifo"), O_RDONLY | O_NONBLOCK)), writer = MUST(open(test_path("fifo"), O_WRONLY));
  int both = MUST(open(test_path("half"), O_RDWR));
  int alone = MUST(open(test_path("half"), O_RDONLY | O_NONBLOCK));
  MUST(write(writer, "in the fifo", 11));
  MUST(write(both, "half", 4));
  test_ready();
  test_wait();
  char got[32];
  CHECK(read(reader, got, 32) == 11 && memcmp(got, "in the fifo", 11) == 0, "content");
  CHECK(read(reader, got, 32) == -1 && errno == EAGAIN, "the fifo has more");
  MUST(write(writer, "again", 5));
  CHECK(read(reader, got, 32) == 5, "the ends are not connected");
  CHECK(read(alone, got, 32) == 4 && memcmp(got, "half", 4) == 0, "content of the second fifo");
  int later = MUST(open(test_path("fifo"), O_WRONLY | O_NONBLOCK));
  MUST(write(later, "new", 3));
  CHECK(read(reader, got, 32) == 3, "the name leads to another fifo");
  test_pass();
}
