// More memory locked than the limit allows, by a process that has given up its privileges since: it is still locked.
// criu: without CAP_SYS_RESOURCE it cannot read the limits of another user's process
#include "check.h"
#include <sys/mman.h>
#include <sys/resource.h>

enum { size = 64 * 4096 };

int main(int argc, char **argv) {
  test_init(argc, argv);
  char *memory = MUST(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  test_fill(1, memory, size);
  MUST(mlock(memory, size));
  struct rlimit none = {4096, 4096};
  MUST(setrlimit(RLIMIT_MEMLOCK, &none));
  MUST(setresgid(65534, 65534, 65534));
  MUST(setresuid(65534, 65534, 65534));
  test_ready();
  test_wait();
  CHECK(test_differs(1, memory, size) < 0, "it differs");
  char *status = test_read_file("/proc/self/status"), *line = strstr(status, "VmLck:");
  CHECK(line != NULL && strtol(line + 6, NULL, 10) == size / 1024, "locked: %.20s", line);
  CHECK(geteuid() == 65534, "it is user %d", geteuid());
  test_pass();
}
