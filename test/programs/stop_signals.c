// Children stopped by SIGSTOP and by SIGTSTP: the parent that waits for them later learns which, and they go on at SIGCONT.
#include "check.h"

int main(int argc, char **argv) {
  test_init(argc, argv);
  const int with[] = {SIGSTOP, SIGTSTP};
  enum { count = sizeof with / sizeof *with };
  pid_t pids[count];
  for (int i = 0; i < count; i++) {
    pids[i] = MUST(fork());
    if (pids[i] == 0) {
      // Not of an orphaned group, where the kernel ignores all but SIGSTOP.
      MUST(setpgid(0, 0));
      test_child_ready(i);
      raise(with[i]);
      CHECK(test_told(), "child %d went on before it was told", i);
      _exit(20 + i);
    }
    siginfo_t info;
    MUST(waitid(P_PID, (id_t)pids[i], &info, WSTOPPED | WNOWAIT)); // to be waited for again
    CHECK(info.si_status == with[i], "child %d stopped by %d", i, info.si_status);
  }
  test_ready();
  test_wait();
  for (int i = 0; i < count; i++) {
    int status;
    CHECK(waitpid(pids[i], &status, WUNTRACED) == pids[i] && WIFSTOPPED(status), "child %d: status 0x%x", i, status);
    CHECK(WSTOPSIG(status) == with[i], "child %d was stopped by %d, not %d", i, WSTOPSIG(status), with[i]);
    MUST(kill(pids[i], SIGCONT));
    CHECK(waitpid(pids[i], &status, 0) == pids[i] && WEXITSTATUS(status) == 20 + i, "child %d: status 0x%x", i, status);
  }
  test_pass();
}
