// Unread UDP datagrams of several senders, large and small, over IPv4 and IPv6, at bound and at connected sockets.
// criu: it loses unread UDP datagrams
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

union address {
  struct sockaddr any;
  struct sockaddr_in four;
  struct sockaddr_in6 six;
};
enum { kinds = 4 }; // at an address, anywhere, connected, IPv6
static char large[40000];

static int bound(int kind, union address *address) {
  int family = kind == 3 ? AF_INET6 : AF_INET;
  *address = (union address){.any.sa_family = (sa_family_t)family};
  if (kind == 3) address->six.sin6_addr = in6addr_loopback;
  else if (kind != 1) address->four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = MUST(socket(family, SOCK_DGRAM | SOCK_NONBLOCK, 0));
  MUST(bind(fd, &address->any, sizeof *address));
  MUST(getsockname(fd, &address->any, &(socklen_t){sizeof *address}));
  return fd;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  test_fill(5, large, sizeof large);
  int receivers[kinds];
  union address from[kinds][2];
  for (int i = 0; i < kinds; i++) {
    union address to;
    receivers[i] = bound(i, &to);
    if (i == 1) to.four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int senders[2] = {bound(i == 1 ? 0 : i, &from[i][0]), bound(i == 1 ? 0 : i, &from[i][1])};
    if (i == 2) MUST(connect(receivers[i], &from[i][0].any, sizeof from[i][0]));
    MUST(sendto(senders[0], "small", 5, 0, &to.any, sizeof to));
    if (i != 2) MUST(sendto(senders[1], large, sizeof large, 0, &to.any, sizeof to));
  }
  test_ready();
  test_wait();
  for (int i = 0; i < kinds; i++) {
    for (int j = 0; j < 2; j++) {
      static char got[65536];
      union address source = {0};
      ssize_t size = recvfrom(receivers[i], got, sizeof got, 0, &source.any, &(socklen_t){sizeof source});
      if (i == 2 && j == 1) {
        CHECK(size == -1 && errno == EAGAIN, "more at the connected one");
        continue;
      }
      CHECK(size == (j == 0 ? 5 : (ssize_t)sizeof large), "datagram %d of %d: %zd, %s", j, i, size, strerror(errno));
      CHECK(memcmp(got, j == 0 ? "small" : large, (size_t)size) == 0, "the bytes of datagram %d of %d", j, i);
      in_port_t port = i == 3 ? source.six.sin6_port : source.four.sin_port;
      CHECK(port == (i == 3 ? from[i][j].six.sin6_port : from[i][j].four.sin_port), "the sender of datagram %d of %d", j, i);
      if (i == 3) CHECK(IN6_IS_ADDR_LOOPBACK(&source.six.sin6_addr), "the sender's address");
      else CHECK(source.four.sin_addr.s_addr == htonl(INADDR_LOOPBACK), "the sender's address");
    }
  }
  test_pass();
}
