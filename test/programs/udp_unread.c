// UDP datagrams that nobody has read yet.
// criu: it loses unread UDP datagrams
#include "check.h"
#include <netinet/in.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int fd = MUST(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0)), sender = MUST(socket(AF_INET, SOCK_DGRAM, 0));
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  MUST(bind(fd, (struct sockaddr *)&address, sizeof address));
  socklen_t length = sizeof address;
  MUST(getsockname(fd, (struct sockaddr *)&address, &length));
  MUST(sendto(sender, "one", 3, 0, (struct sockaddr *)&address, sizeof address));
  MUST(sendto(sender, "second", 6, 0, (struct sockaddr *)&address, sizeof address));
  test_sleep_ms(20);
  test_ready();
  test_wait();
  char got[16];
  CHECK(recv(fd, got, 16, 0) == 3 && memcmp(got, "one", 3) == 0, "the first datagram is lost");
  CHECK(recv(fd, got, 16, 0) == 6 && memcmp(got, "second", 6) == 0, "the second datagram is lost");
  CHECK(recv(fd, got, 16, 0) == -1 && errno == EAGAIN, "there are more");
  test_pass();
}
