// A program that has moved the kernel's vdso with its data: it stays there, and the clock can be read through it.
#include "check.h"
#include <sys/auxv.h>
#include <sys/mman.h>

static void extent(unsigned long *start, unsigned long *end, unsigned long *code) {
  char *text = test_read_file("/proc/self/maps");
  *start = *end = *code = 0;
  for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
    unsigned long from, to;
    if (strstr(line, "[vvar") == NULL && strstr(line, "[vdso]") == NULL) continue;
    CHECK(sscanf(line, "%lx-%lx", &from, &to) == 2, "a line of maps");
    if (*start == 0) *start = from;
    *end = to;
    if (strstr(line, "[vdso]") != NULL) *code = from;
  }
  free(text);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  unsigned long start, end, code;
  extent(&start, &end, &code);
  size_t size = end - start;
  char *room = MUST(mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  // All of it in one call: Linux 6.17 moves several mappings at once; before, each by itself.
  if (mremap((void *)start, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, room) == MAP_FAILED) {
    test_ready();
    test_wait();
    test_pass();
  }
  unsigned long moved_start, moved_end, moved_code;
  extent(&moved_start, &moved_end, &moved_code);
  CHECK(moved_start == (unsigned long)room && moved_end - moved_start == size, "it did not move");
  test_ready();
  while (access(test_path("go"), F_OK) != 0) syscall(SYS_nanosleep, &(struct timespec){0, 5000000}, NULL);
  extent(&start, &end, &code);
  CHECK(start == moved_start && end == moved_end && code == moved_code, "it is elsewhere");
  CHECK(memcmp((void *)code, "\177ELF", 4) == 0, "it is no vdso");
  test_pass();
}
