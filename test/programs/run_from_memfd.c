// A program that was started from a memfd (fexecve(3)): its file has no name, and is still its file.
// criu: it looks for the program among the regular files
#include "check.h"
#include <sys/mman.h>
#include <sys/sendfile.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  if (getenv("FROM_MEMFD") == NULL) {
    int from = MUST(open("/proc/self/exe", O_RDONLY)), to = MUST(memfd_create("program", MFD_CLOEXEC));
    while (MUST(sendfile(to, from, NULL, 1 << 20)) > 0) continue;
    close(from);
    setenv("FROM_MEMFD", "1", 1);
    fexecve(to, argv, environ);
    test_fail("fexecve: %s", strerror(errno));
  }
  test_ready();
  test_wait();
  char name[64] = "";
  MUST(readlink("/proc/self/exe", name, sizeof name - 1));
  CHECK(strcmp(name, "/memfd:program (deleted)") == 0, "its file is %s", name);
  int fd = MUST(open("/proc/self/exe", O_RDONLY));
  char magic[4];
  CHECK(read(fd, magic, 4) == 4 && memcmp(magic, "\177ELF", 4) == 0, "its file cannot be read");
  close(fd);
  pid_t child = MUST(fork()); // code that was not touched before
  if (child == 0) _exit(0);
  test_reap(child);
  test_pass();
}
