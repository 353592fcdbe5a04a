// A connection that waits in a listening Unix socket's queue, with data sent already.
// criu: it refuses a connection that has data and is not yet accepted
#include "check.h"
#include <sys/socket.h>
#include <sys/un.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(chdir(test_path(".")));
  struct sockaddr_un path = {.sun_family = AF_UNIX, .sun_path = "listener"};
  int listener = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), client = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
  MUST(bind(listener, (struct sockaddr *)&path, sizeof path));
  MUST(listen(listener, 9));
  MUST(connect(client, (struct sockaddr *)&path, sizeof path));
  MUST(send(client, "early", 5, 0));
  test_ready();
  test_wait();
  int server = MUST(accept(listener, NULL, NULL));
  char got[16];
  CHECK(recv(server, got, 16, 0) == 5 && memcmp(got, "early", 5) == 0, "the data sent before accept");
  MUST(send(server, "late", 4, 0));
  CHECK(recv(client, got, 16, 0) == 4, "the accepted connection");
  test_pass();
}
