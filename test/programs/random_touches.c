// A large heap whose pages are touched in random order as soon as the program runs again: it sees by a gap in the clock
// that it was stopped. Every byte is compared at the end.
//   random_touches SCRATCH [MIB [TOUCHES]]
#include "check.h"
#include <sys/mman.h>

enum { page = 4096 };

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// The finalizer of SplitMix64: neighbouring numbers give unrelated ones.
static uint64_t scatter(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// Half of each page is noise, half repeats: it compresses by about two, as program memory does.
static void fill(uint64_t *words, uint64_t number) {
  for (unsigned i = 0; i < page / 8; i++) words[i] = i < page / 16 ? scatter(number * 512 + i) : number;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  uint64_t pages = (argc > 2 ? strtoull(argv[2], NULL, 10) : 16) << 8;
  uint64_t touches = argc > 3 ? strtoull(argv[3], NULL, 10) : 500;
  unsigned char *map = MUST(mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  MUST(madvise(map, pages * page, MADV_NOHUGEPAGE));
  for (uint64_t i = 0; i < pages; i++) fill((uint64_t *)(map + i * page), i);

  test_ready();
  for (uint64_t last = now_ns(); !test_told();) {
    test_sleep_ms(1);
    uint64_t now = now_ns();
    if (now - last > 60000000u) break;
    last = now;
  }
  for (uint64_t i = 0; i < touches; i++) {
    uint64_t number = scatter(i + 1) % pages;
    volatile uint64_t *word = (volatile uint64_t *)(map + number * page) + page / 16;
    CHECK(*word == number, "page %lu holds %lu", (unsigned long)number, (unsigned long)*word);
  }
  test_wait();
  uint64_t want[page / 8];
  for (uint64_t i = 0; i < pages; i++) {
    fill(want, i);
    CHECK(memcmp(want, map + i * page, page) == 0, "page %lu differs", (unsigned long)i);
  }
  test_pass();
}
