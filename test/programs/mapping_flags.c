// Mappings with flags and advice, seen the same in smaps afterwards: locked, no-core, no-fork, wipe-on-fork, huge pages, and so on.
#include "check.h"
#include <sys/mman.h>

enum { page = 4096, size = 16 * page, count = 12 };
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

static char *maps[count];

// The VmFlags line of the mapping at `address`, without what the kernel sets by itself ("sd": soft-dirty, "um"/"uw": userfaultfd).
static char *flags_of(void *address) {
  char *text = test_read_file("/proc/self/smaps"), prefix[32], *result = calloc(1, 256);
  snprintf(prefix, sizeof prefix, "\n%lx-", (unsigned long)address);
  char *entry = strstr(text, prefix);
  CHECK(entry != NULL, "no mapping begins at %p", address);
  char *line = strstr(entry, "VmFlags: ") + 9, *end = strchr(line, '\n');
  for (char *flag = line; flag + 1 < end; flag += 3)
    if (strncmp(flag, "sd", 2) != 0 && strncmp(flag, "um", 2) != 0 && strncmp(flag, "uw", 2) != 0) strncat(result, flag, 3);
  free(text);
  return result;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  const int advice[count] = {0,           MADV_DONTFORK, MADV_DONTDUMP, MADV_WIPEONFORK, MADV_HUGEPAGE,  MADV_NOHUGEPAGE,
                             MADV_SEQUENTIAL, MADV_RANDOM,   0,             MADV_MERGEABLE,   0,              0};
  for (int i = 0; i < count; i++) {
    int more = i == 10 ? MAP_NORESERVE : i == 11 ? MAP_LOCKED : 0;
    // PROT_NONE neighbours keep the mappings apart.
    char *outer = MUST(mmap(NULL, size + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    maps[i] = MUST(mmap(outer + page, size, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | more, -1, 0));
    test_fill((unsigned)i, maps[i], size);
    if (advice[i] != 0 && madvise(maps[i], size, advice[i]) < 0 && errno != EINVAL) test_fail("madvise(%d): %s", advice[i], strerror(errno));
    if (i == 8) MUST(mlock(maps[i], size));
  }
  char *before[count];
  for (int i = 0; i < count; i++) before[i] = flags_of(maps[i]);
  test_ready();
  test_wait();
  test_sleep_ms(50);
  for (int i = 0; i < count; i++) {
    CHECK(test_differs((unsigned)i, maps[i], size) < 0, "mapping %d differs", i);
    char *after = flags_of(maps[i]);
    CHECK(strcmp(before[i], after) == 0, "flags of mapping %d: \"%s\", were \"%s\"", i, after, before[i]);
  }
  test_pass();
}
