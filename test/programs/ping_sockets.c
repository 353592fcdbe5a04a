// Sockets for echo requests (icmp(7)): IPv4 and IPv6, bound to an identifier.
// criu: it loses the identifier
#include "check.h"
#include <netinet/in.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int range = open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY);
  if (range >= 0) {
    MUST(write(range, "0 65535", 7));
    close(range);
  }
  int four = MUST(socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)), six = MUST(socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6));
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)(getpid() % 60000 + 1))};
  MUST(bind(four, (struct sockaddr *)&address, sizeof address));
  test_ready();
  test_wait();
  struct sockaddr_in now;
  MUST(getsockname(four, (struct sockaddr *)&now, &(socklen_t){sizeof now}));
  CHECK(now.sin_port == address.sin_port, "identifier %d", ntohs(now.sin_port));
  int protocol = 0;
  MUST(getsockopt(six, SOL_SOCKET, SO_PROTOCOL, &protocol, &(socklen_t){sizeof protocol}));
  CHECK(protocol == IPPROTO_ICMPV6, "protocol %d", protocol);
  unsigned char request[8] = {8, 0, 0, 0, 0, 0, 0, 1}, answer[64];
  MUST(sendto(four, request, 8, 0, (struct sockaddr *)&address, sizeof address));
  CHECK(recv(four, answer, 64, 0) == 8 && answer[0] == 0, "an echo");
  test_pass();
}
