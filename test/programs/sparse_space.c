// An address space of 32 TiB of which little is there: what is there has its content, the rest is zero.
#include "check.h"
#include <sys/mman.h>

static const size_t step = (size_t)1 << 37, count = 256;

int main(int argc, char **argv) {
  test_init(argc, argv);
  char *memory = MUST(mmap(NULL, step * count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  for (size_t i = 0; i < count; i++) test_fill((unsigned)i, memory + i * step + (i % 7) * 4096, 4096);
  test_ready();
  test_wait();
  for (size_t i = 0; i < count; i++) {
    CHECK(test_differs((unsigned)i, memory + i * step + (i % 7) * 4096, 4096) < 0, "page %zu differs", i);
    CHECK(test_not_zero(memory + i * step + step / 2, 4096) < 0, "there is something between");
  }
  test_pass();
}
