// Packet sockets: a bound and an unbound one, with version, auxiliary data and loss of their own.
#include "check.h"
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int bound = MUST(socket(AF_PACKET, SOCK_RAW, 0));
  int loose = MUST(socket(AF_PACKET, SOCK_DGRAM, 0));
  int lo = (int)if_nametoindex("lo");
  struct sockaddr_ll where = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_LOOP), .sll_ifindex = lo};
  MUST(bind(bound, (struct sockaddr *)&where, sizeof where));
  MUST(setsockopt(bound, SOL_PACKET, PACKET_AUXDATA, &(int){1}, sizeof(int)));
  MUST(setsockopt(bound, SOL_PACKET, PACKET_VERSION, &(int){TPACKET_V2}, sizeof(int)));
  test_ready();
  test_wait();
  struct sockaddr_ll now;
  MUST(getsockname(bound, (struct sockaddr *)&now, &(socklen_t){sizeof now}));
  CHECK(now.sll_ifindex == lo && now.sll_protocol == htons(ETH_P_LOOP), "interface %d, protocol %x", now.sll_ifindex, ntohs(now.sll_protocol));
  int value = 0;
  MUST(getsockopt(bound, SOL_PACKET, PACKET_AUXDATA, &value, &(socklen_t){sizeof value}));
  CHECK(value == 1, "auxiliary data");
  MUST(getsockopt(bound, SOL_PACKET, PACKET_VERSION, &value, &(socklen_t){sizeof value}));
  CHECK(value == TPACKET_V2, "version %d", value);
  MUST(getsockopt(loose, SOL_SOCKET, SO_TYPE, &value, &(socklen_t){sizeof value}));
  CHECK(value == SOCK_DGRAM, "type %d", value);
  test_pass();
}
