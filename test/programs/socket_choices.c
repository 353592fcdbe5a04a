// Options of single protocols: IPv4 and IPv6 with what they tell of packets, TCP's times and sizes, UDP's.
// criu: it keeps but a few of these
#include "check.h"
#include <linux/in6.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static const struct {
  int family, type, level, name, value;
} choices[] = {
  {AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_TOS, 0x10},
  {AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_TTL, 9},
  {AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_PKTINFO, 1},
  {AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_RECVTTL, 1},
  {AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_RECVTOS, 1},
  {AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_RECVERR, 1},
  {AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_RECVOPTS, 1},
  {AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_FREEBIND, 1},
  {AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_TRANSPARENT, 1},
  {AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO},
  {AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_MULTICAST_TTL, 7},
  {AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_MULTICAST_LOOP, 0},
  {AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_MULTICAST_ALL, 0},
  {AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1},
  {AF_INET, SOCK_DGRAM, IPPROTO_UDP, UDP_GRO, 1},
  {AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1},
  {AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1},
  {AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_RECVTCLASS, 1},
  {AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_TCLASS, 0x20},
  {AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 12},
  {AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 5},
  {AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0},
  {AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_RECVERR, 1},
  {AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_FREEBIND, 1},
  {AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, 0},
  {AF_INET6, SOCK_STREAM, IPPROTO_IPV6, IPV6_V6ONLY, 1},
  {AF_INET6, SOCK_STREAM, IPPROTO_IP, IP_TOS, 0x10},
  {AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_NODELAY, 1},
  {AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_CORK, 1},
  {AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_KEEPIDLE, 77},
  {AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_KEEPINTVL, 11},
  {AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_KEEPCNT, 3},
  {AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_SYNCNT, 2},
  {AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_LINGER2, 20},
  {AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_DEFER_ACCEPT, 7},
  {AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_USER_TIMEOUT, 4500},
  {AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 16384},
  {AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1},
  {AF_INET, SOCK_STREAM, SOL_SOCKET, SO_PRIORITY, 5},
  {AF_INET, SOCK_STREAM, SOL_SOCKET, SO_RCVLOWAT, 33},
  {AF_INET, SOCK_DGRAM, SOL_SOCKET, SO_RXQ_OVFL, 1},
  {AF_INET, SOCK_DGRAM, SOL_SOCKET, SO_BUSY_POLL, 50},
  {AF_UNIX, SOCK_DGRAM, SOL_SOCKET, SO_PASSCRED, 1},
  {AF_UNIX, SOCK_DGRAM, SOL_SOCKET, SO_PEEK_OFF, 3},
};
enum { count = sizeof choices / sizeof choices[0] };

int main(int argc, char **argv) {
  test_init(argc, argv);
  int fds[count], told[count];
  for (int i = 0; i < count; i++) {
    fds[i] = MUST(socket(choices[i].family, choices[i].type, 0));
    CHECK(setsockopt(fds[i], choices[i].level, choices[i].name, &choices[i].value, sizeof(int)) == 0, "set %d: %s", i, strerror(errno));
    MUST(getsockopt(fds[i], choices[i].level, choices[i].name, &told[i], &(socklen_t){sizeof(int)}));
  }
  int congested = MUST(socket(AF_INET, SOCK_STREAM, 0));
  MUST(setsockopt(congested, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
  test_ready();
  test_wait();
  for (int i = 0; i < count; i++) {
    int now = -1;
    MUST(getsockopt(fds[i], choices[i].level, choices[i].name, &now, &(socklen_t){sizeof(int)}));
    CHECK(now == told[i], "choice %d (%d:%d) is %d, not %d", i, choices[i].level, choices[i].name, now, told[i]);
  }
  char name[16] = "";
  MUST(getsockopt(congested, IPPROTO_TCP, TCP_CONGESTION, name, &(socklen_t){sizeof name}));
  CHECK(strcmp(name, "reno") == 0, "congestion control %s", name);
  test_pass();
}
