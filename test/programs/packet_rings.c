// Packet sockets with rings, one of them mapped, with memberships, in a fanout group, and one of the old kind.
#include "check.h"
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/mman.h>
#include <sys/socket.h>

static struct tpacket_req3 ring = {.tp_block_size = 4096, .tp_block_nr = 1, .tp_frame_size = 1024, .tp_frame_nr = 4};

int main(int argc, char **argv) {
  test_init(argc, argv);
  int lo = (int)if_nametoindex("lo"), value = 0;
  int mapped = MUST(socket(AF_PACKET, SOCK_RAW, 0)), grouped = MUST(socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_LOOP)));
  MUST(setsockopt(mapped, SOL_PACKET, PACKET_RX_RING, &ring, sizeof ring));
  MUST(setsockopt(mapped, SOL_PACKET, PACKET_TX_RING, &ring, sizeof ring));
  char *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, mapped, 0);
  CHECK(memory != MAP_FAILED, "mmap");
  struct sockaddr_ll where = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_LOOP), .sll_ifindex = lo};
  MUST(bind(grouped, (struct sockaddr *)&where, sizeof where));
  MUST(setsockopt(grouped, SOL_PACKET, PACKET_RESERVE, &(int){32}, sizeof(int)));
  MUST(setsockopt(grouped, SOL_PACKET, PACKET_FANOUT, &(int){77 | PACKET_FANOUT_LB << 16}, sizeof(int)));
  struct packet_mreq group = {.mr_ifindex = lo, .mr_type = PACKET_MR_MULTICAST, .mr_alen = 6, .mr_address = {1, 0, 0x5e, 9, 8, 7}};
  MUST(setsockopt(grouped, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &group, sizeof group));
  int old = MUST(socket(AF_PACKET, SOCK_PACKET, htons(ETH_P_LOOP)));
  MUST(bind(old, (struct sockaddr *)&(struct sockaddr){.sa_family = AF_PACKET, .sa_data = "lo"}, sizeof(struct sockaddr)));
  test_ready();
  test_wait();
  memory[4096] = memory[0];
  struct tpacket_stats stats;
  MUST(getsockopt(mapped, SOL_PACKET, PACKET_STATISTICS, &stats, &(socklen_t){sizeof stats}));
  CHECK(setsockopt(mapped, SOL_PACKET, PACKET_VERSION, &(int){TPACKET_V2}, sizeof(int)) == -1 && errno == EBUSY, "the rings are gone");
  MUST(getsockopt(grouped, SOL_PACKET, PACKET_RESERVE, &value, &(socklen_t){sizeof value}));
  CHECK(value == 32, "reserve %d", value);
  MUST(getsockopt(grouped, SOL_PACKET, PACKET_FANOUT, &value, &(socklen_t){sizeof value}));
  CHECK((value & 0xffffff) == (77 | PACKET_FANOUT_LB << 16), "fanout %x", value);
  CHECK(strstr(test_read_file("/proc/net/dev_mcast"), "01005e090807") != NULL, "the membership is lost");
  struct sockaddr name;
  MUST(getsockname(old, &name, &(socklen_t){sizeof name}));
  CHECK(strcmp(name.sa_data, "lo") == 0, "bound to %s", name.sa_data);
  test_pass();
}
