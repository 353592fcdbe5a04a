// The three interval timers: how much is left, their intervals, and that they go off.
#include "check.h"
#include <sys/time.h>

static volatile sig_atomic_t fired;
static void handler(int signal) { fired |= 1 << (signal == SIGALRM ? 0 : signal == SIGVTALRM ? 1 : 2); }

int main(int argc, char **argv) {
  test_init(argc, argv);
  signal(SIGALRM, handler);
  signal(SIGVTALRM, handler);
  signal(SIGPROF, handler);
  struct itimerval real = {{7000, 250000}, {3000, 0}}, cpu = {{40, 0}, {50, 500000}}, profile = {{0, 0}, {60, 0}}, now;
  MUST(setitimer(ITIMER_REAL, &real, NULL));
  MUST(setitimer(ITIMER_VIRTUAL, &cpu, NULL));
  MUST(setitimer(ITIMER_PROF, &profile, NULL));
  test_ready();
  test_wait();
  MUST(getitimer(ITIMER_REAL, &now));
  CHECK(now.it_interval.tv_sec == 7000 && now.it_interval.tv_usec == 250000, "interval of ITIMER_REAL changed");
  CHECK(now.it_value.tv_sec <= 3000 && now.it_value.tv_sec > 2900, "ITIMER_REAL has %ld s left", (long)now.it_value.tv_sec);
  MUST(getitimer(ITIMER_VIRTUAL, &now));
  CHECK(now.it_interval.tv_sec == 40, "interval of ITIMER_VIRTUAL changed");
  CHECK(now.it_value.tv_sec <= 50 && now.it_value.tv_sec >= 45, "ITIMER_VIRTUAL has %ld s left", (long)now.it_value.tv_sec);
  MUST(getitimer(ITIMER_PROF, &now));
  CHECK(now.it_interval.tv_sec == 0 && now.it_interval.tv_usec == 0, "interval of ITIMER_PROF changed");
  CHECK(now.it_value.tv_sec <= 60 && now.it_value.tv_sec >= 55, "ITIMER_PROF has %ld s left", (long)now.it_value.tv_sec);
  CHECK(fired == 0, "a timer went off early: 0x%x", (unsigned)fired);
  struct itimerval soon = {{0, 0}, {0, 2000}};
  MUST(setitimer(ITIMER_REAL, &soon, NULL));
  for (int i = 0; i < 1000 && !(fired & 1); i++) test_sleep_ms(2);
  CHECK(fired == 1, "ITIMER_REAL did not go off");
  test_pass();
}
