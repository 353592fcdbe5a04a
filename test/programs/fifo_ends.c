// Named pipes of which the name is deleted, and of which only a write end or a read end is held.
#include "check.h"

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(mkfifo(test_path("deleted"), 0640));
  int both = MUST(open(test_path("deleted"), O_RDWR));
  int writer = MUST(open(test_path("deleted"), O_WRONLY));
  MUST(write(both, "unread", 6));
  MUST(unlink(test_path("deleted")));
  MUST(mkfifo(test_path("reader"), 0600));
  int reader = MUST(open(test_path("reader"), O_RDONLY | O_NONBLOCK));
  test_ready();
  test_wait();
  char got[16];
  CHECK(read(both, got, 16) == 6 && memcmp(got, "unread", 6) == 0, "content of the deleted fifo");
  MUST(write(writer, "more", 4));
  CHECK(read(both, got, 16) == 4, "the ends of the deleted fifo are not connected");
  CHECK(access(test_path("deleted"), F_OK) == -1, "the deleted name is back");
  struct stat stat;
  MUST(fstat(both, &stat));
  CHECK(S_ISFIFO(stat.st_mode) && (stat.st_mode & 0777) == 0640 && stat.st_nlink == 0, "mode 0%o, %ld links", stat.st_mode, (long)stat.st_nlink);
  CHECK(read(reader, got, 16) == 0, "a fifo without writers is not at its end");
  int later = MUST(open(test_path("reader"), O_WRONLY | O_NONBLOCK));
  MUST(write(later, "new", 3));
  CHECK(read(reader, got, 16) == 3, "the name leads to another fifo");
  test_pass();
}
