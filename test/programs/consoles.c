// The console and a virtual terminal, open under names of the program's own.
#include "check.h"
#include <sys/sysmacros.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  static const struct {
    const char *name;
    int major, minor;
  } nodes[] = {{"console", 5, 1}, {"terminal", 4, 5}};
  int fds[2];
  for (int i = 0; i < 2; i++) {
    MUST(mknod(test_path(nodes[i].name), S_IFCHR | 0600, makedev((unsigned)nodes[i].major, (unsigned)nodes[i].minor)));
    fds[i] = MUST(open(test_path(nodes[i].name), O_RDONLY | O_NOCTTY));
  }
  test_ready();
  test_wait();
  for (int i = 0; i < 2; i++) {
    struct stat stat;
    MUST(fstat(fds[i], &stat));
    CHECK(stat.st_rdev == makedev((unsigned)nodes[i].major, (unsigned)nodes[i].minor), "%s is %lx", nodes[i].name, (long)stat.st_rdev);
  }
  test_pass();
}
