// Memberships in multicast groups: IPv4 and IPv6, with the interface, and one of a single source.
// criu: it loses memberships in multicast groups
#include "check.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  unsigned lo = if_nametoindex("lo");
  int four = MUST(socket(AF_INET, SOCK_DGRAM, 0)), six = MUST(socket(AF_INET6, SOCK_DGRAM, 0));
  struct sockaddr_in any = {.sin_family = AF_INET};
  MUST(bind(four, (struct sockaddr *)&any, sizeof any));
  MUST(getsockname(four, (struct sockaddr *)&any, &(socklen_t){sizeof any}));
  struct ip_mreqn group = {.imr_ifindex = (int)lo, .imr_multiaddr.s_addr = inet_addr("239.1.2.3")};
  MUST(setsockopt(four, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group));
  struct ip_mreqn from = {.imr_ifindex = (int)lo, .imr_address.s_addr = htonl(INADDR_LOOPBACK)};
  MUST(setsockopt(four, IPPROTO_IP, IP_MULTICAST_IF, &from, sizeof from));
  struct ip_mreq_source source = {.imr_multiaddr = {inet_addr("232.1.2.3")}, .imr_interface = {htonl(INADDR_LOOPBACK)}, .imr_sourceaddr = {inet_addr("10.9.8.7")}};
  MUST(setsockopt(four, IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &source, sizeof source));
  struct ipv6_mreq wide = {.ipv6mr_interface = lo};
  inet_pton(AF_INET6, "ff02::4321", &wide.ipv6mr_multiaddr);
  MUST(setsockopt(six, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &wide, sizeof wide));
  test_ready();
  test_wait();
  // A group that one belongs to already cannot be joined.
  CHECK(setsockopt(four, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group) == -1 && errno == EADDRINUSE, "IPv4: %s", strerror(errno));
  CHECK(setsockopt(six, IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &wide, sizeof wide) == -1 && errno == EADDRINUSE, "IPv6: %s", strerror(errno));
  MUST(setsockopt(four, IPPROTO_IP, IP_DROP_SOURCE_MEMBERSHIP, &source, sizeof source));
  int sender = MUST(socket(AF_INET, SOCK_DGRAM, 0));
  MUST(setsockopt(sender, IPPROTO_IP, IP_MULTICAST_IF, &from, sizeof from));
  any.sin_addr = group.imr_multiaddr;
  MUST(sendto(sender, "all", 3, 0, (struct sockaddr *)&any, sizeof any));
  char text[8];
  CHECK(recv(four, text, 8, 0) == 3, "what was sent to the group");
  test_pass();
}
