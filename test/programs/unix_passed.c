// Descriptors in flight: sent over a Unix socket and not yet received, among them a pipe end that nobody else holds.
#include "check.h"
#include <sys/eventfd.h>
#include <sys/socket.h>

static void send_descriptors(int socket, const int *fds, int count, const char *text) {
  union { struct cmsghdr align; char bytes[CMSG_SPACE(8 * sizeof(int))]; } control = {0};
  struct iovec part = {(void *)text, strlen(text)};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE((size_t)count * sizeof(int))};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
  memcpy(CMSG_DATA(header), fds, (size_t)count * sizeof(int));
  MUST(sendmsg(socket, &message, 0));
}

static int receive(int socket, int *fds, char *text) {
  union { struct cmsghdr align; char bytes[CMSG_SPACE(8 * sizeof(int))]; } control;
  struct iovec part = {text, 64};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t size = MUST(recvmsg(socket, &message, MSG_DONTWAIT));
  text[size] = 0;
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (header == NULL) return 0;
  int count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
  memcpy(fds, CMSG_DATA(header), (size_t)count * sizeof(int));
  return count;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  int datagram[2], stream[2], pipes[2], fds[8];
  MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, datagram));
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, stream));
  MUST(pipe(pipes));
  MUST(write(pipes[1], "in flight", 9));
  int file = MUST(open(test_path("file"), O_CREAT | O_RDWR, 0600));
  MUST(write(file, "sent", 4));
  int event = MUST(eventfd(41, 0));
  send_descriptors(datagram[0], (int[]){pipes[0], file}, 2, "two");
  send_descriptors(stream[0], &event, 1, "one");
  close(pipes[0]);
  close(event);
  test_ready();
  test_wait();
  char text[65];
  CHECK(receive(datagram[1], fds, text) == 2 && strcmp(text, "two") == 0, "the first message");
  char got[16];
  CHECK(read(fds[0], got, 16) == 9 && memcmp(got, "in flight", 9) == 0, "the pipe sent");
  CHECK(lseek(fds[1], 0, SEEK_CUR) == 4, "the file sent");
  CHECK(syscall(SYS_kcmp, getpid(), getpid(), 0, fds[1], file) == 0, "the file sent is no longer the one held");
  CHECK(receive(stream[1], fds, text) == 1 && strcmp(text, "one") == 0, "the second message");
  uint64_t value;
  CHECK(read(fds[0], &value, 8) == 8 && value == 41, "the event counter sent");
  test_pass();
}
