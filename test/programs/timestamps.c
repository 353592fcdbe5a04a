// Sockets that ask for timestamps, of UDP and Unix: SO_TIMESTAMP, SO_TIMESTAMPNS, SO_TIMESTAMPING.
// criu: it does not carry them
#include "check.h"
#include <arpa/inet.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>
#include <sys/socket.h>

enum { kinds = 3, flags = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE };
static const struct { int option, value; } wanted[kinds] = {
    {SO_TIMESTAMP, 1}, {SO_TIMESTAMPNS, 1}, {SO_TIMESTAMPING, flags}};

int main(int argc, char **argv) {
  test_init(argc, argv);
  int sockets[kinds][3];
  for (int kind = 0; kind < kinds; kind++) {
    sockets[kind][0] = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, &sockets[kind][1]));
    for (int i = 0; i < 2; i++)
      MUST(setsockopt(sockets[kind][i], SOL_SOCKET, wanted[kind].option, &wanted[kind].value, sizeof(int)));
  }
  test_ready();
  test_wait();
  for (int kind = 0; kind < kinds; kind++) {
    for (int i = 0; i < 3; i++) {
      for (int other = 0; other < kinds; other++) {
        int now = -1;
        MUST(getsockopt(sockets[kind][i], SOL_SOCKET, wanted[other].option, &now, &(socklen_t){sizeof now}));
        int expected = other == kind && i < 2 ? wanted[kind].value : 0;
        CHECK(now == expected, "socket %d of kind %d: option %d is %d", i, kind, wanted[other].option, now);
      }
    }
    char got[16], control[256];
    struct iovec piece = {got, sizeof got};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    MUST(send(sockets[kind][2], "stamp", 5, 0));
    CHECK(recvmsg(sockets[kind][1], &message, 0) == 5, "a datagram");
    if (kind < 2) CHECK(CMSG_FIRSTHDR(&message) != NULL, "a datagram without its timestamp, kind %d", kind);
  }
  test_pass();
}
