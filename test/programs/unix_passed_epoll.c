// An epoll set in flight, sent twice over the socket pair that it watches, and held by nobody else.
#include "check.h"
#include <sys/epoll.h>
#include <sys/socket.h>

static void pass(int socket, int fd) {
  char byte = 'x', control[CMSG_SPACE(sizeof(int))] = {0};
  struct iovec data = {&byte, 1};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  *header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  MUST(sendmsg(socket, &message, 0));
}

static int take(int socket) {
  char byte, control[CMSG_SPACE(sizeof(int))];
  struct iovec data = {&byte, 1};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  MUST(recvmsg(socket, &message, MSG_DONTWAIT));
  CHECK(CMSG_FIRSTHDR(&message) != NULL, "no descriptor came");
  int fd;
  memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
  return fd;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  int pair[2], set = MUST(epoll_create1(0));
  MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = 77};
  MUST(epoll_ctl(set, EPOLL_CTL_ADD, pair[1], &event));
  pass(pair[0], set);
  pass(pair[0], set);
  MUST(close(set));
  test_ready();
  test_wait();
  set = take(pair[1]);
  CHECK(epoll_wait(set, &event, 1, 0) == 1 && event.data.u64 == 77, "the second message is not seen");
  int again = take(pair[1]);
  CHECK(syscall(SYS_kcmp, getpid(), getpid(), 0, set, again) == 0, "two sets came");
  CHECK(epoll_wait(again, &event, 1, 0) == 0, "something is left");
  test_pass();
}
