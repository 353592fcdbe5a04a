// Named Unix sockets: listening ones on a path and in the abstract namespace, an accepted connection with unread data,
// and a bound datagram socket with an unread message and options.
#include "check.h"
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static socklen_t name(struct sockaddr_un *address, const char *text, bool abstract) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  snprintf(address->sun_path + abstract, sizeof address->sun_path - 1, "%s", text);
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(text) + 1);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(chdir(test_path(".")));
  struct sockaddr_un path, hidden, box, now;
  char abstract_name[64];
  snprintf(abstract_name, sizeof abstract_name, "faultline-test-%d", getpid());
  socklen_t path_length = name(&path, test_path("stream"), false), hidden_length = name(&hidden, abstract_name, true);
  socklen_t box_length = name(&box, test_path("box"), false), length;
  int on_path = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), abstract = MUST(socket(AF_UNIX, SOCK_SEQPACKET, 0));
  int datagram = MUST(socket(AF_UNIX, SOCK_DGRAM, 0)), sender = MUST(socket(AF_UNIX, SOCK_DGRAM, 0)), one = 1;
  MUST(bind(on_path, (struct sockaddr *)&path, path_length));
  MUST(bind(abstract, (struct sockaddr *)&hidden, hidden_length));
  MUST(bind(datagram, (struct sockaddr *)&box, box_length));
  MUST(setsockopt(sender, SOL_SOCKET, SO_PASSCRED, &one, sizeof one));
  MUST(listen(on_path, 9));
  MUST(listen(abstract, 9));
  int client = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
  MUST(connect(client, (struct sockaddr *)&path, path_length));
  int server = MUST(accept(on_path, NULL, NULL));
  MUST(send(client, "question", 8, 0));
  MUST(connect(sender, (struct sockaddr *)&box, box_length));
  MUST(send(sender, "letter", 6, 0));
  test_ready();
  test_wait();
  char got[64];
  CHECK(recv(server, got, 64, 0) == 8 && memcmp(got, "question", 8) == 0, "the accepted connection's unread data");
  MUST(send(server, "answer", 6, 0));
  CHECK(recv(client, got, 64, 0) == 6, "the accepted connection");
  CHECK(recv(datagram, got, 64, 0) == 6 && memcmp(got, "letter", 6) == 0, "the unread datagram");
  MUST(send(sender, "more", 4, 0));
  CHECK(recv(datagram, got, 64, 0) == 4, "the datagram sender is not connected");
  int value = 0;
  length = sizeof value;
  MUST(getsockopt(sender, SOL_SOCKET, SO_PASSCRED, &value, &length));
  CHECK(value == 1, "SO_PASSCRED is lost");
  length = sizeof now;
  MUST(getsockname(on_path, (struct sockaddr *)&now, &length));
  CHECK(strcmp(now.sun_path, path.sun_path) == 0, "the name is %s", now.sun_path);
  int late = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
  MUST(connect(late, (struct sockaddr *)&path, path_length));
  MUST(accept(on_path, NULL, NULL));
  late = MUST(socket(AF_UNIX, SOCK_SEQPACKET, 0));
  MUST(connect(late, (struct sockaddr *)&hidden, hidden_length));
  MUST(accept(abstract, NULL, NULL));
  test_pass();
}
