// Attributes of a process: what a core dump has of it, its group's nice value, whether new mappings may be executable, merged pages.
// criu: CRIU has no place for them
#include "check.h"
#include <sys/mman.h>
#include <sys/prctl.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#endif
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#define PR_GET_MEMORY_MERGE 68
#endif

static void set(const char *path, const char *value) {
  int fd = MUST(open(path, O_WRONLY));
  MUST(write(fd, value, strlen(value)));
  close(fd);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  set("/proc/self/coredump_filter", "0x5");
  bool has_autogroup = access("/proc/self/autogroup", W_OK) == 0;
  if (has_autogroup) set("/proc/self/autogroup", "7");
  bool denies = prctl(PR_SET_MDWE, 1L, 0L, 0L, 0L) == 0;          // since Linux 6.3
  bool merges = prctl(PR_SET_MEMORY_MERGE, 1L, 0L, 0L, 0L) == 0;  // since Linux 6.4
  test_ready();
  test_wait();
  char *filter = test_read_file("/proc/self/coredump_filter");
  CHECK(strtol(filter, NULL, 16) == 5, "the core dump filter is %s", filter);
  if (has_autogroup) {
    char *text = test_read_file("/proc/self/autogroup");
    CHECK(strstr(text, "nice 7") != NULL, "the group's nice value: %s", text);
  }
  if (merges) CHECK(prctl(PR_GET_MEMORY_MERGE, 0L, 0L, 0L, 0L) == 1, "its pages are not merged any more");
  if (denies) {
    CHECK(prctl(PR_GET_MDWE, 0L, 0L, 0L, 0L) == 1, "new mappings may be writable and executable");
    CHECK(mmap(NULL, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EACCES, "such a mapping");
  }
  test_pass();
}
