// Listening TCP sockets, IPv4 and IPv6, with their options; connections can be made afterwards.
#include "check.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static int listening(int family, struct sockaddr_storage *address, socklen_t *length) {
  int fd = MUST(socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0)), one = 1;
  memset(address, 0, sizeof *address);
  address->ss_family = (sa_family_t)family;
  if (family == AF_INET) ((struct sockaddr_in *)address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  else {
    ((struct sockaddr_in6 *)address)->sin6_addr = in6addr_loopback;
    MUST(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one));
  }
  MUST(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
  MUST(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one));
  MUST(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
  MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){7, 0}, sizeof(struct timeval)));
  *length = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
  MUST(bind(fd, (struct sockaddr *)address, *length));
  MUST(listen(fd, 17));
  MUST(getsockname(fd, (struct sockaddr *)address, length));
  return fd;
}

static int option(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  MUST(getsockopt(fd, level, name, &value, &length));
  return value;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  struct sockaddr_storage addresses[2];
  socklen_t lengths[2];
  int fds[2], buffers[2][2];
  for (int i = 0; i < 2; i++) {
    fds[i] = listening(i == 0 ? AF_INET : AF_INET6, &addresses[i], &lengths[i]);
    buffers[i][0] = option(fds[i], SOL_SOCKET, SO_RCVBUF);
    buffers[i][1] = option(fds[i], SOL_SOCKET, SO_SNDBUF);
  }
  test_ready();
  test_wait();
  for (int i = 0; i < 2; i++) {
    CHECK(option(fds[i], SOL_SOCKET, SO_ACCEPTCONN) == 1, "socket %d does not listen", i);
    CHECK(option(fds[i], SOL_SOCKET, SO_REUSEADDR) == 1 && option(fds[i], SOL_SOCKET, SO_KEEPALIVE) == 1, "socket options of %d", i);
    CHECK(option(fds[i], IPPROTO_TCP, TCP_NODELAY) == 1, "TCP_NODELAY of %d", i);
    CHECK(option(fds[i], SOL_SOCKET, SO_RCVBUF) == buffers[i][0] && option(fds[i], SOL_SOCKET, SO_SNDBUF) == buffers[i][1], "buffer sizes of %d", i);
    struct timeval limit;
    socklen_t size = sizeof limit;
    MUST(getsockopt(fds[i], SOL_SOCKET, SO_RCVTIMEO, &limit, &size));
    CHECK(limit.tv_sec == 7, "receive time limit of %d", i);
    struct sockaddr_storage now;
    size = sizeof now;
    MUST(getsockname(fds[i], (struct sockaddr *)&now, &size));
    CHECK(size == lengths[i] && memcmp(&now, &addresses[i], size) == 0, "address of %d", i);
    int client = MUST(socket(now.ss_family, SOCK_STREAM, 0));
    MUST(connect(client, (struct sockaddr *)&now, size));
    int server = MUST(accept(fds[i], NULL, NULL));
    MUST(write(client, "hello", 5));
    char got[8];
    CHECK(read(server, got, 8) == 5 && memcmp(got, "hello", 5) == 0, "data through socket %d", i);
  }
  test_pass();
}
