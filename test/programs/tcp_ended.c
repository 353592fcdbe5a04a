// TCP connections that have ended while their descriptors are open: reset by the peer, and closed by both sides. They still
// have the listener's port, and neither the listener nor they take it from each other. A bound socket that never listened.
// criu: locks the network for ended connections too, with iptables
#include "check.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

static struct sockaddr_in address = {.sin_family = AF_INET};

static int state(int fd) {
  struct tcp_info info;
  socklen_t length = sizeof info;
  MUST(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length));
  return info.tcpi_state;
}

static void connected(int listener, int ends[2]) {
  ends[0] = MUST(socket(AF_INET, SOCK_STREAM, 0));
  MUST(connect(ends[0], (struct sockaddr *)&address, sizeof address));
  ends[1] = MUST(accept(listener, NULL, NULL));
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  // One listener says that its port may be shared with ended connections, one does not.
  int listeners[2], ended[3], one = 1;
  struct sockaddr_in addresses[2];
  for (int i = 0; i < 2; i++) {
    listeners[i] = MUST(socket(AF_INET, SOCK_STREAM, 0));
    if (i == 0) MUST(setsockopt(listeners[i], SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = 0;
    MUST(bind(listeners[i], (struct sockaddr *)&address, sizeof address));
    MUST(listen(listeners[i], 5));
    socklen_t length = sizeof address;
    MUST(getsockname(listeners[i], (struct sockaddr *)&address, &length));
    addresses[i] = address;
    int reset[2], closed[2];
    connected(listeners[i], reset);
    struct linger now = {.l_onoff = 1};
    MUST(setsockopt(reset[0], SOL_SOCKET, SO_LINGER, &now, sizeof now));
    MUST(close(reset[0]));
    ended[i] = reset[1];
    if (i == 1) continue; // TIME_WAIT keeps such a port even from the program that had it
    connected(listeners[i], closed);
    MUST(shutdown(closed[1], SHUT_WR));
    MUST(close(closed[0]));
    ended[2] = closed[1];
  }
  for (int i = 0; i < 3; i++) {
    while (state(ended[i]) != TCP_CLOSE) usleep(1000);
  }
  int bound = MUST(socket(AF_INET, SOCK_STREAM, 0));
  address.sin_port = 0;
  MUST(bind(bound, (struct sockaddr *)&address, sizeof address));
  socklen_t length = sizeof address;
  MUST(getsockname(bound, (struct sockaddr *)&address, &length));
  struct sockaddr_in boundTo = address;
  test_ready();
  test_wait();
  for (int i = 0; i < 3; i++) {
    char byte;
    struct pollfd poller = {.fd = ended[i], .events = POLLIN};
    CHECK(poll(&poller, 1, 0) == 1 && (poller.revents & POLLHUP) != 0, "ended connection %d does not hang up: %x", i, poller.revents);
    CHECK(recv(ended[i], &byte, 1, 0) <= 0 && errno != EAGAIN, "ended connection %d has data", i);
    CHECK(send(ended[i], "x", 1, MSG_NOSIGNAL) == -1, "ended connection %d takes data", i);
  }
  for (int i = 0; i < 2; i++) {
    int ends[2], reuse;
    address = addresses[i];
    connected(listeners[i], ends);
    CHECK(send(ends[0], "x", 1, 0) == 1, "listener %d does not serve", i);
    length = sizeof reuse;
    MUST(getsockopt(listeners[i], SOL_SOCKET, SO_REUSEADDR, &reuse, &length));
    CHECK(reuse == (i == 0), "listener %d has SO_REUSEADDR %d", i, reuse);
  }
  length = sizeof address;
  MUST(getsockname(bound, (struct sockaddr *)&address, &length));
  CHECK(address.sin_port == boundTo.sin_port, "the bound socket moved to port %d", ntohs(address.sin_port));
  MUST(listen(bound, 1));
  test_pass();
}
