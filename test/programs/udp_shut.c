// UDP sockets of which a direction is shut down: reading, writing, both, and one that is whole.
#include "check.h"
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

enum { sockets = 4 };

int main(int argc, char **argv) {
  test_init(argc, argv);
  int fds[sockets];
  for (int i = 0; i < sockets; i++) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    fds[i] = MUST(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    MUST(bind(fds[i], (struct sockaddr *)&address, sizeof address));
    MUST(getsockname(fds[i], (struct sockaddr *)&address, &(socklen_t){sizeof address}));
    MUST(connect(fds[i], (struct sockaddr *)&address, sizeof address));
    if (i > 0) MUST(shutdown(fds[i], i - 1));
  }
  test_ready();
  test_wait();
  signal(SIGPIPE, SIG_IGN);
  for (int i = 0; i < sockets; i++) {
    bool reads = i == 0 || i == 2, writes = i < 2;
    ssize_t sent = send(fds[i], "x", 1, 0);
    CHECK(writes ? sent == 1 : sent == -1 && errno == EPIPE, "socket %d sends %zd: %s", i, sent, strerror(errno));
    struct pollfd look = {fds[i], POLLIN | POLLRDHUP, 0};
    MUST(poll(&look, 1, 0));
    CHECK(((look.revents & POLLRDHUP) == 0) == reads, "reading from socket %d: %x", i, look.revents);
    CHECK(((look.revents & POLLHUP) != 0) == (i == 3), "the end of socket %d: %x", i, look.revents);
  }
  test_pass();
}
