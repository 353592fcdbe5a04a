// Timer descriptors: armed and not, one-shot and periodic, several clocks, with expirations not yet read.
#include "check.h"
#include <sys/timerfd.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int idle = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)), once = MUST(timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC));
  int periodic = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)), boot = MUST(timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK));
  int expired = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
  MUST(timerfd_settime(once, 0, &(struct itimerspec){{0, 0}, {5000, 0}}, NULL));
  MUST(timerfd_settime(periodic, 0, &(struct itimerspec){{0, 30000000}, {1, 0}}, NULL));
  MUST(timerfd_settime(boot, 0, &(struct itimerspec){{100, 0}, {4000, 0}}, NULL));
  MUST(timerfd_settime(expired, 0, &(struct itimerspec){{0, 0}, {0, 1000000}}, NULL));
  test_sleep_ms(10);
  test_ready();
  test_wait();
  struct itimerspec now;
  uint64_t ticks = 0;
  CHECK(read(idle, &ticks, 8) == -1 && errno == EAGAIN, "the idle timer ticked");
  MUST(timerfd_gettime(once, &now));
  CHECK(now.it_value.tv_sec > 4900 && now.it_value.tv_sec <= 5000 && now.it_interval.tv_sec == 0, "one-shot: %ld s left", (long)now.it_value.tv_sec);
  MUST(timerfd_gettime(boot, &now));
  CHECK(now.it_value.tv_sec > 3900 && now.it_interval.tv_sec == 100, "boot clock: %ld s left", (long)now.it_value.tv_sec);
  CHECK(read(expired, &ticks, 8) == 8 && ticks == 1, "the expiration not yet read is lost (%lu)", ticks);
  for (int i = 0; i < 4000 && read(periodic, &ticks, 8) < 0; i++) test_sleep_ms(1);
  test_sleep_ms(150);
  CHECK(read(periodic, &ticks, 8) == 8 && ticks >= 3, "the periodic timer stopped (%lu ticks)", ticks);
  CHECK(fcntl(once, F_GETFD) == FD_CLOEXEC && (fcntl(idle, F_GETFL) & O_NONBLOCK), "descriptor flags");
  test_pass();
}
