// POSIX timers on the clocks of processor time, of the process, of a thread, and of a child; and for a thread that has ended.
#include "check.h"
#include <pthread.h>

static volatile int finish;
static volatile sig_atomic_t fired[4];
static void on_signal(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)context;
  fired[info->si_value.sival_int]++;
}

static timer_t timer_on(clockid_t clock, int number, long milliseconds) {
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = number};
  struct itimerspec time = {{0, 0}, {milliseconds / 1000, milliseconds % 1000 * 1000000}};
  timer_t timer;
  MUST(timer_create(clock, &event, &timer));
  MUST(timer_settime(timer, 0, &time, NULL));
  return timer;
}

static void *thread(void *unused) {
  (void)unused;
  while (!test_told()) test_sleep_ms(2);
  while (!finish) continue; // busy: its clock runs
  return NULL;
}
static pthread_barrier_t there, leave;
static void *ends(void *argument) {
  *(pid_t *)argument = (pid_t)syscall(SYS_gettid);
  pthread_barrier_wait(&there);
  pthread_barrier_wait(&leave);
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
  MUST(sigaction(SIGRTMIN, &action, NULL));
  pthread_t other, dead;
  pthread_create(&other, NULL, thread, NULL);
  pid_t dead_id;
  pthread_barrier_init(&there, NULL, 2);
  pthread_barrier_init(&leave, NULL, 2);
  pthread_create(&dead, NULL, ends, &dead_id);
  pthread_barrier_wait(&there);
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 3};
  event._sigev_un._tid = dead_id;
  timer_t lost;
  MUST(timer_create(CLOCK_MONOTONIC, &event, &lost));
  pthread_barrier_wait(&leave);
  pthread_join(dead, NULL);
  clockid_t clock;
  CHECK(pthread_getcpuclockid(other, &clock) == 0, "pthread_getcpuclockid");
  timer_on(CLOCK_PROCESS_CPUTIME_ID, 0, 300);
  timer_on(clock, 1, 200);
  timer_on(CLOCK_THREAD_CPUTIME_ID, 2, 100000);
  test_ready();
  test_wait();
  for (int i = 0; i < 5000 && (fired[0] == 0 || fired[1] == 0); i++) test_sleep_ms(2);
  CHECK(fired[0] == 1, "the timer of the process fired %d times", fired[0]);
  CHECK(fired[1] == 1, "the timer of the thread fired %d times", fired[1]);
  CHECK(fired[2] == 0, "a timer fired before its time");
  finish = 1;
  pthread_join(other, NULL);
  test_pass();
}
