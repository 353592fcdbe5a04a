// Sealed mappings (mseal(2)): they have their content, and still can neither be unmapped, moved nor protected otherwise.
// criu: CRIU knows no seals of mappings
#include "check.h"
#include <sys/mman.h>
#ifndef SYS_mseal
#define SYS_mseal 462
#endif

enum { page = 4096, size = 8 * page };

static void refuses(void *memory, const char *what) {
  CHECK(munmap(memory, size) < 0 && errno == EPERM, "%s can be unmapped", what);
  CHECK(mprotect(memory, size, PROT_NONE) < 0 && errno == EPERM, "%s can be protected", what);
  CHECK(mremap(memory, size, 2 * size, MREMAP_MAYMOVE) == MAP_FAILED && errno == EPERM, "%s can be moved", what);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  char *outer = MUST(mmap(NULL, 5 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  char *writable = MUST(mmap(outer + size, size, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  char *readable = MUST(mmap(outer + 3 * size, size, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  test_fill(1, writable, size);
  test_fill(2, readable, size);
  MUST(mprotect(readable, size, PROT_READ));
  bool can_seal = syscall(SYS_mseal, writable, size, 0) == 0; // since Linux 6.10
  if (can_seal) MUST(syscall(SYS_mseal, readable, size, 0));
  test_ready();
  test_wait();
  CHECK(test_differs(1, writable, size) < 0, "the writable one differs");
  CHECK(test_differs(2, readable, size) < 0, "the readable one differs");
  writable[0] = 1;
  if (can_seal) {
    refuses(writable, "the writable one");
    refuses(readable, "the readable one");
  }
  MUST(munmap(outer, size));
  test_pass();
}
