// A periodic timer descriptor whose expirations nobody has read yet: it goes on ticking.
// criu: it restores such a timer disarmed, as the kernel shows no time left until the expirations are read
#include "check.h"
#include <sys/timerfd.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int periodic = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
  MUST(timerfd_settime(periodic, 0, &(struct itimerspec){{0, 20000000}, {0, 20000000}}, NULL));
  test_sleep_ms(70);
  test_ready();
  test_wait();
  uint64_t ticks = 0;
  CHECK(read(periodic, &ticks, 8) == 8 && ticks >= 1, "the expirations are lost");
  test_sleep_ms(100);
  CHECK(read(periodic, &ticks, 8) == 8 && ticks >= 3, "the periodic timer stopped (%lu ticks)", ticks);
  test_pass();
}
