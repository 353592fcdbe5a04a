// Memory shared by copy-on-write after fork: each process has its own content, however the pages were shared.
#include "check.h"
#include <sys/mman.h>

enum { page = 4096, pages = 512, children = 4 };

static void verify(const char *map, int owner) {
  for (int i = 0; i < pages; i++) {
    unsigned seed = (unsigned)i;
    if (owner >= 0 && i % 8 == owner) seed = 1000u * (unsigned)(owner + 1) + (unsigned)i;
    if (owner < 0 && i % 8 == 7) seed = 9000u + (unsigned)i; // written by the parent after the forks
    CHECK(test_differs(seed, map + i * page, page) < 0, "process %d: page %d differs", owner, i);
  }
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  char *map = MUST(mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (int i = 0; i < pages; i++) test_fill((unsigned)i, map + i * page, page);
  pid_t pids[children];
  for (int n = 0; n < children; n++) {
    pids[n] = MUST(fork());
    if (pids[n] > 0) continue;
    for (int i = n; i < pages; i += 8) test_fill(1000u * (unsigned)(n + 1) + (unsigned)i, map + i * page, page);
    test_child_ready(n);
    test_wait();
    verify(map, n);
    memset(map, n, pages * page); // must not show in the others
    _exit(0);
  }
  for (int i = 7; i < pages; i += 8) test_fill(9000u + (unsigned)i, map + i * page, page);
  for (int n = 0; n < children; n++) test_await_child(n);
  test_ready();
  test_wait();
  for (int n = 0; n < children; n++) test_reap(pids[n]);
  verify(map, -1);
  test_pass();
}
