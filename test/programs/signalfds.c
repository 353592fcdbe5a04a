// Signal descriptors: their masks, with signals waiting to be read.
#include "check.h"
#include <sys/signalfd.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  sigset_t all, one, two;
  sigemptyset(&one);
  sigaddset(&one, SIGUSR1);
  sigaddset(&one, SIGRTMIN + 3);
  sigemptyset(&two);
  sigaddset(&two, SIGUSR2);
  sigorset(&all, &one, &two);
  MUST(sigprocmask(SIG_BLOCK, &all, NULL));
  int first = MUST(signalfd(-1, &one, SFD_NONBLOCK)), second = MUST(signalfd(-1, &two, SFD_NONBLOCK | SFD_CLOEXEC));
  MUST(sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = 12345}));
  test_ready();
  test_wait();
  struct signalfd_siginfo info;
  CHECK(read(second, &info, sizeof info) == -1 && errno == EAGAIN, "the second descriptor has a signal");
  CHECK(read(first, &info, sizeof info) == sizeof info && info.ssi_signo == (unsigned)SIGRTMIN + 3 && info.ssi_int == 12345, "the waiting signal");
  MUST(kill(getpid(), SIGUSR2));
  CHECK(read(first, &info, sizeof info) == -1, "the first descriptor took a signal of the second");
  CHECK(read(second, &info, sizeof info) == sizeof info && info.ssi_signo == SIGUSR2, "the second descriptor's signal");
  test_pass();
}
