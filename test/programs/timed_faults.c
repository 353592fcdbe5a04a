// A large heap whose pages are touched in random order as soon as the program runs again, each touch timed.
// It sees by a gap in the clock that it was stopped; SCRATCH/latencies then holds one line: quantiles in nanoseconds.
#include "check.h"
#include <sys/mman.h>

enum { page = 4096 };

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdull;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ull;
  return x ^ (x >> 33);
}

// Half of each page is noise, half repeats: it compresses by about two, as program memory does.
static void fill(uint64_t *words, uint64_t number) {
  for (unsigned i = 0; i < page / 8; i++) words[i] = i < page / 16 ? mix(number * 512 + i) : number;
}

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  uint64_t pages = (argc > 2 ? strtoull(argv[2], NULL, 10) : 16) << 8;
  uint64_t touches = argc > 3 ? strtoull(argv[3], NULL, 10) : 500;
  unsigned char *map = MUST(mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  MUST(madvise(map, pages * page, MADV_NOHUGEPAGE));
  for (uint64_t i = 0; i < pages; i++) fill((uint64_t *)(map + i * page), i);
  uint64_t *latencies = MUST(mmap(NULL, touches * 8, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  memset(latencies, 0, touches * 8);

  test_ready();
  for (uint64_t last = now_ns(); !test_told();) {
    test_sleep_ms(1);
    uint64_t now = now_ns();
    if (now - last > 60000000u) break;
    last = now;
  }
  uint64_t start = now_ns();
  for (uint64_t i = 0; i < touches; i++) {
    uint64_t number = mix(i + 1) % pages;
    volatile uint64_t *word = (volatile uint64_t *)(map + number * page) + page / 16;
    uint64_t before = now_ns();
    uint64_t value = *word;
    latencies[i] = now_ns() - before;
    CHECK(value == number, "page %lu holds %lu", (unsigned long)number, (unsigned long)value);
  }
  uint64_t total = now_ns() - start;
  // Touches of pages that are there already take less than a microsecond: they are no faults.
  qsort(latencies, touches, 8, compare);
  uint64_t present = 0;
  while (present < touches && latencies[present] < 1500) present++;
  uint64_t faults = touches - present, *fault = latencies + present;
  char line[256];
#define AT(q) (unsigned long)(faults ? fault[(uint64_t)((double)(faults - 1) * (q))] : 0)
  snprintf(line, sizeof line, "%lu %lu %lu %lu %lu %lu\n", (unsigned long)faults, AT(0.5), AT(0.9), AT(0.99), AT(1.0),
           (unsigned long)total);
  test_publish("latencies", line);
  test_wait();
  uint64_t want[page / 8];
  for (uint64_t i = 0; i < pages; i++) {
    fill(want, i);
    CHECK(memcmp(want, map + i * page, page) == 0, "page %lu differs", (unsigned long)i);
  }
  test_pass();
}
