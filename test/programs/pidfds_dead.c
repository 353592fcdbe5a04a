// Descriptors of a process that has ended and was waited for: two of one process are of one still.
#include "check.h"
#include <poll.h>

static ino_t inode(int fd) {
  struct stat stat;
  MUST(fstat(fd, &stat));
  return stat.st_ino;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  int fds[3];
  for (int i = 0; i < 2; i++) {
    pid_t child = MUST(fork());
    if (child == 0)
      for (;;) pause();
    fds[i] = (int)MUST(syscall(SYS_pidfd_open, child, 0));
    if (i == 0) fds[2] = (int)MUST(syscall(SYS_pidfd_open, child, O_NONBLOCK));
    MUST(kill(child, SIGKILL));
    MUST(waitpid(child, NULL, 0));
  }
  test_ready();
  test_wait();
  for (int i = 0; i < 3; i++) {
    CHECK(syscall(SYS_pidfd_send_signal, fds[i], 0, NULL, 0) == -1 && errno == ESRCH, "pidfd %d: %s", i, strerror(errno));
    CHECK(poll(&(struct pollfd){fds[i], POLLIN, 0}, 1, 0) == 1, "pidfd %d does not tell of the end", i);
  }
  CHECK(inode(fds[0]) == inode(fds[2]) && inode(fds[0]) != inode(fds[1]), "which are of one process");
  CHECK(fcntl(fds[2], F_GETFL) & O_NONBLOCK, "flags");
  test_pass();
}
