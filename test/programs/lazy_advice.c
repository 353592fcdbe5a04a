// Drops memory that is still lazy: MADV_DONTNEED, MADV_FREE and MADV_REMOVE on parts, on the whole and on more than 2 GiB at
// once, and two mappings that change places.
#include "check.h"
#include <sys/mman.h>

enum { page = 4096, part = 512, every = 2048 };

static const size_t gib = 1ull << 30;

static unsigned char *map(size_t bytes, int flags) {
  return MUST(mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
}

static void fill(unsigned char *area, unsigned id, int count) {
  for (int i = 0; i < count; i++) test_fill(id + (unsigned)i, area + (size_t)i * page, page);
}

static void holds(const char *what, unsigned char *area, unsigned id, int from, int to) {
  for (int i = from; i < to; i++) {
    long bad = test_differs(id + (unsigned)i, area + (size_t)i * page, page);
    CHECK(bad < 0, "%s: page %d differs at byte %ld", what, i, bad);
  }
}

static void is_zero(const char *what, unsigned char *area, int from, int to) {
  for (int i = from; i < to; i++) {
    long bad = test_not_zero(area + (size_t)i * page, page);
    CHECK(bad < 0, "%s: page %d is not zero at byte %ld", what, i, bad);
  }
}

// MADV_FREE: until a page is written it holds what it held, or zero, and nothing else.
static void freed(unsigned char *area, unsigned id, int from, int to) {
  for (int i = from; i < to; i++) {
    unsigned char *at = area + (size_t)i * page;
    CHECK(test_differs(id + (unsigned)i, at, page) < 0 || test_not_zero(at, page) < 0, "freed: page %d", i);
    test_fill(id + 7000 + (unsigned)i, at, page);
    CHECK(test_differs(id + 7000 + (unsigned)i, at, page) < 0, "freed, then written: page %d", i);
  }
}

/// A mapping of `bytes` with one page filled in every `every`.
static unsigned char *sparse(size_t bytes, unsigned id) {
  unsigned char *area = map(bytes, MAP_PRIVATE);
  MUST(madvise(area, bytes, MADV_NOHUGEPAGE));
  for (size_t i = 0; i < bytes / page; i += every) test_fill(id + (unsigned)i, area + i * page, page);
  return area;
}

static void check_sparse(const char *what, unsigned char *area, size_t from, size_t to, unsigned id, bool gone) {
  for (size_t i = from / page; i < to / page; i += every) {
    unsigned char *at = area + i * page;
    long bad = gone ? test_not_zero(at, page) : test_differs(id + (unsigned)i, at, page);
    CHECK(bad < 0, "%s: page %zu differs at byte %ld", what, i, bad);
  }
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  unsigned char *area[5];
  for (unsigned i = 0; i < 5; i++) fill(area[i] = map(part * page, MAP_PRIVATE), i * 1000, part);
  unsigned char *object = map(64 * page, MAP_SHARED);
  fill(object, 9000, 64);
  unsigned char *dropped = sparse(3 * gib, 20000), *unmapped = sparse(3 * gib, 40000), *moved = sparse(3 * gib, 60000);
  test_ready();
  test_wait();

  // Parts, then the whole, untouched before.
  MUST(madvise(area[0] + 10 * page, 20 * page, MADV_DONTNEED));
  is_zero("dropped part", area[0], 10, 30);
  holds("before the dropped part", area[0], 0, 0, 10);
  MUST(madvise(area[0], part * page, MADV_DONTNEED));
  is_zero("dropped whole", area[0], 0, part);
  MUST(madvise(area[1] + 5 * page, 50 * page, MADV_FREE));
  freed(area[1], 1000, 5, 55);
  holds("behind the freed part", area[1], 1000, 55, part);
  MUST(madvise(area[2], part * page, MADV_FREE));
  freed(area[2], 2000, 0, part);
  // MADV_REMOVE punches a hole into the object behind a mapping: private anonymous memory has none.
  CHECK(madvise(area[3], 8 * page, MADV_REMOVE) < 0 && errno == EINVAL, "MADV_REMOVE of private memory: %s", strerror(errno));
  holds("after the refused removal", area[3], 3000, 0, part);
  MUST(madvise(object + 16 * page, 16 * page, MADV_REMOVE));
  is_zero("removed from the object", object, 16, 32);
  holds("before the removed", object, 9000, 0, 16);
  holds("behind the removed", object, 9000, 32, 64);

  // More than 2 GiB in one call: what is outside of it must stay.
  size_t from = 256ull << 20, to = from + 2 * gib + (512ull << 20);
  MUST(madvise(dropped + from, to - from, MADV_DONTNEED));
  check_sparse("dropped 2.5 GiB", dropped, from, to, 20000, true);
  check_sparse("before 2.5 GiB", dropped, 0, from, 20000, false);
  check_sparse("behind 2.5 GiB", dropped, to, 3 * gib, 20000, false);
  MUST(munmap(unmapped + from, to - from));
  check_sparse("before what was unmapped", unmapped, 0, from, 40000, false);
  check_sparse("behind what was unmapped", unmapped, to, 3 * gib, 40000, false);
  unsigned char *place = MUST(mremap(moved, 3 * gib, 3 * gib, MREMAP_MAYMOVE | MREMAP_FIXED, map(3 * gib, MAP_PRIVATE)));
  check_sparse("moved 3 GiB", place, 0, 3 * gib, 60000, false);

  // Two lazy mappings change places through a third address.
  fill(area[0], 0, part);
  unsigned char *aside = map(part * page, MAP_PRIVATE);
  MUST(mremap(area[3], part * page, part * page, MREMAP_MAYMOVE | MREMAP_FIXED, aside));
  MUST(mremap(area[4], part * page, part * page, MREMAP_MAYMOVE | MREMAP_FIXED, area[3]));
  MUST(mremap(aside, part * page, part * page, MREMAP_MAYMOVE | MREMAP_FIXED, area[4]));
  holds("the fifth in the place of the fourth", area[3], 4000, 0, part);
  holds("the fourth in the place of the fifth", area[4], 3000, 0, part);
  test_pass();
}
