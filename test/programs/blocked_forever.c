// Threads frozen in calls without a time limit: futex, read of a pipe, write to a full pipe, select, accept,
// eventfd, sigwait, waitpid. None may return before its time, with EINTR or anything else.
#include "check.h"
#include <netinet/in.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>

enum { count = 8 };
static volatile int returned[count], state[count];
static int pipe_read[2], pipe_full[2], pipe_select[2], event, listener;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static volatile int signalled;
static pid_t child;

static void *thread(void *argument) {
  int n = (int)(uintptr_t)argument;
  char buffer[64];
  long result = -1;
  state[n] = 1;
  switch (n) {
    case 0:
      pthread_mutex_lock(&mutex);
      while (!signalled) {
        pthread_cond_wait(&condition, &mutex);
        CHECK(signalled, "the condition variable woke early");
      }
      pthread_mutex_unlock(&mutex);
      result = 0;
      break;
    case 1: result = read(pipe_read[0], buffer, sizeof buffer) == 3 ? 0 : -1; break;
    case 2: result = write(pipe_full[1], "four", 4) == 4 ? 0 : -1; break;
    case 4: {
      fd_set set;
      FD_ZERO(&set);
      FD_SET(pipe_select[0], &set);
      result = select(pipe_select[0] + 1, &set, NULL, NULL, NULL) == 1 ? 0 : -1;
      break;
    }
    case 5: result = accept(listener, NULL, NULL) >= 0 ? 0 : -1; break;
    case 6: result = read(event, buffer, 8) == 8 ? 0 : -1; break;
    case 7: {
      sigset_t set;
      sigemptyset(&set);
      sigaddset(&set, SIGUSR2);
      int got = 0;
      result = sigwait(&set, &got) == 0 && got == SIGUSR2 ? 0 : -1;
      break;
    }
    case 3: {
      int status;
      result = waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 9 ? 0 : -1;
      break;
    }
  }
  CHECK(result == 0, "blocked call %d gave %ld: %s", n, result, strerror(errno));
  returned[n] = 1;
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  MUST(pipe(pipe_read));
  MUST(pipe(pipe_full));
  MUST(pipe(pipe_select));
  MUST(fcntl(pipe_full[1], F_SETFL, O_NONBLOCK));
  long filled = 0;
  char chunk[4096] = {1};
  for (ssize_t wrote; (wrote = write(pipe_full[1], chunk, sizeof chunk)) > 0;) filled += wrote;
  MUST(fcntl(pipe_full[1], F_SETFL, 0));
  event = MUST(eventfd(0, 0));
  listener = MUST(socket(AF_INET, SOCK_STREAM, 0));
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  MUST(bind(listener, (struct sockaddr *)&address, sizeof address));
  MUST(listen(listener, 5));
  socklen_t length = sizeof address;
  MUST(getsockname(listener, (struct sockaddr *)&address, &length));
  child = MUST(fork());
  if (child == 0) {
    test_wait();
    test_sleep_ms(150);
    _exit(9);
  }
  pthread_t threads[count];
  for (uintptr_t i = 0; i < count; i++) pthread_create(&threads[i], NULL, thread, (void *)i);
  for (int i = 0; i < count; i++) while (!state[i]) test_sleep_ms(1);
  test_sleep_ms(100);

  test_ready();
  test_wait();

  test_sleep_ms(30);
  for (int i = 0; i < count; i++) CHECK(!returned[i], "blocked call %d returned early", i);
  pthread_mutex_lock(&mutex);
  signalled = 1;
  pthread_cond_signal(&condition);
  pthread_mutex_unlock(&mutex);
  MUST(write(pipe_read[1], "abc", 3));
  for (long drained = 0; drained < filled;) drained += MUST(read(pipe_full[0], chunk, sizeof chunk));
  MUST(write(pipe_select[1], "x", 1));
  int client = MUST(socket(AF_INET, SOCK_STREAM, 0));
  MUST(connect(client, (struct sockaddr *)&address, sizeof address));
  MUST(write(event, &(uint64_t){1}, 8));
  MUST(kill(getpid(), SIGUSR2));
  for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
  test_pass();
}
