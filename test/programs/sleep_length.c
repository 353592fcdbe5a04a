// A long relative sleep ends after its whole length counted by the program's own clock, not at the restore.
#include "check.h"
#include <pthread.h>

static volatile int started;
static void *thread(void *unused) {
  (void)unused;
  struct timespec before, after, span = {1, 0};
  clock_gettime(CLOCK_MONOTONIC, &before);
  started = 1;
  while (nanosleep(&span, &span) < 0 && errno == EINTR) continue; // a CRIU restore shows EINTR, with the rest in span
  clock_gettime(CLOCK_MONOTONIC, &after);
  double seconds = (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
  CHECK(seconds >= 0.99, "the sleep of 1 s took %.3f s", seconds);
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  pthread_t sleeper;
  pthread_create(&sleeper, NULL, thread, NULL);
  while (!started) test_sleep_ms(1);
  test_sleep_ms(20);
  test_ready();
  test_wait();
  pthread_join(sleeper, NULL);
  test_pass();
}
