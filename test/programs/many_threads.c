// A thousand threads, each in a wait of its own: every one goes on with its own number.
#include "check.h"
#include <pthread.h>
#include <stdatomic.h>

enum { count = 1000 };
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static atomic_int there, right;
static bool finish;
static __thread long own;

static void *thread(void *argument) {
  own = (long)argument;
  there++;
  pthread_mutex_lock(&mutex);
  while (!finish) pthread_cond_wait(&condition, &mutex);
  pthread_mutex_unlock(&mutex);
  if (own == (long)argument) right++;
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  static pthread_t ids[count];
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 65536);
  for (long i = 0; i < count; i++) CHECK(pthread_create(&ids[i], &attributes, thread, (void *)i) == 0, "pthread_create");
  while (there < count) test_sleep_ms(2);
  test_ready();
  test_wait();
  pthread_mutex_lock(&mutex);
  finish = true;
  pthread_cond_broadcast(&condition);
  pthread_mutex_unlock(&mutex);
  for (int i = 0; i < count; i++) pthread_join(ids[i], NULL);
  CHECK(right == count, "%d of %d threads have their number", right, count);
  test_pass();
}
