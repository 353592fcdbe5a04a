// POSIX timers: their ids with gaps, clocks, ways of notice, what is left, intervals, and that they go off.
#include "check.h"
#include <pthread.h>

static volatile sig_atomic_t fired;
static volatile pid_t fired_in;
static void handler(int signal, siginfo_t *info, void *context) {
  (void)signal;
  (void)context;
  fired = info->si_value.sival_int;
  fired_in = (pid_t)syscall(SYS_gettid);
}

static volatile pid_t thread_id;
static volatile int finish;
static void *thread(void *unused) {
  (void)unused;
  thread_id = (pid_t)syscall(SYS_gettid);
  while (!finish) test_sleep_ms(2);
  return NULL;
}

static int create(clockid_t clock, int notify, int signal, int value) { // the raw call: kernel ids, no libc table
  struct sigevent event = {.sigev_notify = notify, .sigev_signo = signal, .sigev_value.sival_int = value};
  if (notify == SIGEV_THREAD_ID) event._sigev_un._tid = thread_id;
  int id = -1;
  MUST(syscall(SYS_timer_create, clock, &event, &id));
  return id;
}
static void arm(int id, long first, long interval_ms) {
  struct itimerspec spec = {{interval_ms / 1000, interval_ms % 1000 * 1000000}, {first, 0}};
  MUST(syscall(SYS_timer_settime, id, 0, &spec, NULL));
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
  MUST(sigaction(SIGRTMIN + 4, &action, NULL));
  pthread_t other;
  pthread_create(&other, NULL, thread, NULL);
  while (!thread_id) test_sleep_ms(1);
  int gap[3];
  for (int i = 0; i < 3; i++) gap[i] = create(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);
  int real = create(CLOCK_REALTIME, SIGEV_SIGNAL, SIGRTMIN + 4, 1001), mono = create(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 4, 1002);
  int none = create(CLOCK_BOOTTIME, SIGEV_NONE, 0, 0), directed = create(CLOCK_MONOTONIC, SIGEV_THREAD_ID, SIGRTMIN + 4, 1003);
  for (int i = 0; i < 3; i++) MUST(syscall(SYS_timer_delete, gap[i]));
  arm(real, 3000, 0);
  arm(mono, 2000, 500);
  arm(none, 1000, 0);
  test_ready();
  test_wait();
  struct itimerspec now;
  MUST(syscall(SYS_timer_gettime, real, &now));
  CHECK(now.it_value.tv_sec > 2900 && now.it_value.tv_sec <= 3000, "realtime timer: %ld s left", (long)now.it_value.tv_sec);
  MUST(syscall(SYS_timer_gettime, mono, &now));
  CHECK(now.it_value.tv_sec > 1900 && now.it_interval.tv_nsec == 500000000, "monotonic timer: %ld s left", (long)now.it_value.tv_sec);
  MUST(syscall(SYS_timer_gettime, none, &now));
  CHECK(now.it_value.tv_sec > 900, "boot timer: %ld s left", (long)now.it_value.tv_sec);
  MUST(syscall(SYS_timer_gettime, directed, &now));
  CHECK(now.it_value.tv_sec == 0 && now.it_value.tv_nsec == 0, "the idle timer is armed");
  for (int i = 0; i < 3; i++) CHECK(syscall(SYS_timer_gettime, gap[i], &now) == -1 && errno == EINVAL, "deleted timer %d is back", gap[i]);
  const int each[3] = {real, mono, directed};
  for (int i = 0; i < 3; i++) {
    fired = 0;
    struct itimerspec soon = {{0, 0}, {0, 1000000}};
    MUST(syscall(SYS_timer_settime, each[i], 0, &soon, NULL));
    for (int wait = 0; wait < 1000 && fired == 0; wait++) test_sleep_ms(2);
    CHECK(fired == 1001 + i, "timer %d: the handler saw %d", i, (int)fired);
  }
  CHECK(fired_in == thread_id, "the directed timer went off in thread %d, not %d", fired_in, thread_id);
  finish = 1;
  pthread_join(other, NULL);
  test_pass();
}
