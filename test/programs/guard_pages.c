// Lightweight guard pages (MADV_GUARD_INSTALL) inside a mapping: still fatal to touch, their neighbours intact.
#include "check.h"
#include <setjmp.h>
#include <sys/mman.h>

enum { page = 4096, pages = 64 };
static sigjmp_buf back;
static void handler(int signal) { (void)signal; siglongjmp(back, 1); }

static bool faults(volatile char *address) {
  if (sigsetjmp(back, 1)) return true;
  (void)*address;
  return false;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  signal(SIGSEGV, handler);
  char *map = MUST(mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  test_fill(5, map, pages * page);
  bool supported = madvise(map + 10 * page, 3 * page, 102 /* MADV_GUARD_INSTALL, Linux 6.13 */) == 0;
  if (supported) MUST(madvise(map + 40 * page, page, 102));
  test_ready();
  test_wait();
  for (int i = 0; i < pages; i++) {
    bool guard = supported && ((i >= 10 && i < 13) || i == 40);
    CHECK(faults(map + i * page) == guard, "page %d is %sa guard", i, guard ? "not " : "");
    if (guard) continue;
    for (int j = 0; j < page; j++)
      CHECK((unsigned char)map[i * page + j] == test_byte(5, (size_t)i * page + (size_t)j), "page %d differs", i);
  }
  test_pass();
}
