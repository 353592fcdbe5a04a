// The memory devices: null, zero, full, random, urandom.
#include "check.h"

int main(int argc, char **argv) {
  test_init(argc, argv);
  int null = MUST(open("/dev/null", O_RDWR)), zero = MUST(open("/dev/zero", O_RDONLY)), full = MUST(open("/dev/full", O_RDWR));
  int random = MUST(open("/dev/random", O_RDONLY | O_NONBLOCK)), urandom = MUST(open("/dev/urandom", O_RDONLY | O_CLOEXEC));
  test_ready();
  test_wait();
  char bytes[64] = "something";
  CHECK(read(null, bytes, 64) == 0 && write(null, bytes, 64) == 64, "/dev/null");
  CHECK(read(zero, bytes, 64) == 64 && test_not_zero(bytes, 64) < 0, "/dev/zero");
  CHECK(write(full, bytes, 64) == -1 && errno == ENOSPC, "/dev/full");
  CHECK(read(random, bytes, 64) == 64 && test_not_zero(bytes, 64) >= 0, "/dev/random");
  memset(bytes, 0, 64);
  CHECK(read(urandom, bytes, 64) == 64 && test_not_zero(bytes, 64) >= 0, "/dev/urandom");
  CHECK(fcntl(random, F_GETFL) & O_NONBLOCK, "O_NONBLOCK is lost");
  CHECK(fcntl(urandom, F_GETFD) == FD_CLOEXEC, "close-on-exec is lost");
  test_pass();
}
