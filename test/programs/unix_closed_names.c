// Unix connections that have names and whose other end is closed: an accepted one, and a client that was bound itself.
// criu: CRIU makes both without a name
#include "check.h"
#include <sys/socket.h>
#include <sys/un.h>

static struct sockaddr_un name_of(const char *name) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", test_path(name));
  return address;
}

static void has_name(int fd, const char *name) {
  struct sockaddr_un address = {0}, wanted = name_of(name);
  socklen_t length = sizeof address;
  MUST(getsockname(fd, (struct sockaddr *)&address, &length));
  CHECK(strcmp(address.sun_path, wanted.sun_path) == 0, "the name is %s", address.sun_path);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  int listener = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), gone = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), client = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
  struct sockaddr_un address = name_of("listener"), own = name_of("client");
  MUST(bind(listener, (struct sockaddr *)&address, sizeof address));
  MUST(listen(listener, 3));
  MUST(connect(gone, (struct sockaddr *)&address, sizeof address));
  int accepted = MUST(accept(listener, NULL, NULL));
  close(gone);
  MUST(bind(client, (struct sockaddr *)&own, sizeof own));
  MUST(connect(client, (struct sockaddr *)&address, sizeof address));
  close(MUST(accept(listener, NULL, NULL)));
  test_ready();
  test_wait();
  has_name(accepted, "listener");
  has_name(client, "client");
  char byte;
  CHECK(recv(accepted, &byte, 1, MSG_DONTWAIT) == 0 && recv(client, &byte, 1, MSG_DONTWAIT) == 0, "they have not ended");
  int again = MUST(socket(AF_UNIX, SOCK_STREAM, 0)); // the listening one still listens
  MUST(connect(again, (struct sockaddr *)&address, sizeof address));
  test_pass();
}
