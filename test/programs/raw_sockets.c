// Raw IP sockets, one of them bound, and that they still hear the loopback.
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <sys/socket.h>

enum { protocol = 253 }; // for experiments (RFC 3692)

int main(int argc, char **argv) {
  test_init(argc, argv);
  int raw = MUST(socket(AF_INET, SOCK_RAW, protocol));
  int raw6 = MUST(socket(AF_INET6, SOCK_RAW, protocol));
  struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  MUST(bind(raw, (struct sockaddr *)&local, sizeof local));
  test_ready();
  test_wait();
  char packet[128], text[32];
  int number = snprintf(text, sizeof text, "from %d", getpid());
  MUST(sendto(raw, text, (size_t)number, 0, (struct sockaddr *)&local, sizeof local));
  bool found = false;
  for (int i = 0; i < 100 && !found; i++) {
    ssize_t got = MUST(recv(raw, packet, sizeof packet, 0));
    found = got == (ssize_t)sizeof(struct ip) + number && memcmp(packet + sizeof(struct ip), text, (size_t)number) == 0;
  }
  CHECK(found, "a packet did not arrive");
  int now = 0;
  MUST(getsockopt(raw6, SOL_SOCKET, SO_PROTOCOL, &now, &(socklen_t){sizeof now}));
  CHECK(now == protocol, "protocol %d", now);
  test_pass();
}
