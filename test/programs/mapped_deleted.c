// Files mapped, then deleted: one shared by two mappings, one private with written pages; no descriptor left.
#include "check.h"
#include <sys/mman.h>

enum { page = 4096, pages = 16 };

static int filled(const char *name, unsigned seed) {
  char bytes[pages * page];
  int fd = MUST(open(test_path(name), O_CREAT | O_RDWR, 0644));
  test_fill(seed, bytes, sizeof bytes);
  MUST(write(fd, bytes, sizeof bytes));
  return fd;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  int a = filled("a", 1), b = filled("b", 2);
  char *shared = MUST(mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_SHARED, a, 0));
  char *again = MUST(mmap(NULL, 4 * page, PROT_READ, MAP_SHARED, a, 2 * page));
  char *private = MUST(mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, b, 0));
  test_fill(3, private + 5 * page, page);
  close(a);
  close(b);
  MUST(unlink(test_path("a")));
  MUST(unlink(test_path("b")));
  test_ready();
  test_wait();
  CHECK(test_differs(1, shared, pages * page) < 0, "the shared mapping differs");
  shared[2 * page + 7] = 99;
  CHECK(again[7] == 99, "the two mappings are of two files");
  char bytes[page];
  for (int i = 0; i < pages; i++) {
    for (int j = 0; j < page; j++) bytes[j] = (char)(i == 5 ? test_byte(3, (size_t)j) : test_byte(2, (size_t)(i * page + j)));
    CHECK(memcmp(bytes, private + i * page, page) == 0, "page %d of the private mapping differs", i);
  }
  CHECK(access(test_path("a"), F_OK) == -1 && access(test_path("b"), F_OK) == -1, "a deleted file is back under its name");
  test_pass();
}
