// Blocked signals of each thread, as they were, and the mask inside sigsuspend.
#include "check.h"
#include <pthread.h>

static pthread_barrier_t set_up, told;
static volatile sig_atomic_t suspended;
static void handler(int signal) { (void)signal; }

static void mask_for(unsigned n, sigset_t *set) {
  sigemptyset(set);
  for (int s = 1; s <= 64; s++)
    if (s != SIGKILL && s != SIGSTOP && s != 32 && s != 33 && (unsigned)s % (n + 2) == 0) sigaddset(set, s);
}

static void *thread(void *argument) {
  unsigned n = (unsigned)(uintptr_t)argument;
  sigset_t wanted, now;
  mask_for(n, &wanted);
  pthread_sigmask(SIG_SETMASK, &wanted, NULL);
  pthread_barrier_wait(&set_up);
  pthread_barrier_wait(&told);
  pthread_sigmask(SIG_BLOCK, NULL, &now);
  for (int s = 1; s <= 64; s++)
    CHECK(sigismember(&now, s) == sigismember(&wanted, s), "thread %u: signal %d is %sblocked", n, s, sigismember(&now, s) ? "" : "not ");
  return NULL;
}

static pid_t suspended_tid;
static void *suspended_thread(void *unused) {
  (void)unused;
  sigset_t all_but_usr1, before, after;
  sigfillset(&before);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  sigfillset(&all_but_usr1);
  sigdelset(&all_but_usr1, SIGUSR1);
  suspended_tid = (pid_t)syscall(SYS_gettid);
  suspended = 1;
  sigsuspend(&all_but_usr1);
  CHECK(errno == EINTR, "sigsuspend: %s", strerror(errno));
  suspended = 2;
  pthread_sigmask(SIG_BLOCK, NULL, &after);
  CHECK(sigismember(&after, SIGUSR1), "after sigsuspend SIGUSR1 is not blocked");
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  signal(SIGUSR1, handler);
  pthread_t threads[6], suspender;
  pthread_barrier_init(&set_up, NULL, 7);
  pthread_barrier_init(&told, NULL, 7);
  for (uintptr_t i = 0; i < 6; i++) pthread_create(&threads[i], NULL, thread, (void *)i);
  pthread_create(&suspender, NULL, suspended_thread, NULL);
  pthread_barrier_wait(&set_up);
  while (!suspended) test_sleep_ms(1);
  test_sleep_ms(20);
  test_ready();
  test_wait();
  pthread_barrier_wait(&told);
  for (int i = 0; i < 6; i++) pthread_join(threads[i], NULL);
  CHECK(suspended == 1, "sigsuspend returned without a signal");
  MUST(syscall(SYS_tgkill, getpid(), suspended_tid, SIGUSR1));
  pthread_join(suspender, NULL);
  test_pass();
}
