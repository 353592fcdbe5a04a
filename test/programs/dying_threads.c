// Threads that are started and end all the time, each of which starts the next before it ends: none is lost.
// criu: its dump gives up when a thread ends while it is stopped
#include "check.h"
#include <pthread.h>
#include <stdatomic.h>

enum { lines = 8 };
static atomic_ulong started[lines], ended[lines];

static void *thread(void *argument) {
  long line = (long)argument;
  pthread_t next;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, 65536);
  if (!test_told()) {
    started[line]++;
    int error = pthread_create(&next, &attributes, thread, argument);
    CHECK(error == 0, "pthread_create: %s", strerror(error));
  }
  ended[line]++;
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  for (long i = 0; i < lines; i++) {
    started[i]++;
    thread((void *)i);
  }
  test_sleep_ms(30);
  test_ready();
  test_wait();
  for (int i = 0; i < 5000; i++) {
    bool all = true;
    for (int line = 0; line < lines; line++) all = all && ended[line] == started[line];
    if (all) test_pass();
    test_sleep_ms(2);
  }
  test_fail("threads of a line are lost: %lu started, %lu ended", started[0], ended[0]);
}
