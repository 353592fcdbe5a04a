// The execution domain: a personality with address randomisation off, which children inherit.
// criu: it takes the kernel's hexadecimal personality for a decimal number, and does not restore it
#include "check.h"
#include <sys/personality.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(personality(ADDR_NO_RANDOMIZE | STICKY_TIMEOUTS));
  test_ready();
  test_wait();
  int now = personality(0xffffffff);
  CHECK(now == (ADDR_NO_RANDOMIZE | STICKY_TIMEOUTS), "personality is 0x%x", now);
  test_pass();
}
