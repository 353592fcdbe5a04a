// Descriptors of processes: of a child and of the process itself, still usable to signal and to wait.
#include "check.h"
#include <poll.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  pid_t child = MUST(fork());
  if (child == 0) {
    for (;;) pause();
  }
  int of_child = (int)MUST(syscall(SYS_pidfd_open, child, 0)), of_self = (int)MUST(syscall(SYS_pidfd_open, getpid(), 0));
  test_ready();
  test_wait();
  CHECK(poll(&(struct pollfd){of_child, POLLIN, 0}, 1, 0) == 0, "the child seems to have ended");
  MUST(syscall(SYS_pidfd_send_signal, of_self, 0, NULL, 0));
  MUST(syscall(SYS_pidfd_send_signal, of_child, SIGTERM, NULL, 0));
  CHECK(poll(&(struct pollfd){of_child, POLLIN, 0}, 1, 5000) == 1, "the child's end is not seen");
  int status;
  CHECK(waitpid(child, &status, 0) == child && WTERMSIG(status) == SIGTERM, "status 0x%x", status);
  test_pass();
}
