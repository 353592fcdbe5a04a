// Unix socket pairs of each type, inside a process and across a tree, with unread data, half closed, and one end closed.
#include "check.h"
#include <sys/socket.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int stream[2], datagram[2], packets[2], shut[2], ended[2], across[2];
  char bytes[30000], got[40000];
  test_fill(1, bytes, sizeof bytes);
  MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, stream));
  MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, datagram));
  MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, packets));
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, shut));
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, ended));
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, across));
  int size = 300000;
  MUST(setsockopt(stream[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
  MUST(send(stream[0], bytes, sizeof bytes, 0));
  MUST(send(stream[1], "back", 4, 0));
  MUST(send(datagram[0], "one", 3, 0));
  MUST(send(datagram[0], "three", 5, 0));
  MUST(send(packets[1], "packet", 6, 0));
  MUST(send(shut[0], "last", 4, 0));
  MUST(shutdown(shut[0], SHUT_WR));
  pid_t child = MUST(fork());
  if (child == 0) {
    close(across[0]);
    int n = (int)MUST(recv(across[1], got, 100, 0)); // blocked when frozen
    MUST(send(across[1], got, (size_t)n, 0));
    _exit(0);
  }
  close(across[1]);
  MUST(send(ended[1], "rest", 4, 0));
  test_sleep_ms(20);
  test_ready();
  test_wait();
  long total = 0;
  for (ssize_t n; (n = recv(stream[1], got + total, sizeof got - (size_t)total, 0)) > 0;) total += n;
  CHECK(total == sizeof bytes && memcmp(got, bytes, sizeof bytes) == 0, "stream: %ld bytes", total);
  CHECK(recv(stream[0], got, 100, 0) == 4 && memcmp(got, "back", 4) == 0, "stream, other direction");
  CHECK(recv(stream[0], got, 1, 0) == -1 && errno == EAGAIN, "stream: O_NONBLOCK is lost");
  int now = 0;
  socklen_t length = sizeof now;
  MUST(getsockopt(stream[0], SOL_SOCKET, SO_SNDBUF, &now, &length));
  CHECK(now >= size, "send buffer %d", now);
  CHECK(recv(datagram[1], got, 100, 0) == 3 && recv(datagram[1], got, 100, MSG_DONTWAIT) == 5, "datagrams");
  MUST(send(datagram[1], "x", 1, 0));
  CHECK(recv(datagram[0], got, 100, 0) == 1, "the datagram pair is not connected");
  CHECK(recv(packets[0], got, 100, 0) == 6 && memcmp(got, "packet", 6) == 0, "sequenced packet");
  CHECK(recv(shut[1], got, 100, 0) == 4 && recv(shut[1], got, 100, 0) == 0, "the half-closed pair");
  MUST(send(shut[1], "y", 1, 0));
  CHECK(recv(shut[0], got, 100, 0) == 1, "the open half of the half-closed pair");
  CHECK(recv(ended[0], got, 100, 0) == 4 && memcmp(got, "rest", 4) == 0, "the last pair");
  MUST(send(across[0], "to the child", 12, 0));
  CHECK(recv(across[0], got, 100, 0) == 12 && memcmp(got, "to the child", 12) == 0, "the pair across the tree");
  test_reap(child);
  CHECK(recv(across[0], got, 100, 0) == 0, "no end of file when the child ended");
  test_pass();
}
