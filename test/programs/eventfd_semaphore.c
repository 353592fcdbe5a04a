// An event counter used as a semaphore.
// criu: it restores a semaphore as a plain counter
#include "check.h"
#include <sys/eventfd.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int semaphore = MUST(eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK));
  test_ready();
  test_wait();
  uint64_t value;
  for (int i = 0; i < 3; i++) CHECK(read(semaphore, &value, 8) == 8 && value == 1, "read %d gave %lu", i, value);
  CHECK(read(semaphore, &value, 8) == -1 && errno == EAGAIN, "the semaphore has more");
  test_pass();
}
