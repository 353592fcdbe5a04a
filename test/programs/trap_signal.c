// SIGTRAP ignored by one process, blocked by another, handled by a third, pending in a fourth: as it was, and traps still arrive.
// criu: it refuses a thread with a pending SIGTRAP
#include "check.h"

static volatile sig_atomic_t trapped;
static void on_trap(int signal) { trapped = signal; }

static pid_t child(int number) {
  pid_t pid = MUST(fork());
  if (pid > 0) return pid;
  sigset_t set, got;
  sigemptyset(&set);
  sigaddset(&set, SIGTRAP);
  struct sigaction now;
  if (number == 0) signal(SIGTRAP, SIG_IGN);
  if (number == 1 || number == 3) MUST(sigprocmask(SIG_BLOCK, &set, NULL));
  if (number == 2) signal(SIGTRAP, on_trap);
  if (number == 3) raise(SIGTRAP);
  test_child_ready(number);
  test_wait();
  MUST(sigaction(SIGTRAP, NULL, &now));
  MUST(sigprocmask(SIG_BLOCK, NULL, &got));
  CHECK((now.sa_handler == SIG_IGN) == (number == 0), "child %d ignores it", number);
  CHECK(sigismember(&got, SIGTRAP) == (number == 1 || number == 3), "child %d blocks it", number);
  MUST(sigpending(&got));
  CHECK(sigismember(&got, SIGTRAP) == (number == 3), "pending in child %d", number);
  if (number == 2) {
    __asm__ volatile("int3");
    CHECK(trapped == SIGTRAP, "a trap does not arrive");
  }
  _exit(0);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  pid_t pids[4];
  for (int i = 0; i < 4; i++) pids[i] = child(i), test_await_child(i);
  test_ready();
  test_wait();
  for (int i = 0; i < 4; i++) test_reap(pids[i]);
  test_pass();
}
