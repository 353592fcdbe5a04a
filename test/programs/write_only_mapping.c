// Mappings that may be written and not read, executed and not read, and none of it; of memory and of a file opened in each way.
#include "check.h"
#include <sys/mman.h>

enum { size = 4 * 4096, count = 12 };

static char *maps[count];
static int prots[count];

int main(int argc, char **argv) {
  test_init(argc, argv);
  int both = MUST(open(test_path("file"), O_RDWR | O_CREAT, 0600));
  char content[size];
  test_fill(9, content, size);
  CHECK(write(both, content, size) == size, "write");
  int reading = MUST(open(test_path("file"), O_RDONLY));
  const int kinds[] = {PROT_WRITE, PROT_EXEC, PROT_NONE};
  int n = 0;
  for (int k = 0; k < 3; k++) {
    for (int how = 0; how < 4; how++, n++) {
      int flags = how == 0 ? MAP_PRIVATE | MAP_ANONYMOUS : how == 1 ? MAP_SHARED | MAP_ANONYMOUS : how == 2 ? MAP_PRIVATE : MAP_SHARED;
      int fd = how < 2 ? -1 : how == 2 ? reading : both;
      maps[n] = MUST(mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0));
      if (how < 2) test_fill(9, maps[n], size);
      if (how == 2) maps[n][100] = (char)test_byte(9, 100); // a page of its own
      prots[n] = kinds[k];
      MUST(mprotect(maps[n], size, kinds[k]));
    }
  }
  close(both), close(reading);
  test_ready();
  test_wait();
  char *text = test_read_file("/proc/self/maps"), prefix[32];
  for (int i = 0; i < count; i++) {
    snprintf(prefix, sizeof prefix, "\n%lx-", (unsigned long)maps[i]);
    char *line = strstr(text, prefix);
    CHECK(line != NULL, "mapping %d is gone", i);
    const char *bits = strchr(line, ' ') + 1;
    CHECK(bits[0] == '-' && (bits[1] == 'w') == (prots[i] == PROT_WRITE) && (bits[2] == 'x') == (prots[i] == PROT_EXEC), "mapping %d is %.4s", i, bits);
    MUST(mprotect(maps[i], size, PROT_READ | PROT_WRITE));
    CHECK(test_differs(9, maps[i], size) < 0, "mapping %d differs at %ld", i, test_differs(9, maps[i], size));
  }
  test_pass();
}
