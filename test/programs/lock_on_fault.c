// Memory locked as it is touched (mlock2(2), MLOCK_ONFAULT): locked afterwards, and what was never touched takes no room.
// criu: CRIU locks all of it at once
#include "check.h"
#include <sys/mman.h>
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif

enum { page = 4096, pages = 512 };

int main(int argc, char **argv) {
  test_init(argc, argv);
  char *memory = MUST(mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  MUST(madvise(memory, pages * page, MADV_NOHUGEPAGE));
  MUST(mlock2(memory, pages * page, MLOCK_ONFAULT));
  for (int i = 0; i < pages; i += 32) test_fill((unsigned)i, memory + i * page, page);
  test_ready();
  test_wait();
  unsigned char there[pages];
  MUST(mincore(memory, pages * page, there));
  for (int i = 0; i < pages; i++) {
    if (i % 32 != 0) CHECK((there[i] & 1) == 0, "page %d takes room", i);
    else CHECK(test_differs((unsigned)i, memory + i * page, page) < 0, "page %d differs", i);
  }
  char *text = test_read_file("/proc/self/smaps"), prefix[32];
  snprintf(prefix, sizeof prefix, "\n%lx-", (unsigned long)memory);
  char *line = strstr(strstr(text, prefix), "VmFlags: ");
  *strchr(line, '\n') = 0;
  CHECK(strstr(line, " lo") != NULL && strstr(line, " lf") != NULL, "its flags are %s", line);
  test_pass();
}
