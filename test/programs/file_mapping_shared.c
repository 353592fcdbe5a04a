// A file mapped shared by two processes: writes reach the file and the other one, at offsets, beyond the file's end, read-only.
#include "check.h"
#include <sys/mman.h>

enum { page = 4096, pages = 32 };

int main(int argc, char **argv) {
  test_init(argc, argv);
  int fd = MUST(open(test_path("data"), O_CREAT | O_RDWR, 0644));
  char bytes[page];
  for (int i = 0; i < pages; i++) {
    test_fill((unsigned)i, bytes, page);
    MUST(write(fd, bytes, page));
  }
  char *whole = MUST(mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  char *part = MUST(mmap(NULL, 4 * page, PROT_READ, MAP_SHARED, fd, 8 * page));
  close(fd);
  int read_only = MUST(open(test_path("data"), O_RDONLY));
  char *reader = MUST(mmap(NULL, (pages + 4) * page, PROT_READ, MAP_SHARED, read_only, 0)); // leaves the file at its end
  close(read_only);
  test_fill(100, whole + 3 * page, page);
  pid_t child = MUST(fork());
  if (child == 0) {
    test_child_ready(0);
    test_wait();
    test_fill(101, whole + 9 * page, page);
    _exit(0);
  }
  test_await_child(0);
  test_ready();
  test_wait();
  test_reap(child);
  for (int i = 0; i < pages; i++) {
    unsigned seed = i == 3 ? 100 : i == 9 ? 101 : (unsigned)i;
    CHECK(test_differs(seed, whole + i * page, page) < 0, "page %d differs", i);
    CHECK(test_differs(seed, reader + i * page, page) < 0, "page %d of the read-only mapping differs", i);
  }
  CHECK(test_differs(101, part + page, page) < 0, "the partial mapping does not see the write");
  test_fill(102, whole + 20 * page, page);
  fd = MUST(open(test_path("data"), O_RDONLY));
  CHECK(pread(fd, bytes, page, 20 * page) == page && test_differs(102, bytes, page) < 0, "a write does not reach the file");
  test_pass();
}
