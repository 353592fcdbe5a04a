// A program that has unmapped the kernel's vdso and its data: they stay away.
// link: static
#include "check.h"
#include <sys/mman.h>

static bool unmap(const char *name) {
  char *text = test_read_file("/proc/self/maps"), *at = strstr(text, name);
  bool found = at != NULL;
  if (found) {
    while (at > text && at[-1] != '\n') at--;
    unsigned long start, end;
    CHECK(sscanf(at, "%lx-%lx", &start, &end) == 2, "a line of maps");
    MUST(munmap((void *)start, end - start));
  }
  free(text);
  return found;
}

static void direct_sleep(void) {
  struct timespec time = {0, 5000000};
  syscall(SYS_nanosleep, &time, NULL);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  while (unmap("[vdso]") || unmap("[vvar")) continue;
  test_ready();
  while (access(test_path("go"), F_OK) != 0) direct_sleep();
  char *text = test_read_file("/proc/self/maps");
  CHECK(strstr(text, "[vdso]") == NULL && strstr(text, "[vvar") == NULL, "the vdso is back");
  test_pass();
}
