// Changes its layout in every way while its pages may still be missing: fork, mremap, madvise, munmap, mprotect.
// A shadow says what each page must hold; a child and a grandchild check their copies.
#include "check.h"
#include <sys/mman.h>

enum { page = 4096, pages = 1024, zero = -1, none = -2 };

static unsigned char *area;  // `slots` pages of reserved addresses; parts of it are mapped
enum { slots = 8192 };
static int shadow[slots];

static void fill(int at, int id) {
  test_fill((unsigned)id, area + (size_t)at * page, page);
  shadow[at] = id;
}

static void check_range(const char *when, int from, int to) {
  for (int i = from; i < to; i++) {
    if (shadow[i] == none) continue;
    unsigned char *at = area + (size_t)i * page;
    long bad = shadow[i] == zero ? test_not_zero(at, page) : test_differs((unsigned)shadow[i], at, page);
    CHECK(bad < 0, "%s: page %d (holds %d) differs at byte %ld", when, i, shadow[i], bad);
  }
}

static void set(int from, int count, int id) {
  for (int i = from; i < from + count; i++) shadow[i] = id;
}

static void move_shadow(int from, int to, int count) {
  memmove(shadow + to, shadow + from, sizeof *shadow * (size_t)count);
}

static void *at(int slot) { return area + (size_t)slot * page; }

static void map(int slot, int count) {
  MUST(mmap(at(slot), (size_t)count * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  set(slot, count, zero);
}

static void child(const char *name, int from, int to) {
  check_range(name, from, to);
  for (int i = from; i < to; i += 7)
    if (shadow[i] != none) fill(i, 5000 + i);
  check_range(name, from, to);
}

static void reap(pid_t pid) {
  int status;
  MUST(waitpid(pid, &status, 0));
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child ended with status %x", status);
}

static void forks(int from, int to) {
  pid_t pid = MUST(fork());
  if (pid == 0) {
    pid_t grandchild = MUST(fork());
    if (grandchild == 0) {
      child("grandchild", from, to);
      _exit(0);
    }
    child("child", from, to);
    reap(grandchild);
    _exit(0);
  }
  for (int i = from; i < to; i += 5)
    if (shadow[i] != none) fill(i, 9000 + i);
  reap(pid);
  check_range("parent after fork", from, to);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  area = MUST(mmap(NULL, (size_t)slots * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  for (int i = 0; i < slots; i++) shadow[i] = none;
  MUST(munmap(area, (size_t)slots * page));
  // Seven areas of 1024 pages with gaps between them; every eighth page was never touched.
  for (int a = 0; a < 7; a++) {
    map(a * 1100, pages);
    for (int i = 0; i < pages; i++)
      if (i % 8 != 3) fill(a * 1100 + i, a * 10000 + i);
  }
  test_ready();
  test_wait();

  // 0: parts removed by each advice, then whole.
  MUST(madvise(at(10), 100 * page, MADV_DONTNEED)), set(10, 100, zero);
  MUST(madvise(at(500), 3 * page, MADV_DONTNEED)), set(500, 3, zero);
  check_range("part removed", 0, 600);
  fill(20, 77);
  check_range("written after removal", 0, 1024);
  MUST(madvise(at(0), 1024 * page, MADV_DONTNEED)), set(0, 1024, zero);
  check_range("whole removed", 0, 1024);
  // 1: holes, and a mapping over a part.
  MUST(munmap(at(1100 + 50), 70 * page)), set(1100 + 50, 70, none);
  map(1100 + 60, 20);
  map(1100 + 300, 40);
  check_range("holes", 1100, 1100 + 512);
  forks(1100, 1100 + 1024);
  // 2: protections inside, then forks while lazy.
  MUST(mprotect(at(2200 + 5), 3 * page, PROT_READ));
  MUST(mprotect(at(2200 + 100), 50 * page, PROT_NONE));
  check_range("protections", 2200, 2200 + 100);
  MUST(mprotect(at(2200 + 100), 50 * page, PROT_READ | PROT_WRITE));
  MUST(mprotect(at(2200 + 5), 3 * page, PROT_READ | PROT_WRITE));
  forks(2200, 2200 + 1024);
  // 3: grown in place; the tail is zero.
  CHECK(mremap(at(3300), 1024 * page, 1060 * page, 0) == at(3300), "cannot grow in place");
  set(3300 + 1024, 36, zero);
  check_range("grown in place", 3300, 3300 + 1060);
  // 4: moved and grown; then moved over a lazy range (5), without unmapping the old.
  CHECK(mremap(at(4400), 512 * page, 600 * page, MREMAP_MAYMOVE | MREMAP_FIXED, at(7000)) == at(7000), "cannot move");
  move_shadow(4400, 7000, 512), set(4400, 512, none), set(7512, 88, zero);
  check_range("moved and grown", 7000, 7600);
  check_range("the rest of what was moved", 4400 + 512, 4400 + 1024);
  CHECK(mremap(at(5500), 256 * page, 256 * page, MREMAP_MAYMOVE | MREMAP_FIXED, at(5500 + 300)) == at(5800), "over lazy");
  move_shadow(5500, 5800, 256), set(5500, 256, none);
  check_range("moved over a lazy range", 5500, 5500 + 1024);
  CHECK(mremap(at(6600), 300 * page, 300 * page, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, at(7700)) == at(7700),
        "cannot move without unmapping");
  move_shadow(6600, 7700, 300), set(6600, 300, zero);
  check_range("left behind", 6600, 6600 + 1024);
  check_range("moved without unmapping", 7700, 8000);
  // Two ranges change places.
  MUST((long)mremap(at(6600 + 400), 50 * page, 50 * page, MREMAP_MAYMOVE | MREMAP_FIXED, at(8100)));
  MUST((long)mremap(at(6600 + 500), 50 * page, 50 * page, MREMAP_MAYMOVE | MREMAP_FIXED, at(6600 + 400)));
  MUST((long)mremap(at(8100), 50 * page, 50 * page, MREMAP_MAYMOVE | MREMAP_FIXED, at(6600 + 500)));
  for (int i = 0; i < 50; i++) {
    int first = shadow[6600 + 400 + i];
    shadow[6600 + 400 + i] = shadow[6600 + 500 + i];
    shadow[6600 + 500 + i] = first;
  }
  check_range("exchanged", 6600, 6600 + 1024);
  MUST(madvise(at(6600 + 700), 30 * page, MADV_FREE));
  for (int i = 0; i < 30; i++) fill(6600 + 700 + i, 33000 + i);
  check_range("freed and written", 6600, 6600 + 1024);
  forks(6600, 6600 + 1024);
  check_range("at the end", 0, slots);
  test_pass();
}
