// Connections that wait in the queues of listening Unix sockets, with nothing sent yet, beside one that was accepted.
#include "check.h"
#include <sys/socket.h>
#include <sys/un.h>

static void talk(int from, int to, const char *what) {
  char got[16];
  MUST(send(from, "hello", 5, 0));
  CHECK(recv(to, got, 16, 0) == 5 && memcmp(got, "hello", 5) == 0, "%s", what);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(chdir(test_path(".")));
  static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};
  int listeners[2], accepted[2], clients[2][3];
  for (int i = 0; i < 2; i++) {
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    snprintf(path.sun_path, sizeof path.sun_path, "%s", test_path(i == 0 ? "stream" : "packets"));
    listeners[i] = MUST(socket(AF_UNIX, types[i], 0));
    MUST(bind(listeners[i], (struct sockaddr *)&path, sizeof path));
    MUST(listen(listeners[i], 9));
    for (int n = 0; n < 3; n++) {
      clients[i][n] = MUST(socket(AF_UNIX, types[i], 0));
      MUST(connect(clients[i][n], (struct sockaddr *)&path, sizeof path));
    }
    accepted[i] = MUST(accept(listeners[i], NULL, NULL));
  }
  test_ready();
  test_wait();
  for (int i = 0; i < 2; i++) {
    talk(clients[i][0], accepted[i], "the connection accepted before");
    talk(accepted[i], clients[i][0], "its way back");
    for (int n = 1; n < 3; n++) MUST(send(clients[i][n], "x", 1, 0));
    for (int n = 1; n < 3; n++) {
      char got[16];
      MUST(fcntl(listeners[i], F_SETFL, O_NONBLOCK));
      int server = MUST(accept(listeners[i], NULL, NULL));
      CHECK(recv(server, got, 16, 0) == 1, "what was sent before accept");
      MUST(send(server, "back", 4, 0));
    }
    for (int n = 1; n < 3; n++) {
      char got[16];
      CHECK(recv(clients[i][n], got, 16, 0) == 4, "client %d got no answer", n);
    }
    CHECK(accept(listeners[i], NULL, NULL) < 0 && errno == EAGAIN, "a connection too many");
  }
  test_pass();
}
