// The processors that each thread may run on.
// criu: it does not carry them
#include "check.h"
#include <pthread.h>
#include <sched.h>

static pthread_barrier_t set_up, told;

static void pin(int processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor, &set);
  MUST(sched_setaffinity(0, sizeof set, &set));
}

static void check_pinned(const char *which, int processor) {
  cpu_set_t set;
  MUST(sched_getaffinity(0, sizeof set, &set));
  CHECK(CPU_COUNT(&set) == 1 && CPU_ISSET(processor, &set), "%s: %d processors", which, CPU_COUNT(&set));
}

static void *pinned(void *processor) {
  pin((int)(uintptr_t)processor);
  pthread_barrier_wait(&set_up);
  pthread_barrier_wait(&told);
  check_pinned("the thread", (int)(uintptr_t)processor);
  return NULL;
}

static cpu_set_t all;

static void *loose(void *unused) {
  pthread_barrier_wait(&set_up);
  pthread_barrier_wait(&told);
  cpu_set_t set;
  MUST(sched_getaffinity(0, sizeof set, &set));
  CHECK(CPU_EQUAL(&set, &all), "the free thread: %d processors", CPU_COUNT(&set));
  return unused;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(sched_getaffinity(0, sizeof all, &all));
  int first = 0, last = CPU_SETSIZE - 1;
  while (!CPU_ISSET(first, &all)) first++;
  while (!CPU_ISSET(last, &all)) last--;
  pthread_barrier_init(&set_up, NULL, 3);
  pthread_barrier_init(&told, NULL, 3);
  pthread_t threads[2];
  pthread_create(&threads[0], NULL, pinned, (void *)(uintptr_t)last);
  pthread_create(&threads[1], NULL, loose, NULL);
  pin(first);
  pthread_barrier_wait(&set_up);
  test_ready();
  test_wait();
  check_pinned("the first thread", first);
  pthread_barrier_wait(&told);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  test_pass();
}
