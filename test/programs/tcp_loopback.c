// A TCP connection on loopback with both ends in the tree: unread data both ways, options, the listener still listening.
// options: --tcp-established
#include "check.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int listener = MUST(socket(AF_INET, SOCK_STREAM, 0)), client = MUST(socket(AF_INET, SOCK_STREAM, 0)), one = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  MUST(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
  MUST(bind(listener, (struct sockaddr *)&address, sizeof address));
  MUST(listen(listener, 5));
  socklen_t length = sizeof address;
  MUST(getsockname(listener, (struct sockaddr *)&address, &length));
  MUST(connect(client, (struct sockaddr *)&address, sizeof address));
  int server = MUST(accept(listener, NULL, NULL));
  MUST(setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
  MUST(setsockopt(client, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one));
  char bytes[30000], got[40000];
  test_fill(1, bytes, sizeof bytes);
  for (size_t sent = 0; sent < sizeof bytes;) sent += (size_t)MUST(send(client, bytes + sent, sizeof bytes - sent, 0));
  MUST(send(server, "to the client", 13, 0));
  pid_t child = MUST(fork());
  if (child == 0) { // an echo in another process
    close(client);
    test_child_ready(0);
    size_t total = 0;
    test_wait();
    while (total < sizeof bytes) total += (size_t)MUST(recv(server, got + total, sizeof got - total, 0));
    CHECK(total == sizeof bytes && memcmp(got, bytes, total) == 0, "the server read other bytes");
    for (size_t sent = 0; sent < sizeof bytes;) sent += (size_t)MUST(send(server, bytes + sent, sizeof bytes - sent, 0));
    _exit(0);
  }
  close(server);
  test_await_child(0);
  test_sleep_ms(50);
  test_ready();
  test_wait();
  size_t total = 0;
  while (total < 13 + sizeof bytes) {
    ssize_t n = MUST(recv(client, got + total, sizeof got - total, 0));
    CHECK(n > 0, "the connection ended after %zu bytes", total);
    total += (size_t)n;
  }
  CHECK(memcmp(got, "to the client", 13) == 0 && memcmp(got + 13, bytes, sizeof bytes) == 0, "the client read other bytes");
  test_reap(child);
  CHECK(recv(client, got, 10, 0) == 0, "no end of file when the server ended");
  int value = 0;
  length = sizeof value;
  MUST(getsockopt(client, IPPROTO_TCP, TCP_NODELAY, &value, &length));
  CHECK(value != 0, "TCP_NODELAY is lost");
  MUST(getsockopt(client, SOL_SOCKET, SO_KEEPALIVE, &value, &length));
  CHECK(value == 1, "SO_KEEPALIVE is lost");
  client = MUST(socket(AF_INET, SOCK_STREAM, 0));
  MUST(connect(client, (struct sockaddr *)&address, sizeof address));
  MUST(accept(listener, NULL, NULL));
  test_pass();
}
