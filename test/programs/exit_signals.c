// Children that tell of their end by another signal than SIGCHLD, or by none (clone(2)): their parent still learns in that way.
// criu: CRIU makes all children with SIGCHLD
#include "check.h"

static pid_t child(int number, int exit_signal) {
  pid_t pid = MUST((pid_t)syscall(SYS_clone, exit_signal, NULL, NULL, NULL, 0));
  if (pid > 0) return pid;
  sigset_t end;
  sigemptyset(&end);
  sigaddset(&end, SIGTERM);
  test_child_ready(number);
  sigwaitinfo(&end, NULL);
  _exit(10 + number);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  const int exit_signals[] = {SIGCHLD, SIGUSR1, SIGRTMIN + 2, 0};
  enum { count = sizeof exit_signals / sizeof *exit_signals };
  sigset_t all;
  sigfillset(&all);
  MUST(sigprocmask(SIG_BLOCK, &all, NULL));
  pid_t pids[count];
  for (int i = 0; i < count; i++) {
    pids[i] = child(i, exit_signals[i]);
    test_await_child(i);
  }
  pid_t zombie = MUST((pid_t)syscall(SYS_clone, SIGUSR2, NULL, NULL, NULL, 0));
  if (zombie == 0) _exit(7);
  siginfo_t info;
  sigset_t end;
  sigemptyset(&end);
  sigaddset(&end, SIGUSR2);
  CHECK(sigwaitinfo(&end, &info) == SIGUSR2 && info.si_pid == zombie, "the end of the zombie");
  test_ready();
  test_wait();
  struct timespec now = {0, 0};
  int status, got = sigtimedwait(&all, &info, &now);
  CHECK(got == -1 && errno == EAGAIN, "signal %d was pending", got);
  for (int i = 0; i < count; i++) {
    MUST(kill(pids[i], SIGTERM));
    CHECK(waitpid(pids[i], &status, __WALL) == pids[i] && WEXITSTATUS(status) == 10 + i, "child %d: status 0x%x", i, status);
    got = sigtimedwait(&all, &info, &now);
    if (exit_signals[i] == 0) CHECK(got == -1 && errno == EAGAIN, "a child that tells nothing sent signal %d", got);
    else CHECK(got == exit_signals[i] && info.si_pid == pids[i], "child %d sent signal %d", i, got);
  }
  // Only SIGCHLD's children are waited for without __WCLONE (waitpid(2)).
  CHECK(waitpid(-1, &status, 0) == -1 && errno == ECHILD, "the zombie is an ordinary one");
  CHECK(waitpid(zombie, &status, __WCLONE) == zombie && WEXITSTATUS(status) == 7, "the zombie: status 0x%x", status);
  test_pass();
}
