// A periodic real-time interval timer that goes on ticking afterwards at its pace.
#include "check.h"
#include <sys/time.h>

static volatile sig_atomic_t ticks;
static void handler(int signal) { (void)signal; ticks++; }

int main(int argc, char **argv) {
  test_init(argc, argv);
  signal(SIGALRM, handler);
  struct itimerval timer = {{0, 20000}, {0, 20000}};
  MUST(setitimer(ITIMER_REAL, &timer, NULL));
  while (ticks < 3) test_sleep_ms(2);
  test_ready();
  test_wait();
  int before = ticks;
  for (int i = 0; i < 2000 && ticks < before + 5; i++) test_sleep_ms(2);
  CHECK(ticks >= before + 5, "the timer stopped: %d ticks", ticks - before);
  test_pass();
}
