// Children that threads made: waited for by another thread, and by the thread itself alone (__WNOTHREAD).
#include "check.h"
#include <pthread.h>

static pid_t children[2];
static pthread_barrier_t made;

static pid_t child(int code) {
  pid_t pid = MUST(fork());
  if (pid > 0) return pid;
  test_wait();
  _exit(code);
}

static void *thread(void *unused) {
  (void)unused;
  children[1] = child(21);
  pthread_barrier_wait(&made);
  test_wait();
  int status;
  CHECK(waitpid(children[1], &status, 0) == children[1] && WEXITSTATUS(status) == 21, "the thread's child: %#x", status);
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  pthread_barrier_init(&made, NULL, 2);
  pthread_t other;
  pthread_create(&other, NULL, thread, NULL);
  pthread_barrier_wait(&made);
  children[0] = child(20);
  test_ready();
  test_wait();
  int status;
  CHECK(waitpid(children[0], &status, 0) == children[0] && WEXITSTATUS(status) == 20, "the leader's child: %#x", status);
  pthread_join(other, NULL);
  test_pass();
}
