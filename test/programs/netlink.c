// A netlink socket for routing messages, bound, that answers a request afterwards.
#include "check.h"
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int fd = MUST(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  struct sockaddr_nl address = {.nl_family = AF_NETLINK}, now;
  MUST(bind(fd, (struct sockaddr *)&address, sizeof address));
  socklen_t length = sizeof address;
  MUST(getsockname(fd, (struct sockaddr *)&address, &length));
  test_ready();
  test_wait();
  length = sizeof now;
  MUST(getsockname(fd, (struct sockaddr *)&now, &length));
  CHECK(now.nl_pid == address.nl_pid, "its port is %u, was %u", now.nl_pid, address.nl_pid);
  struct { struct nlmsghdr header; struct ifinfomsg link; } request = {
      {sizeof request, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, {.ifi_family = AF_UNSPEC}};
  MUST(send(fd, &request, sizeof request, 0));
  char got[16384];
  CHECK(recv(fd, got, sizeof got, 0) > (ssize_t)sizeof(struct nlmsghdr), "no answer");
  test_pass();
}
