// The program break: where it is, what the heap below holds, and that it can be moved both ways.
#include "check.h"

int main(int argc, char **argv) {
  test_init(argc, argv);
  unsigned char *start = MUST(sbrk(0));
  MUST(sbrk(300 * 4096 + 123));
  unsigned char *end = MUST(sbrk(0));
  test_fill(1, start, (size_t)(end - start));
  test_ready();
  test_wait();
  CHECK(sbrk(0) == end, "the break moved to %p from %p", sbrk(0), end);
  CHECK(test_differs(1, start, (size_t)(end - start)) < 0, "the heap differs");
  MUST(sbrk(100 * 4096));
  CHECK(test_not_zero(end, 100 * 4096) < 0, "new heap is not zero");
  memset(end, 1, 100 * 4096);
  MUST(sbrk(-200 * 4096));
  CHECK(test_differs(1, start, (size_t)((unsigned char *)sbrk(0) - start)) < 0, "the heap differs after shrinking");
  test_pass();
}
