// Unix connections whose other end is closed: what it had sent is read first, then the end; writing is EPIPE.
#include "check.h"
#include <sys/socket.h>
#include <sys/un.h>

enum { kinds = 2 };
static const int types[kinds] = {SOCK_STREAM, SOCK_SEQPACKET};

static struct sockaddr_un name_of(const char *name) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", test_path(name));
  return address;
}

static void is_ended(int fd, const char *text, const char *what) {
  char read_back[32] = "";
  ssize_t got = recv(fd, read_back, sizeof read_back, MSG_DONTWAIT);
  CHECK(got == (ssize_t)strlen(text) && strcmp(read_back, text) == 0, "%s: read %zd bytes, \"%s\"", what, got, read_back);
  got = recv(fd, read_back, sizeof read_back, MSG_DONTWAIT);
  CHECK(got == 0, "%s: no end but %zd, %s", what, got, strerror(errno));
  CHECK(send(fd, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE, "%s: sending gave %s", what, strerror(errno));
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  int pairs[kinds];
  for (int i = 0; i < kinds; i++) {
    int fds[2];
    MUST(socketpair(AF_UNIX, types[i], 0, fds));
    MUST(send(fds[1], "last words", 10, 0));
    close(fds[1]);
    pairs[i] = fds[0];
  }
  // One that was accepted, and one whose accepted end is closed and that is bound itself.
  int listener = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), gone = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), client = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
  struct sockaddr_un address = name_of("listener"), own = name_of("client");
  MUST(bind(listener, (struct sockaddr *)&address, sizeof address));
  MUST(listen(listener, 3));
  MUST(connect(gone, (struct sockaddr *)&address, sizeof address));
  int accepted = MUST(accept(listener, NULL, NULL));
  MUST(send(gone, "to the server", 13, 0));
  close(gone);
  MUST(bind(client, (struct sockaddr *)&own, sizeof own));
  MUST(connect(client, (struct sockaddr *)&address, sizeof address));
  int server = MUST(accept(listener, NULL, NULL));
  MUST(send(server, "to the client", 13, 0));
  close(server);
  test_ready();
  test_wait();
  is_ended(pairs[0], "last words", "a pair of streams");
  is_ended(pairs[1], "last words", "a pair of packets");
  is_ended(accepted, "to the server", "the accepted one");
  is_ended(client, "to the client", "the client");
  int again = MUST(socket(AF_UNIX, SOCK_STREAM, 0)); // the listening one still listens
  MUST(connect(again, (struct sockaddr *)&address, sizeof address));
  test_pass();
}
