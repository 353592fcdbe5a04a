// TCP connections that nobody has answered yet: one that a thread waits for in connect, and one that is looked for by poll.
// options: --tcp-established
#include "check.h"
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

static struct sockaddr_in address = {.sin_family = AF_INET};
static int waiting;

static void *wait_in_connect(void *nothing) {
  MUST(connect(waiting, (struct sockaddr *)&address, sizeof address));
  return nothing;
}

static int state(int fd) {
  struct tcp_info info;
  MUST(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &(socklen_t){sizeof info}));
  return info.tcpi_state;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int listener = MUST(socket(AF_INET, SOCK_STREAM, 0));
  MUST(bind(listener, (struct sockaddr *)&address, sizeof address));
  MUST(getsockname(listener, (struct sockaddr *)&address, &(socklen_t){sizeof address}));
  MUST(listen(listener, 4));
  struct sock_filter drop = {BPF_RET | BPF_K, 0, 0, 0};
  MUST(setsockopt(listener, SOL_SOCKET, SO_ATTACH_FILTER, &(struct sock_fprog){1, &drop}, sizeof(struct sock_fprog)));
  waiting = MUST(socket(AF_INET, SOCK_STREAM, 0));
  int polled = MUST(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  CHECK(connect(polled, (struct sockaddr *)&address, sizeof address) == -1 && errno == EINPROGRESS, "connect: %s", strerror(errno));
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, wait_in_connect, NULL) == 0, "thread");
  while (state(waiting) != TCP_SYN_SENT) test_sleep_ms(2);
  test_ready();
  test_wait();
  CHECK(state(waiting) == TCP_SYN_SENT && state(polled) == TCP_SYN_SENT, "states %d and %d", state(waiting), state(polled));
  MUST(setsockopt(listener, SOL_SOCKET, SO_DETACH_FILTER, &(int){0}, sizeof(int)));
  CHECK(poll(&(struct pollfd){polled, POLLOUT, 0}, 1, 20000) == 1, "the polled one never opens");
  int error = -1;
  MUST(getsockopt(polled, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error}));
  CHECK(error == 0, "the polled one: %s", strerror(error));
  pthread_join(thread, NULL);
  for (int i = 0; i < 2; i++) MUST(accept(listener, NULL, NULL));
  test_pass();
}
