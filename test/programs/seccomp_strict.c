// A child in seccomp's strict mode, which may only read, write and exit.
#include "check.h"
#include <linux/seccomp.h>
#include <sys/prctl.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int down[2], up[2];
  MUST(pipe(down));
  MUST(pipe(up));
  pid_t child = MUST(fork());
  if (child == 0) {
    char byte = 1;
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    if (write(up[1], &byte, 1) != 1) syscall(SYS_exit, 2);
    read(down[0], &byte, 1);
    byte++;
    write(up[1], &byte, 1);
    if (byte == 6) syscall(SYS_getpid); // not allowed: ends it
    syscall(SYS_exit, 3);
  }
  char byte;
  MUST(read(up[0], &byte, 1));
  test_ready();
  test_wait();
  MUST(write(down[1], "\5", 1));
  CHECK(read(up[0], &byte, 1) == 1 && byte == 6, "the child's answer");
  int status;
  MUST(waitpid(child, &status, 0));
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "it ended with 0x%x", status);
  test_pass();
}
