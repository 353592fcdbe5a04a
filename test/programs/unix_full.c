// A thread blocked in send on a Unix socket whose peer has read nothing: full it stays.
// criu: it restores the full queue with a larger send buffer, so that send returns at once
#include "check.h"
#include <pthread.h>
#include <sys/socket.h>

static int pair[2];
static volatile int state;

static void *thread(void *unused) {
  (void)unused;
  state = 1;
  ssize_t sent = send(pair[0], "end", 3, 0);
  CHECK(sent == 3, "send gave %ld: %s", (long)sent, strerror(errno));
  state = 2;
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  char chunk[2048] = {1};
  long filled = 3;
  for (ssize_t n; (n = send(pair[0], chunk, sizeof chunk, MSG_DONTWAIT)) > 0;) filled += n;
  pthread_t sender;
  pthread_create(&sender, NULL, thread, NULL);
  while (!state) test_sleep_ms(1);
  test_sleep_ms(50);
  test_ready();
  test_wait();
  test_sleep_ms(30);
  CHECK(state == 1, "send returned though nothing was read");
  for (long drained = 0; drained < filled;) drained += MUST(recv(pair[1], chunk, sizeof chunk, 0));
  pthread_join(sender, NULL);
  test_pass();
}
