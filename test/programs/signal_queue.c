// Real-time signals queued with values, to the process and to a thread, in order; and a signal that waits for sigwaitinfo.
#include "check.h"
#include <pthread.h>

static volatile int state;
static void *thread(void *unused) {
  (void)unused;
  state = 1;
  while (state != 2) test_sleep_ms(2);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 1);
  siginfo_t info;
  for (int i = 0; i < 3; i++) {
    CHECK(sigwaitinfo(&set, &info) == SIGRTMIN + 1 && info.si_value.sival_int == 100 + i, "the thread's signal %d has %d", i, info.si_value.sival_int);
    CHECK(info.si_pid == getpid() && info.si_code == SI_QUEUE, "sent by %d with %d", info.si_pid, info.si_code);
  }
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  sigset_t set;
  sigemptyset(&set);
  for (int i = 0; i < 3; i++) sigaddset(&set, SIGRTMIN + i);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  pthread_t one;
  pthread_create(&one, NULL, thread, NULL);
  while (state != 1) test_sleep_ms(1);
  for (int i = 0; i < 3; i++) pthread_sigqueue(one, SIGRTMIN + 1, (union sigval){.sival_int = 100 + i});
  for (int i = 0; i < 5; i++) MUST(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i}));
  MUST(kill(getpid(), SIGUSR1));
  test_ready();
  test_wait();
  siginfo_t info;
  CHECK(sigwaitinfo(&set, &info) == SIGUSR1 && info.si_code == SI_USER && info.si_uid == getuid(), "the plain signal");
  sigset_t first;
  sigemptyset(&first);
  sigaddset(&first, SIGRTMIN);
  for (int i = 0; i < 5; i++) CHECK(sigwaitinfo(&first, &info) == SIGRTMIN && info.si_value.sival_int == i, "signal %d has %d", i, info.si_value.sival_int);
  state = 2;
  pthread_join(one, NULL);
  struct timespec now = {0, 0};
  CHECK(sigtimedwait(&set, &info, &now) == -1 && errno == EAGAIN, "one more signal: %d", info.si_signo);
  test_pass();
}
