// Shared anonymous memory seen by a whole tree: one identity, content kept, later writes seen by all.
#include "check.h"
#include <sys/mman.h>

enum { page = 4096, pages = 256, children = 3 };

int main(int argc, char **argv) {
  test_init(argc, argv);
  unsigned char *shared = MUST(mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  unsigned char *other = MUST(mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  volatile int *counter = (volatile int *)(shared + 200 * page);
  for (int i = 0; i < 150; i += 2) test_fill((unsigned)i, shared + i * page, page);
  test_fill(99, other, page);
  pid_t pids[children];
  for (int i = 0; i < children; i++) {
    pids[i] = MUST(fork());
    if (pids[i] > 0) continue;
    if (i == 1) { // sees only a part, read-only, elsewhere
      MUST(munmap(shared + 100 * page, 100 * page));
      MUST(mprotect(other, 4 * page, PROT_READ));
    }
    test_child_ready(i);
    test_wait();
    for (int p = 0; p < 100; p++) {
      long bad = p % 2 == 0 ? test_differs((unsigned)p, shared + p * page, page) : test_not_zero(shared + p * page, page);
      CHECK(bad < 0, "child %d: page %d differs", i, p);
    }
    CHECK(test_differs(99, other, page) < 0, "child %d: the other area differs", i);
    __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
    _exit(0);
  }
  for (int i = 0; i < children; i++) test_await_child(i);
  test_ready();
  test_wait();
  for (int i = 0; i < children; i++) test_reap(pids[i]);
  CHECK(*counter == children, "the children's writes are not seen: %d", *counter);
  test_pass();
}
