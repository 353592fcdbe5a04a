// Nodes of character devices outside of /dev: an open one, and one that has been deleted since.
#include "check.h"
#include <sys/sysmacros.h>

static void same(int fd, mode_t mode, dev_t device) {
  struct stat stat;
  MUST(fstat(fd, &stat));
  CHECK(stat.st_mode == mode && stat.st_rdev == device, "mode %o, device %lx", stat.st_mode, (long)stat.st_rdev);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  umask(0);
  MUST(mknod(test_path("node"), S_IFCHR | 0640, makedev(1, 5)));
  MUST(mknod(test_path("gone"), S_IFCHR | 0700, makedev(1, 3)));
  int node = MUST(open(test_path("node"), O_RDONLY)), gone = MUST(open(test_path("gone"), O_RDWR | O_APPEND));
  MUST(unlink(test_path("gone")));
  test_ready();
  test_wait();
  same(node, S_IFCHR | 0640, makedev(1, 5));
  same(gone, S_IFCHR | 0700, makedev(1, 3));
  char byte = 1;
  CHECK(read(node, &byte, 1) == 1 && byte == 0, "a zero");
  CHECK(read(gone, &byte, 1) == 0, "the end");
  CHECK((fcntl(gone, F_GETFL) & O_APPEND) != 0, "flags");
  CHECK(access(test_path("gone"), F_OK) == -1 && errno == ENOENT, "the deleted node has a name");
  test_pass();
}
