// A pipe in packet mode, with packets not yet read.
// criu: it refuses pipes in packet mode
#include "check.h"

int main(int argc, char **argv) {
  test_init(argc, argv);
  int packets[2];
  char got[64];
  MUST(pipe2(packets, O_DIRECT));
  MUST(write(packets[1], "one", 3));
  MUST(write(packets[1], "two2", 4));
  test_ready();
  test_wait();
  CHECK(fcntl(packets[1], F_GETFL) & O_DIRECT, "packet mode is lost");
  CHECK(read(packets[0], got, 64) == 3 && memcmp(got, "one", 3) == 0, "the first packet");
  CHECK(read(packets[0], got, 64) == 4 && memcmp(got, "two2", 4) == 0, "the second packet");
  MUST(write(packets[1], "a", 1));
  MUST(write(packets[1], "b", 1));
  CHECK(read(packets[0], got, 64) == 1 && got[0] == 'a', "a new packet is merged with the next");
  test_pass();
}
