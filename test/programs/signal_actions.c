// Signal dispositions: handlers with flags and masks, ignored and default ones, and that a handler still runs.
#include "check.h"

static volatile sig_atomic_t caught, caught_value;
static void plain(int signal) { caught = signal; }
static void with_info(int signal, siginfo_t *info, void *context) {
  (void)context;
  caught = signal;
  caught_value = info->si_value.sival_int;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  struct sigaction before[65], after;
  for (int n = 1; n <= 64; n++) {
    struct sigaction action = {0};
    if (n == SIGKILL || n == SIGSTOP || n == 32 || n == 33) continue;
    sigemptyset(&action.sa_mask);
    switch (n % 4) {
      case 0: action.sa_handler = SIG_IGN; break;
      case 1: action.sa_handler = plain; action.sa_flags = SA_RESTART; sigaddset(&action.sa_mask, SIGUSR2); break;
      case 2: action.sa_sigaction = with_info; action.sa_flags = SA_SIGINFO | SA_NODEFER; sigfillset(&action.sa_mask); break;
      default: action.sa_handler = SIG_DFL; action.sa_flags = n == SIGCHLD ? SA_NOCLDSTOP : 0;
    }
    MUST(sigaction(n, &action, NULL));
    MUST(sigaction(n, NULL, &before[n]));
  }
  test_ready();
  test_wait();
  for (int n = 1; n <= 64; n++) {
    if (n == SIGKILL || n == SIGSTOP || n == 32 || n == 33) continue;
    MUST(sigaction(n, NULL, &after));
    CHECK(after.sa_handler == before[n].sa_handler, "handler of signal %d changed", n);
    CHECK(after.sa_flags == before[n].sa_flags, "flags of signal %d: 0x%x, were 0x%x", n, after.sa_flags, before[n].sa_flags);
    CHECK(memcmp(&after.sa_mask, &before[n].sa_mask, 8) == 0, "mask of signal %d changed", n);
  }
  union sigval value = {.sival_int = 4711};
  MUST(sigqueue(getpid(), SIGRTMIN + 8, value)); // 42 = 2 mod 4
  CHECK(caught == SIGRTMIN + 8 && caught_value == 4711, "a queued signal was not handled: %d, %d", caught, caught_value);
  MUST(raise(SIGHUP)); // 1 mod 4
  CHECK(caught == SIGHUP, "SIGHUP was not handled");
  test_pass();
}
