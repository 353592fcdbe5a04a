// A TCP connection on loopback whose client has said its last word: unread data, then the end of file; answers still go back.
// options: --tcp-established
#include "check.h"
#include <netinet/in.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int listener = MUST(socket(AF_INET, SOCK_STREAM, 0)), client = MUST(socket(AF_INET, SOCK_STREAM, 0));
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  MUST(bind(listener, (struct sockaddr *)&address, sizeof address));
  MUST(listen(listener, 5));
  socklen_t length = sizeof address;
  MUST(getsockname(listener, (struct sockaddr *)&address, &length));
  MUST(connect(client, (struct sockaddr *)&address, sizeof address));
  int server = MUST(accept(listener, NULL, NULL));
  close(listener);
  MUST(send(client, "last words", 10, 0));
  MUST(shutdown(client, SHUT_WR));
  test_sleep_ms(50);
  test_ready();
  test_wait();
  char got[32];
  CHECK(recv(server, got, 32, 0) == 10 && memcmp(got, "last words", 10) == 0, "unread data");
  CHECK(recv(server, got, 32, 0) == 0, "no end of file");
  MUST(send(server, "answer", 6, 0));
  CHECK(recv(client, got, 32, 0) == 6, "the way back");
  CHECK(send(client, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE, "the shut side can send");
  test_pass();
}
