// TCP connections whose other end is a process outside of the tree: open, and half closed by either end.
// options: --tcp-established
#include "check.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

enum { open_both, ended_there, ended_here, connections };

/// The other end: nobody's child, so no part of the tree; it lives until it has heard the answers.
static void peer(struct sockaddr_in *address) {
  if (fork() > 0) _exit(0);
  setsid();
  test_end_with_folder();
  int fds[connections];
  for (int i = 0; i < connections; i++) {
    fds[i] = MUST(socket(AF_INET, SOCK_STREAM, 0));
    MUST(connect(fds[i], (struct sockaddr *)address, sizeof *address));
    char number = (char)('0' + i);
    MUST(send(fds[i], &number, 1, 0));
    MUST(send(fds[i], "unread", 6, 0));
  }
  MUST(shutdown(fds[ended_there], SHUT_WR));
  test_child_ready(1);
  for (int i = 0; i < connections; i++) {
    char text[16];
    if (i == ended_here) {
      while (!test_told()) test_sleep_ms(5);
      MUST(send(fds[i], "late", 4, 0));
    }
    ssize_t got = recv(fds[i], text, 6, MSG_WAITALL);
    CHECK(got == 6 && memcmp(text, "answer", 6) == 0, "answer %d: %zd, %s", i, got, strerror(errno));
    CHECK(recv(fds[i], text, 16, 0) == 0, "the end of answer %d", i);
  }
  test_child_ready(2);
  _exit(0);
}

static int state(int fd) {
  struct tcp_info info;
  MUST(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &(socklen_t){sizeof info}));
  return info.tcpi_state;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  int listener = MUST(socket(AF_INET, SOCK_STREAM, 0)), fds[connections];
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  MUST(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)));
  MUST(bind(listener, (struct sockaddr *)&address, sizeof address));
  MUST(getsockname(listener, (struct sockaddr *)&address, &(socklen_t){sizeof address}));
  MUST(listen(listener, 4));
  pid_t child = MUST(fork());
  if (child == 0) {
    close(listener);
    peer(&address);
  }
  test_reap(child);
  for (int i = 0; i < connections; i++) {
    int fd = MUST(accept(listener, NULL, NULL));
    char number;
    CHECK(read(fd, &number, 1) == 1, "the number of a connection");
    fds[number - '0'] = fd;
  }
  test_await_child(1);
  MUST(send(fds[ended_here], "answer", 6, 0));
  MUST(shutdown(fds[ended_here], SHUT_WR));
  test_sleep_ms(50);
  CHECK(state(fds[ended_there]) == TCP_CLOSE_WAIT && state(fds[ended_here]) == TCP_FIN_WAIT2, "states before");
  test_ready();
  test_wait();
  char text[16];
  for (int i = 0; i < connections; i++)
    CHECK(recv(fds[i], text, 6, MSG_WAITALL) == 6 && memcmp(text, "unread", 6) == 0, "unread %d", i);
  CHECK(recv(fds[ended_there], text, 16, 0) == 0, "the peer's end");
  for (int i = 0; i < ended_here; i++) {
    MUST(send(fds[i], "answer", 6, 0));
    MUST(shutdown(fds[i], SHUT_WR));
  }
  CHECK(recv(fds[ended_here], text, 4, MSG_WAITALL) == 4 && memcmp(text, "late", 4) == 0, "what comes after the end");
  test_await_child(2);
  test_pass();
}
