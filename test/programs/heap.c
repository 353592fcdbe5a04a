// Anonymous private memory: a heap with a pattern, zero pages, a hole, and protections changed afterwards.
// link: static
#include "check.h"
#include <sys/mman.h>

enum { page = 4096, pages = 2048 };

int main(int argc, char **argv) {
  test_init(argc, argv);
  unsigned char *map = MUST(mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (int i = 0; i < pages; i++) {
    if (i % 3 == 1) continue;                    // never touched
    if (i % 3 == 2) map[(size_t)i * page] = 0;   // touched, but zero
    else test_fill((unsigned)i, map + (size_t)i * page, page);
  }
  MUST(mprotect(map + 300 * page, 60 * page, PROT_READ));
  MUST(mprotect(map + 600 * page, 60 * page, PROT_NONE));
  MUST(munmap(map + 900 * page, 30 * page));
  char *brk_memory = malloc(100000);
  test_fill(7, brk_memory, 100000);

  test_ready();
  test_wait();

  MUST(mprotect(map + 600 * page, 60 * page, PROT_READ));
  for (int i = 0; i < pages; i++) {
    if (i >= 900 && i < 930) continue;
    long bad = i % 3 == 0 ? test_differs((unsigned)i, map + (size_t)i * page, page)
                          : test_not_zero(map + (size_t)i * page, page);
    CHECK(bad < 0, "page %d differs at byte %ld", i, bad);
  }
  unsigned char present;
  CHECK(mincore(map + 900 * page, page, &present) < 0 && errno == ENOMEM, "the hole is mapped");
  long bad = test_differs(7, brk_memory, 100000);
  CHECK(bad < 0, "malloc'd memory differs at byte %ld", bad);
  test_pass();
}
