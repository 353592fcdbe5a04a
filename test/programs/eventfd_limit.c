// An event counter at its limit, beyond 32 bits.
// criu: it restores the low 32 bits of an event counter only
#include "check.h"
#include <sys/eventfd.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int limit = MUST(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  MUST(write(limit, &(uint64_t){0xfffffffffffffffe}, 8));
  test_ready();
  test_wait();
  uint64_t value;
  CHECK(write(limit, &(uint64_t){1}, 8) == -1 && errno == EAGAIN, "the counter at its limit takes more");
  CHECK(read(limit, &value, 8) == 8 && value == 0xfffffffffffffffe, "the counter at its limit: %lx", value);
  test_pass();
}
