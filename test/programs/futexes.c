// Locks of several threads, held and waited for: robust and priority-inheriting mutexes, a condition, a read-write lock.
#include "check.h"
#include <pthread.h>

static pthread_mutex_t robust, inherits, plain = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t barrier;
static volatile int go_on, waiting, got_inherits, got_condition, got_write, past_barrier;

static void *holder(void *unused) { // dies with the robust one held
  (void)unused;
  pthread_mutex_lock(&robust);
  waiting++;
  while (!go_on) test_sleep_ms(2);
  return NULL;
}

static void *inheriting(void *unused) {
  (void)unused;
  waiting++;
  CHECK(pthread_mutex_lock(&inherits) == 0, "the inheriting mutex");
  got_inherits = 1;
  pthread_mutex_unlock(&inherits);
  return NULL;
}

static void *conditional(void *unused) {
  (void)unused;
  pthread_mutex_lock(&plain);
  waiting++;
  while (!go_on) pthread_cond_wait(&condition, &plain);
  got_condition = 1;
  pthread_mutex_unlock(&plain);
  return NULL;
}

static void *writer(void *unused) {
  (void)unused;
  waiting++;
  CHECK(pthread_rwlock_wrlock(&rwlock) == 0, "the write lock");
  got_write = 1;
  pthread_rwlock_unlock(&rwlock);
  return NULL;
}

static void *meeting(void *unused) {
  (void)unused;
  waiting++;
  pthread_barrier_wait(&barrier);
  past_barrier = 1;
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  pthread_mutexattr_t kind;
  pthread_mutexattr_init(&kind);
  pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&robust, &kind);
  pthread_mutexattr_init(&kind);
  pthread_mutexattr_setprotocol(&kind, PTHREAD_PRIO_INHERIT);
  pthread_mutex_init(&inherits, &kind);
  pthread_barrier_init(&barrier, NULL, 2);
  pthread_mutex_lock(&inherits);
  pthread_rwlock_rdlock(&rwlock);
  void *(*run[])(void *) = {holder, inheriting, conditional, writer, meeting};
  pthread_t threads[5];
  for (int i = 0; i < 5; i++) pthread_create(&threads[i], NULL, run[i], NULL);
  while (waiting < 5) test_sleep_ms(1);
  test_sleep_ms(50);
  test_ready();
  test_wait();
  test_sleep_ms(20);
  CHECK(!got_inherits && !got_condition && !got_write && !past_barrier, "a thread went on by itself");
  CHECK(pthread_mutex_trylock(&robust) == EBUSY, "the robust mutex is free");
  pthread_mutex_lock(&plain);
  go_on = 1;
  pthread_cond_broadcast(&condition);
  pthread_mutex_unlock(&plain);
  pthread_join(threads[0], NULL);
  CHECK(pthread_mutex_lock(&robust) == EOWNERDEAD, "the death of the robust mutex's owner is not told");
  CHECK(pthread_mutex_unlock(&inherits) == 0, "the inheriting mutex is not ours any more");
  pthread_rwlock_unlock(&rwlock);
  pthread_barrier_wait(&barrier);
  for (int i = 1; i < 5; i++) pthread_join(threads[i], NULL);
  CHECK(got_inherits && got_condition && got_write && past_barrier, "a thread did not get through");
  test_pass();
}
