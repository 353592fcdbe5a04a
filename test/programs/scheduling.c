// Scheduling policy, priority and nice value of each thread.
#include "check.h"
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

static pthread_barrier_t set_up, told;
static const struct { int policy, priority, nice; } wanted[] = {
    {SCHED_OTHER, 0, 7}, {SCHED_BATCH, 0, 3}, {SCHED_IDLE, 0, 0}, {SCHED_FIFO, 5, 0}, {SCHED_RR, 12, 0}, {SCHED_OTHER, 0, -3}};
enum { count = sizeof wanted / sizeof wanted[0] };

static void *thread(void *argument) {
  int n = (int)(uintptr_t)argument;
  struct sched_param parameter = {.sched_priority = wanted[n].priority};
  MUST(sched_setscheduler(0, wanted[n].policy, &parameter));
  MUST(setpriority(PRIO_PROCESS, 0, wanted[n].nice));
  pthread_barrier_wait(&set_up);
  pthread_barrier_wait(&told);
  int policy = MUST(sched_getscheduler(0));
  MUST(sched_getparam(0, &parameter));
  errno = 0;
  int nice_value = getpriority(PRIO_PROCESS, 0);
  CHECK(policy == wanted[n].policy, "thread %d: policy %d, not %d", n, policy, wanted[n].policy);
  CHECK(parameter.sched_priority == wanted[n].priority, "thread %d: priority %d", n, parameter.sched_priority);
  CHECK(policy == SCHED_FIFO || policy == SCHED_RR || nice_value == wanted[n].nice, "thread %d: nice %d", n, nice_value);
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  pthread_t threads[count];
  pthread_barrier_init(&set_up, NULL, count + 1);
  pthread_barrier_init(&told, NULL, count + 1);
  for (uintptr_t i = 0; i < count; i++) pthread_create(&threads[i], NULL, thread, (void *)i);
  pthread_barrier_wait(&set_up);
  test_ready();
  test_wait();
  pthread_barrier_wait(&told);
  for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
  test_pass();
}
