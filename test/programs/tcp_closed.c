// TCP connections that are not kept: under --tcp-close both ends read an end or an error, and the listener goes on.
// options: --tcp-close
#include "check.h"
#include <netinet/in.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  int listener = MUST(socket(AF_INET, SOCK_STREAM, 0)), client = MUST(socket(AF_INET, SOCK_STREAM, 0)), one = 1;
  MUST(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  MUST(bind(listener, (struct sockaddr *)&address, sizeof address));
  MUST(listen(listener, 5));
  socklen_t length = sizeof address;
  MUST(getsockname(listener, (struct sockaddr *)&address, &length));
  MUST(connect(client, (struct sockaddr *)&address, sizeof address));
  int server = MUST(accept(listener, NULL, NULL));
  test_ready();
  test_wait();
  char got[8];
  ssize_t n = send(client, "x", 1, MSG_DONTWAIT);
  if (n == 1) { // never checkpointed: the connection lives
    CHECK(recv(server, got, 8, 0) == 1, "the connection is neither kept nor closed");
  } else {
    CHECK(recv(client, got, 8, MSG_DONTWAIT) <= 0 && recv(server, got, 8, MSG_DONTWAIT) <= 0, "a closed connection has data");
    CHECK(errno != EAGAIN, "a closed connection would block");
  }
  int later = MUST(socket(AF_INET, SOCK_STREAM, 0));
  MUST(connect(later, (struct sockaddr *)&address, sizeof address));
  MUST(accept(listener, NULL, NULL));
  test_pass();
}
