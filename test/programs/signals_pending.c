// Pending signals, of the process and of single threads, standard and queued ones, with what they carry.
#include "check.h"
#include <pthread.h>

static pthread_barrier_t set_up, told;

static void expect(const char *whose, int signal, int code, int value) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  siginfo_t info;
  struct timespec none = {0, 0};
  // Not sigtimedwait: glibc's shows SI_TKILL as SI_USER.
  int got = (int)syscall(SYS_rt_sigtimedwait, &set, &info, &none, 8);
  CHECK(got == signal, "%s: signal %d is not pending", whose, signal);
  CHECK(info.si_code == code, "%s: signal %d has code %d", whose, signal, info.si_code);
  CHECK(info.si_pid == getpid(), "%s: signal %d is from %d", whose, signal, info.si_pid);
  if (code == SI_QUEUE) CHECK(info.si_value.sival_int == value, "%s: signal %d carries %d", whose, signal, info.si_value.sival_int);
}
static void expect_none(const char *whose) {
  sigset_t pending;
  sigpending(&pending);
  for (int s = 1; s <= 64; s++) CHECK(!sigismember(&pending, s), "%s: signal %d is pending, too", whose, s);
}

static void *thread(void *argument) {
  int n = (int)(uintptr_t)argument;
  union sigval value = {.sival_int = 1000 + n};
  MUST(syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), SIGUSR2));
  for (int i = 0; i < 3; i++) {
    value.sival_int = 1000 * n + i;
    if (pthread_sigqueue(pthread_self(), SIGRTMIN + 2, value) != 0) test_fail("pthread_sigqueue");
  }
  pthread_barrier_wait(&set_up);
  pthread_barrier_wait(&told);
  char whose[32];
  snprintf(whose, sizeof whose, "thread %d", n);
  expect(whose, SIGUSR2, SI_TKILL, 0);
  for (int i = 0; i < 3; i++) expect(whose, SIGRTMIN + 2, SI_QUEUE, 1000 * n + i);
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  pthread_t threads[3];
  pthread_barrier_init(&set_up, NULL, 4);
  pthread_barrier_init(&told, NULL, 4);
  for (uintptr_t i = 0; i < 3; i++) pthread_create(&threads[i], NULL, thread, (void *)i);
  pthread_barrier_wait(&set_up);
  MUST(kill(getpid(), SIGUSR1));
  MUST(kill(getpid(), SIGTERM));
  for (int i = 0; i < 5; i++) MUST(sigqueue(getpid(), SIGRTMIN + 5, (union sigval){.sival_int = 70 + i}));
  MUST(sigqueue(getpid(), SIGRTMIN + 9, (union sigval){.sival_int = 99}));
  MUST(syscall(SYS_tgkill, getpid(), getpid(), SIGALRM));
  test_ready();
  test_wait();
  pthread_barrier_wait(&told);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  expect("process", SIGUSR1, SI_USER, 0);
  expect("process", SIGTERM, SI_USER, 0);
  for (int i = 0; i < 5; i++) expect("process", SIGRTMIN + 5, SI_QUEUE, 70 + i);
  expect("process", SIGRTMIN + 9, SI_QUEUE, 99);
  expect("main thread", SIGALRM, SI_TKILL, 0);
  expect_none("process");
  test_pass();
}
