// Datagram Unix sockets connected to a process outside of the tree, by a path and by an abstract name.
// options: --ext-unix-sk
#include "check.h"
#include <sys/socket.h>
#include <sys/un.h>

static socklen_t name(struct sockaddr_un *address, int abstract) {
  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  if (abstract) return (socklen_t)(sizeof(sa_family_t) + 1 + (size_t)snprintf(address->sun_path + 1, 90, "faultline-outside-%s", strrchr(test_folder, '/') + 1));
  snprintf(address->sun_path, sizeof address->sun_path, "%.90s/outside", test_folder);
  return sizeof *address;
}

/// Nobody's child, so no part of the tree.
static void stranger(void) {
  if (fork() > 0) _exit(0);
  setsid();
  test_end_with_folder();
  int fds[2];
  for (int i = 0; i < 2; i++) {
    struct sockaddr_un address;
    socklen_t length = name(&address, i);
    fds[i] = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
    MUST(bind(fds[i], (struct sockaddr *)&address, length));
  }
  test_child_ready(1);
  for (int i = 0; i < 2; i++) {
    char text[8];
    for (int j = 0; j < 2; j++) CHECK(recv(fds[i], text, 8, 0) == 4 + j, "datagram %d at %d", j, i);
  }
  test_child_ready(2);
  _exit(0);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  pid_t child = MUST(fork());
  if (child == 0) stranger();
  test_reap(child);
  test_await_child(1);
  int fds[2];
  for (int i = 0; i < 2; i++) {
    struct sockaddr_un address;
    socklen_t length = name(&address, i);
    fds[i] = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
    MUST(connect(fds[i], (struct sockaddr *)&address, length));
    MUST(send(fds[i], "four", 4, 0));
  }
  test_ready();
  test_wait();
  for (int i = 0; i < 2; i++) MUST(send(fds[i], "five5", 5, 0));
  test_await_child(2);
  test_pass();
}
