// Names of Unix sockets that have other owners now: a fifo in place of a deleted socket, and a datagram from one that is closed.
#include "check.h"
#include <sys/socket.h>
#include <sys/un.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(chdir(test_path(".")));
  struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "name"}, mail = {.sun_family = AF_UNIX, .sun_path = "mail"};
  int lost = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), box = MUST(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0));
  MUST(bind(lost, (struct sockaddr *)&name, sizeof name));
  MUST(unlink("name"));
  MUST(mkfifo("name", 0600));
  int fifo = MUST(open("name", O_RDWR));
  MUST(bind(box, (struct sockaddr *)&mail, sizeof mail));
  int sender = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
  MUST(connect(sender, (struct sockaddr *)&mail, sizeof mail));
  MUST(send(sender, "letter", 6, 0));
  MUST(close(sender));
  test_ready();
  test_wait();
  struct sockaddr_un now;
  MUST(getsockname(lost, (struct sockaddr *)&now, &(socklen_t){sizeof now}));
  CHECK(strcmp(now.sun_path, "name") == 0, "the socket is called %s", now.sun_path);
  struct stat stat;
  MUST(lstat("name", &stat));
  CHECK(S_ISFIFO(stat.st_mode), "the fifo is gone");
  MUST(write(fifo, "x", 1));
  char text[8];
  CHECK(recv(box, text, 8, 0) == 6, "the letter");
  sender = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));
  MUST(connect(sender, (struct sockaddr *)&mail, sizeof mail));
  test_pass();
}
