// Processes that share their table of descriptors and their working directory (CLONE_FILES, CLONE_FS), but not memory.
// criu: it refuses processes that share their working directory without sharing all else
#include "check.h"
#include <sched.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int fd = MUST(open("/dev/null", O_RDWR));
  pid_t child = (pid_t)MUST(syscall(SYS_clone, CLONE_FILES | CLONE_FS | SIGCHLD, 0, 0, 0, 0));
  if (child == 0) {
    test_child_ready(0);
    test_wait();
    MUST(dup3(fd, 50, 0)); // shows in the parent
    MUST(mkdir(test_path("inner"), 0755));
    MUST(chdir(test_path("inner")));
    umask(0123);
    _exit(0);
  }
  test_await_child(0);
  test_ready();
  test_wait();
  test_reap(child);
  CHECK(fcntl(50, F_GETFD) == 0, "the child's new descriptor is not the parent's");
  char now[PATH_MAX];
  CHECK(getcwd(now, sizeof now) != NULL && strcmp(now, test_path("inner")) == 0, "the child's chdir is not the parent's: %s", now);
  CHECK(umask(0) == 0123, "the child's umask is not the parent's");
  test_pass();
}
