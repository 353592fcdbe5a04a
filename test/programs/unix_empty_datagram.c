// An unread datagram without content between two others, on a Unix socket pair.
// criu: it loses datagrams without content
#include "check.h"
#include <sys/socket.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int pair[2];
  MUST(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair));
  MUST(send(pair[0], "one", 3, 0));
  MUST(send(pair[0], "", 0, 0));
  MUST(send(pair[0], "three", 5, 0));
  test_ready();
  test_wait();
  char got[16];
  const ssize_t wanted[3] = {3, 0, 5};
  for (int i = 0; i < 3; i++) {
    ssize_t size = recv(pair[1], got, 16, 0);
    CHECK(size == wanted[i], "datagram %d: recv gave %ld, not %ld", i, (long)size, (long)wanted[i]);
  }
  test_pass();
}
