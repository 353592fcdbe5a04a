// A datagram socket whose other end is closed: what it had sent is read, and sending says that nobody is there.
// criu: CRIU makes it a socket that was never connected
#include "check.h"
#include <sys/socket.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int fds[2];
  MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds));
  MUST(send(fds[1], "last words", 11, 0));
  close(fds[1]);
  test_ready();
  test_wait();
  char text[32] = "";
  CHECK(recv(fds[0], text, sizeof text, MSG_DONTWAIT) == 11 && strcmp(text, "last words") == 0, "the datagram is %s", text);
  CHECK(send(fds[0], "x", 1, MSG_NOSIGNAL) == -1 && errno == ECONNREFUSED, "sending gave %s", strerror(errno));
  test_pass();
}
