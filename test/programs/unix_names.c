// Unix sockets with names: abstract, of packets, bound to deleted paths and to relative ones, with clients that are named too.
// criu: it loses the name of a connected client
#include "check.h"
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static socklen_t at(struct sockaddr_un *where, const char *name, bool abstract) {
  *where = (struct sockaddr_un){.sun_family = AF_UNIX};
  strncpy(where->sun_path + abstract, name, sizeof where->sun_path - 2);
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name) + 1);
}

static void talk(const char *what, int one, int other) {
  char got[16];
  MUST(send(one, "to", 2, 0));
  CHECK(recv(other, got, 16, 0) == 2, "%s: to the other", what);
  MUST(send(other, "fro", 3, 0));
  CHECK(recv(one, got, 16, 0) == 3, "%s: and back", what);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(chdir(test_path(".")));
  struct sockaddr_un where;
  char abstract[64];
  snprintf(abstract, sizeof abstract, "faultline-%d", getpid());
  int server[3], client[3], accepted[3];
  const char *names[] = {"deleted", abstract, "relative"};
  int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_STREAM};
  for (int i = 0; i < 3; i++) {
    server[i] = MUST(socket(AF_UNIX, types[i], 0));
    client[i] = MUST(socket(AF_UNIX, types[i], 0));
    socklen_t length = at(&where, names[i], i == 1);
    MUST(bind(server[i], (struct sockaddr *)&where, length));
    MUST(listen(server[i], 4));
    if (i == 2) {
      struct sockaddr_un own;
      MUST(bind(client[i], (struct sockaddr *)&own, at(&own, "client", false)));
    }
    MUST(connect(client[i], (struct sockaddr *)&where, length));
    accepted[i] = MUST(accept(server[i], NULL, NULL));
  }
  MUST(unlink("deleted"));
  int heir = MUST(socket(AF_UNIX, SOCK_STREAM, 0)); // has the deleted name now
  MUST(bind(heir, (struct sockaddr *)&where, at(&where, "deleted", false)));
  MUST(listen(heir, 4));
  int box = MUST(socket(AF_UNIX, SOCK_DGRAM, 0)), sender = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
  MUST(bind(box, (struct sockaddr *)&where, at(&where, "box", false)));
  MUST(connect(sender, (struct sockaddr *)&where, at(&where, "box", false)));
  MUST(send(sender, "waiting", 7, 0));
  MUST(unlink("box"));
  test_ready();
  test_wait();
  talk("a deleted name", client[0], accepted[0]);
  talk("an abstract name", client[1], accepted[1]);
  talk("a relative name", client[2], accepted[2]);
  CHECK(access("box", F_OK) == -1, "a deleted name is back");
  int visitor = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
  socklen_t heirs = at(&where, "deleted", false);
  MUST(connect(visitor, (struct sockaddr *)&where, heirs));
  talk("the name's heir", visitor, MUST(accept(heir, NULL, NULL)));
  socklen_t length = sizeof where;
  MUST(getpeername(accepted[2], (struct sockaddr *)&where, &length));
  CHECK(strcmp(where.sun_path, "client") == 0, "the client's name is %s", where.sun_path);
  length = sizeof where;
  MUST(getsockname(accepted[0], (struct sockaddr *)&where, &length));
  CHECK(strcmp(where.sun_path, "deleted") == 0, "the name is %s", where.sun_path);
  char got[16];
  CHECK(recv(box, got, 16, 0) == 7, "the datagram that waited");
  MUST(send(sender, "later", 5, 0));
  CHECK(recv(box, got, 16, 0) == 5, "a later datagram");
  for (int i = 1; i < 3; i++) {
    int more = MUST(socket(AF_UNIX, types[i], 0));
    socklen_t size = at(&where, names[i], i == 1);
    MUST(connect(more, (struct sockaddr *)&where, size));
    talk("a new connection", more, MUST(accept(server[i], NULL, NULL)));
  }
  test_pass();
}
