// Sixteen threads touch the same pages and pages of their own in random order while they are lazy, reading and writing.
#include "check.h"
#include <pthread.h>
#include <sys/mman.h>

enum { page = 4096, threads = 16, shared_pages = 2048, own_pages = 128, word_bytes = 8 };

static unsigned char *shared;
static unsigned char *own[threads];
static pthread_barrier_t start;

static uint64_t mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdull;
  x ^= x >> 33;
  return x;
}

// The n-th of `count` (a power of two) pages in an order of the thread's own: every page comes once.
static unsigned nth(unsigned thread, unsigned n, unsigned count) { return (n * (2 * thread + 3) + thread * 977) % count; }

static uint64_t *slot(unsigned number, unsigned thread) {
  return (uint64_t *)(shared + (size_t)number * page) + thread;
}

// The first words of a shared page belong to one thread each; the rest is never written again.
static void check_shared(unsigned number) {
  unsigned char *at = shared + (size_t)number * page;
  long bad = test_differs(number, at + threads * word_bytes, page - threads * word_bytes);
  CHECK(bad < 0, "shared page %u differs at byte %ld", number, bad);
}

static void *run(void *argument) {
  unsigned thread = (unsigned)(uintptr_t)argument;
  pthread_barrier_wait(&start);
  while (!test_told()) test_sleep_ms(1);
  for (unsigned n = 0; n < shared_pages; n++) {
    unsigned number = nth(thread, n, shared_pages);
    CHECK(*slot(number, thread) == mix(number * 64 + thread), "thread %u, page %u: the first word", thread, number);
    if (n % 3 != 0) *slot(number, thread) = mix(number * 64 + thread + 32);
    check_shared(number);
    if (n % (shared_pages / own_pages) != 0) continue;
    unsigned mine = nth(thread + 5, n / (shared_pages / own_pages), own_pages);
    unsigned char *at = own[thread] + (size_t)mine * page;
    long bad = test_differs(thread * own_pages + mine, at, page);
    CHECK(bad < 0, "thread %u: own page %u differs at byte %ld", thread, mine, bad);
    test_fill(thread * own_pages + mine + 100000, at, page);
  }
  return NULL;
}

static void check_all(void) {
  for (unsigned thread = 0; thread < threads; thread++) {
    for (unsigned n = 0; n < shared_pages; n++) {
      unsigned number = nth(thread, n, shared_pages);
      uint64_t want = mix(number * 64 + thread + (n % 3 != 0 ? 32 : 0));
      CHECK(*slot(number, thread) == want, "at the end: thread %u, page %u", thread, number);
    }
    for (unsigned mine = 0; mine < own_pages; mine++) {
      long bad = test_differs(thread * own_pages + mine + 100000, own[thread] + (size_t)mine * page, page);
      CHECK(bad < 0, "at the end: own page %u of thread %u differs at byte %ld", mine, thread, bad);
    }
  }
}

static unsigned char *map(size_t pages) {
  return MUST(mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  shared = map(shared_pages);
  for (unsigned number = 0; number < shared_pages; number++) {
    test_fill(number, shared + (size_t)number * page + threads * word_bytes, page - threads * word_bytes);
    for (unsigned thread = 0; thread < threads; thread++) *slot(number, thread) = mix(number * 64 + thread);
  }
  pthread_t all[threads];
  pthread_barrier_init(&start, NULL, threads + 1);
  for (unsigned thread = 0; thread < threads; thread++) {
    own[thread] = map(own_pages);
    for (unsigned mine = 0; mine < own_pages; mine++)
      test_fill(thread * own_pages + mine, own[thread] + (size_t)mine * page, page);
    CHECK(pthread_create(&all[thread], NULL, run, (void *)(uintptr_t)thread) == 0, "no thread");
  }
  pthread_barrier_wait(&start);
  test_ready();
  for (unsigned thread = 0; thread < threads; thread++) pthread_join(all[thread], NULL);
  check_all();
  test_pass();
}
