// TCP connections on loopback that are being ended while much is unread: FIN_WAIT1 and CLOSE_WAIT, LAST_ACK, CLOSING.
// options: --tcp-established
// criu: it cannot send what was unsent behind an end
#include "check.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static int state(int fd) {
  struct tcp_info info;
  MUST(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &(socklen_t){sizeof info}));
  return info.tcpi_state;
}

static size_t fill(int fd, unsigned seed) {
  size_t sent = 0;
  for (;;) {
    char piece[4096];
    for (size_t i = 0; i < sizeof piece; i++) piece[i] = (char)test_byte(seed, sent + i);
    ssize_t got = send(fd, piece, sizeof piece, MSG_DONTWAIT);
    if (got < 0) return sent;
    sent += (size_t)got;
  }
}

static void drain(int fd, unsigned seed, size_t size) {
  char piece[4096];
  for (size_t at = 0;;) {
    ssize_t got = read(fd, piece, sizeof piece);
    CHECK(got >= 0, "read: %s", strerror(errno));
    if (got == 0) {
      CHECK(at == size, "%zu bytes of %zu", at, size);
      return;
    }
    for (ssize_t i = 0; i < got; i++)
      CHECK(piece[i] == (char)test_byte(seed, at + (size_t)i), "byte %zu", at + (size_t)i);
    at += (size_t)got;
  }
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  int listener = MUST(socket(AF_INET, SOCK_STREAM, 0)), client[3], server[3];
  size_t sent[3], answered[3] = {0};
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  MUST(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)));
  MUST(bind(listener, (struct sockaddr *)&address, sizeof address));
  MUST(getsockname(listener, (struct sockaddr *)&address, &(socklen_t){sizeof address}));
  MUST(listen(listener, 4));
  for (int i = 0; i < 3; i++) {
    client[i] = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(connect(client[i], (struct sockaddr *)&address, sizeof address));
    server[i] = MUST(accept(listener, NULL, NULL));
    sent[i] = fill(client[i], (unsigned)i);
  }
  // 0: the client has said its last word behind what cannot be sent; the server has not heard of it.
  MUST(shutdown(client[0], SHUT_WR));
  // 1: the server has ended, the client has heard of it, and ends behind what it cannot send.
  MUST(shutdown(server[1], SHUT_WR));
  test_sleep_ms(50);
  MUST(shutdown(client[1], SHUT_WR));
  // 2: both end behind what they cannot send.
  answered[2] = fill(server[2], 9);
  MUST(shutdown(client[2], SHUT_WR));
  MUST(shutdown(server[2], SHUT_WR));
  test_sleep_ms(50);
  int before[6];
  for (int i = 0; i < 3; i++) {
    before[i * 2] = state(client[i]);
    before[i * 2 + 1] = state(server[i]);
  }
  CHECK(before[0] == TCP_FIN_WAIT1 && before[1] == TCP_ESTABLISHED, "the first is %d and %d", before[0], before[1]);
  CHECK(before[2] == TCP_LAST_ACK && before[3] == TCP_FIN_WAIT2, "the second is %d and %d", before[2], before[3]);
  CHECK(before[4] == TCP_FIN_WAIT1 && before[5] == TCP_FIN_WAIT1, "the third is %d and %d", before[4], before[5]);
  test_ready();
  test_wait();
  for (int i = 0; i < 3; i++) drain(server[i], (unsigned)i, sent[i]);
  drain(client[1], 9, 0);
  drain(client[2], 9, answered[2]);
  MUST(send(server[0], "answer", 6, 0));
  char text[8];
  CHECK(read(client[0], text, 8) == 6, "the answer to the last word");
  test_pass();
}
