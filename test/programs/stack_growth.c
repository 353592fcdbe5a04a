// Stacks that grow downwards: the main one, deep when frozen and deeper afterwards, and a mapping made with MAP_GROWSDOWN.
#include "check.h"
#include <sys/mman.h>

enum { page = 4096 };

static unsigned deep(int depth) {
  volatile unsigned char frame[3000];
  for (size_t i = 0; i < sizeof frame; i++) frame[i] = test_byte((unsigned)depth, i);
  if (depth == 100) {
    test_ready();
    test_wait();
  }
  if (depth < 400) deep(depth + 1); // beyond 100: the stack grows after the restore
  for (size_t i = 0; i < sizeof frame; i++) CHECK(frame[i] == test_byte((unsigned)depth, i), "frame %d differs", depth);
  return frame[7];
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  char *region = MUST(mmap(NULL, 512 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  MUST(munmap(region, 512 * page));
  char *grows = MUST(mmap(region + 500 * page, 4 * page, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE, -1, 0));
  test_fill(9, grows, 4 * page);
  test_fill(11, grows - page, page); // grown by one
  deep(0);
  CHECK(test_differs(9, grows, 4 * page) < 0, "the growing mapping differs");
  CHECK(test_differs(11, grows - page, page) < 0, "the grown part differs");
  for (int i = 2; i < 40; i++) grows[-i * page] = (char)i;
  for (int i = 2; i < 40; i++) CHECK(grows[-i * page] == i, "the mapping does not grow");
  test_pass();
}
