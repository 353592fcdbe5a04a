// Several TCP listeners, and several UDP sockets, on one port by SO_REUSEPORT; and a listener bound to the loopback device.
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static int bound(int type, struct sockaddr_in *address) {
  int fd = MUST(socket(AF_INET, type | SOCK_NONBLOCK, 0));
  MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int)));
  MUST(bind(fd, (struct sockaddr *)address, sizeof *address));
  MUST(getsockname(fd, (struct sockaddr *)address, &(socklen_t){sizeof *address}));
  if (type == SOCK_STREAM) MUST(listen(fd, 8));
  return fd;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  struct sockaddr_in tcp = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}}, udp = tcp;
  int listeners[3], boxes[3];
  for (int i = 0; i < 3; i++) {
    listeners[i] = bound(SOCK_STREAM, &tcp);
    boxes[i] = bound(SOCK_DGRAM, &udp);
  }
  test_ready();
  test_wait();
  int used = 0, datagrams = 0;
  for (int i = 0; i < 3; i++) {
    struct sockaddr_in now;
    MUST(getsockname(listeners[i], (struct sockaddr *)&now, &(socklen_t){sizeof now}));
    CHECK(now.sin_port == tcp.sin_port, "listener %d has port %d", i, ntohs(now.sin_port));
  }
  for (int i = 0; i < 60; i++) { // the kernel shares them out by their ports
    int fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(connect(fd, (struct sockaddr *)&tcp, sizeof tcp));
    close(fd);
    fd = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    MUST(sendto(fd, "x", 1, 0, (struct sockaddr *)&udp, sizeof udp));
    close(fd);
    for (int k = 0; k < 3; k++) {
      int got = accept(listeners[k], NULL, NULL);
      char byte;
      if (got >= 0) used |= 1 << k, close(got);
      if (recv(boxes[k], &byte, 1, 0) == 1) datagrams |= 1 << k;
    }
  }
  CHECK(used == 7 && datagrams == 7, "listeners 0x%x and sockets 0x%x are reached", used, datagrams);
  test_pass();
}
