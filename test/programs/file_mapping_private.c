// A file mapped privately with some pages written: the written ones are the process's own, the others the file's.
#include "check.h"
#include <sys/mman.h>

enum { page = 4096, pages = 64 };

int main(int argc, char **argv) {
  test_init(argc, argv);
  int fd = MUST(open(test_path("data"), O_CREAT | O_RDWR, 0644));
  char bytes[page];
  for (int i = 0; i < pages; i++) {
    test_fill((unsigned)i, bytes, page);
    MUST(write(fd, bytes, page));
  }
  char *map = MUST(mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
  char *tail = MUST(mmap(NULL, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 40 * page));
  for (int i = 0; i < pages; i += 5) test_fill(200 + (unsigned)i, map + i * page, page);
  MUST(mprotect(map, 10 * page, PROT_READ));
  MUST(mprotect(map + 10 * page, 10 * page, PROT_NONE));
  memset(tail + 3 * page, 0, page); // a written page of zeros must not become the file's again
  close(fd);
  test_ready();
  test_wait();
  MUST(mprotect(map + 10 * page, 10 * page, PROT_READ));
  for (int i = 0; i < pages; i++)
    CHECK(test_differs(i % 5 == 0 ? 200 + (unsigned)i : (unsigned)i, map + i * page, page) < 0, "page %d differs", i);
  for (int i = 0; i < 8; i++) {
    long bad = i == 3 ? test_not_zero(tail + i * page, page) : test_differs(40 + (unsigned)i, tail + i * page, page);
    CHECK(bad < 0, "page %d of the second mapping differs", i);
  }
  fd = MUST(open(test_path("data"), O_RDONLY));
  CHECK(pread(fd, bytes, page, 0) == page && test_differs(0, bytes, page) < 0, "the file itself was written");
  test_pass();
}
