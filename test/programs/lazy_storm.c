// Eight threads change their memory at random while it is still lazy, and check every byte against a shadow.
// Arguments: SEED MILLISECONDS CHUNKS. Each thread keeps to its own range; chunks are moved whole, so that no call crosses
// a VMA. Nobody but children of fork(2) looks into a closed chunk: it is only moved. One after another they are opened, the
// last at the end, so that the memory stays lazy as long as the storm lasts.
#include "check.h"
#include <pthread.h>
#include <sys/mman.h>

enum { page = 4096, chunk = 32, chunks_most = 320, slots_most = chunk * chunks_most, threads = 8, zero = -1, none = -2 };

struct worker {
  pthread_t thread;
  unsigned char *base;
  uint64_t random;
  int next;
  int closed_count;
  unsigned char closed[chunks_most];
  int shadow[slots_most];
};

static struct worker workers[threads];
static volatile int go;
static uint64_t from_ms, until_ms;
// A fifth of the address range has nothing mapped at first.
static int mapped = 32, chunks = 40, slots = 40 * chunk;

static uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int pick(struct worker *w, int count) {
  w->random ^= w->random << 13, w->random ^= w->random >> 7, w->random ^= w->random << 17;
  return (int)(w->random % (uint64_t)count);
}

static unsigned char *at(struct worker *w, int slot) { return w->base + (size_t)slot * page; }

static void fill(struct worker *w, int slot) {
  w->shadow[slot] = w->next++;
  test_fill((unsigned)w->shadow[slot], at(w, slot), page);
}

static void check(struct worker *w, const char *when, int from, int count) {
  for (int i = from; i < from + count && i < slots; i++) {
    if (w->shadow[i] == none) continue;
    long bad = w->shadow[i] == zero ? test_not_zero(at(w, i), page) : test_differs((unsigned)w->shadow[i], at(w, i), page);
    CHECK(bad < 0, "%s: thread %ld page %d (holds %d) differs at byte %ld", when, (long)(w - workers), i, w->shadow[i], bad);
  }
}

static void set(struct worker *w, int from, int count, int what) {
  for (int i = from; i < from + count; i++) w->shadow[i] = what;
}

// MAP_FIXED over whatever is there, lazy or not.
static void map(struct worker *w, int slot, int count) {
  MUST((long)mmap(at(w, slot), (size_t)count * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  set(w, slot, count, zero);
}

static void move(struct worker *w) {
  int from = pick(w, chunks) * chunk, to = pick(w, chunks) * chunk;
  if (from == to || w->shadow[from] == none || w->closed[to / chunk]) return;
  int leave = pick(w, 3) == 0 ? MREMAP_DONTUNMAP : 0;
  void *moved = mremap(at(w, from), chunk * page, chunk * page, MREMAP_MAYMOVE | MREMAP_FIXED | leave, at(w, to));
  CHECK(moved == at(w, to), "mremap: %s", strerror(errno));
  memcpy(w->shadow + to, w->shadow + from, chunk * sizeof *w->shadow);
  set(w, from, chunk, leave ? zero : none);
  w->closed[to / chunk] = w->closed[from / chunk];
  w->closed[from / chunk] = 0;
}

// Opens as many chunks as the time says.
static void open_chunks(struct worker *w) {
  uint64_t now = now_ms(), left = now < until_ms ? until_ms - now : 0;
  int most = (int)((uint64_t)mapped * left / (until_ms - from_ms));
  while (w->closed_count > most) {
    int at = pick(w, chunks);
    while (!w->closed[at]) at = (at + 1) % chunks;
    w->closed[at] = 0;
    w->closed_count--;
  }
}

static void fork_and_check(struct worker *w) {
  pid_t pid = MUST((pid_t)syscall(SYS_fork));
  if (pid == 0) {
    int from = pick(w, slots);
    check(w, "child", from, 60);
    for (int i = from; i < from + 30 && i < slots; i += 3)
      if (w->shadow[i] != none) fill(w, i);
    check(w, "child after writing", from, 60);
    _exit(0);
  }
  int status;
  MUST(waitpid(pid, &status, 0));
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child ended with status %x", status);
}

static void step(struct worker *w) {
  int slot = pick(w, slots), count = 1 + pick(w, 24), start = slot / chunk * chunk;
  if (slot + count > start + chunk) count = start + chunk - slot;
  int what = pick(w, 100);
  if (w->closed[start / chunk]) {
    if (what < 20) move(w);
    if (what > 97) fork_and_check(w);
    return;
  }
  if (what < 40) {
    check(w, "read", slot, count);
  } else if (what < 60) {
    if (w->shadow[slot] != none) fill(w, slot);
  } else if (what < 72) {
    if (w->shadow[slot] == none) return;
    MUST(madvise(at(w, slot), (size_t)count * page, MADV_DONTNEED));
    set(w, slot, count, zero);
  } else if (what < 78) {
    if (w->shadow[slot] == none) return;
    // Until it is written, a freed page may hold either: write all of it.
    MUST(madvise(at(w, slot), (size_t)count * page, MADV_FREE));
    for (int i = slot; i < slot + count; i++) fill(w, i);
  } else if (what < 82) {
    MUST(munmap(at(w, start), chunk * page));
    set(w, start, chunk, none);
  } else if (what < 85) {
    map(w, start, chunk);
  } else if (what < 88) {
    if (w->shadow[start] == none) return;
    MUST(mprotect(at(w, start), chunk * page, PROT_READ));
    check(w, "read-only", start, chunk);
    MUST(mprotect(at(w, start), chunk * page, PROT_READ | PROT_WRITE));
  } else if (what < 98) {
    move(w);
  } else {
    fork_and_check(w);
  }
}

static void *run(void *argument) {
  struct worker *w = argument;
  while (!go) test_sleep_ms(1);
  while (now_ms() < until_ms) {
    open_chunks(w);
    step(w);
  }
  check(w, "at the end", 0, slots);
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
  uint64_t duration_ms = argc > 3 ? strtoull(argv[3], NULL, 10) : 300;
  if (argc > 4) mapped = atoi(argv[4]);
  chunks = mapped + mapped / 4, slots = chunks * chunk;
  CHECK(mapped > 0 && chunks <= chunks_most && duration_ms > 0, "bad arguments");
  for (int t = 0; t < threads; t++) {
    struct worker *w = &workers[t];
    w->base = (unsigned char *)(0x200000000000ull + (uint64_t)t * 0x40000000);
    w->random = (seed * 1000 + (uint64_t)t + 1) * 0x9e3779b97f4a7c15ull;
    w->next = t * 10000000 + 1;
    set(w, 0, slots, none);
    map(w, 0, mapped * chunk);
    for (int i = 0; i < mapped * chunk; i++)
      if (i % 8 != 3) fill(w, i);
    memset(w->closed, 1, (size_t)mapped);
    w->closed_count = mapped;
    if (pthread_create(&w->thread, NULL, run, w) != 0) test_fail("no thread");
  }
  test_ready();
  test_wait();
  from_ms = now_ms(), until_ms = from_ms + duration_ms;
  go = 1;
  for (int t = 0; t < threads; t++) pthread_join(workers[t].thread, NULL);
  test_pass();
}
