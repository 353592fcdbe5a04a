// A heap that is dumped, restored many times, and touched by the restored program as soon as SCRATCH/touch says how:
// "PATTERN THREADS TOUCHES". It writes SCRATCH/first (when its first
// instruction ran; CLOCK_REALTIME, because CRIU restores into a time namespace with a monotonic clock of its own) and SCRATCH/latencies.
//   faulting SCRATCH MEGABYTES
#include "touches.h"
#include "../../programs/check.h"
#include <sys/mman.h>

static char plan[128];

static int read_plan(void) {
  int fd = open(test_path("touch"), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  ssize_t got = read(fd, plan, sizeof plan - 1);
  close(fd);
  if (got <= 0) return 0;
  plan[got] = 0;
  return 1;
}

static void say_first(uint64_t when) {
  char line[64];
  snprintf(line, sizeof line, "%lu\n", (unsigned long)when);
  test_publish("first", line);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  uint64_t pages = (argc > 2 ? strtoull(argv[2], NULL, 10) : 16) << 8;
  unsigned char *map = MUST(mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  MUST(madvise(map, pages * page, MADV_NOHUGEPAGE));
  for (uint64_t i = 0; i < pages; i++) fill_page((uint64_t *)(map + i * page), i);
  enum { most = 65536 };
  uint64_t *latencies = MUST(mmap(NULL, most * 8, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  memset(latencies, 0, most * 8);

  test_ready();
  // The plan is there before the restore: the first look after it finds the plan.
  while (!read_plan()) test_sleep_ms(1);
  struct timespec first;
  clock_gettime(CLOCK_REALTIME, &first);
  say_first((uint64_t)first.tv_sec * 1000000000u + (uint64_t)first.tv_nsec);
  char pattern[32];
  unsigned threads = 1;
  unsigned long touches = 0;
  CHECK(sscanf(plan, "%31s %u %lu", pattern, &threads, &touches) == 3, "plan %s", plan);
  CHECK(threads >= 1 && threads <= threads_max && touches <= most, "plan %s", plan);
  if (touches > 0) {
    uint64_t total = timed_touches(map, pages, touches, strcmp(pattern, "random") == 0, threads, latencies);
    CHECK(total > 0, "a page holds wrong bytes");
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    write_touches(out, total, latencies, touches);
    fclose(out);
    test_publish("latencies", text);
  }
  test_wait();
  uint64_t want[page / 8];
  for (uint64_t i = 0; i < pages; i++) {
    fill_page(want, i);
    CHECK(memcmp(want, map + i * page, page) == 0, "page %lu differs", (unsigned long)i);
  }
  test_pass();
}
