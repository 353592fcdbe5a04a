// Event counters: plain, dup'd, empty and non-blocking.
#include "check.h"
#include <sys/eventfd.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int plain = MUST(eventfd(5, 0)), quiet = MUST(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  int twin = MUST(dup(plain));
  test_ready();
  test_wait();
  uint64_t value;
  CHECK(read(plain, &value, 8) == 8 && value == 5, "counter %lu", value);
  MUST(write(twin, &(uint64_t){9}, 8));
  CHECK(read(plain, &value, 8) == 8 && value == 9, "the dup'd counter is another one");
  CHECK(read(quiet, &value, 8) == -1 && errno == EAGAIN, "the empty counter has %lu", value);
  CHECK(fcntl(quiet, F_GETFD) == FD_CLOEXEC, "close-on-exec is lost");
  test_pass();
}
