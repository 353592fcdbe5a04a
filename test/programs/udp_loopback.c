// UDP sockets on loopback: bound, connected to each other, unconnected, with options.
#include "check.h"
#include <netinet/in.h>
#include <sys/socket.h>

static int bound(struct sockaddr_in *address) {
  int fd = MUST(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
  *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  MUST(bind(fd, (struct sockaddr *)address, sizeof *address));
  socklen_t length = sizeof *address;
  MUST(getsockname(fd, (struct sockaddr *)address, &length));
  return fd;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  struct sockaddr_in a_address, b_address, now;
  int a = bound(&a_address), b = bound(&b_address), loose = MUST(socket(AF_INET, SOCK_DGRAM, 0)), one = 1;
  MUST(connect(a, (struct sockaddr *)&b_address, sizeof b_address));
  MUST(setsockopt(loose, SOL_SOCKET, SO_BROADCAST, &one, sizeof one));
  test_ready();
  test_wait();
  char got[32];
  MUST(send(a, "hello", 5, 0));
  socklen_t length = sizeof now;
  test_sleep_ms(5);
  CHECK(recvfrom(b, got, 32, 0, (struct sockaddr *)&now, &length) == 5, "a datagram is lost");
  CHECK(now.sin_port == a_address.sin_port, "the sender's port changed");
  MUST(sendto(loose, "stranger", 8, 0, (struct sockaddr *)&a_address, sizeof a_address));
  test_sleep_ms(5);
  CHECK(recv(a, got, 32, 0) == -1 && errno == EAGAIN, "the connected socket takes datagrams of strangers");
  MUST(sendto(b, "back", 4, 0, (struct sockaddr *)&a_address, sizeof a_address));
  test_sleep_ms(5);
  CHECK(recv(a, got, 32, 0) == 4, "the connected socket is deaf");
  int value = 0;
  length = sizeof value;
  MUST(getsockopt(loose, SOL_SOCKET, SO_BROADCAST, &value, &length));
  CHECK(value == 1, "SO_BROADCAST is lost");
  test_pass();
}
