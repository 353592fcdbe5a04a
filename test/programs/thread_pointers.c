// What the kernel keeps per thread on behalf of libc: rseq areas, robust lists, and the address cleared at a thread's end.
#include "check.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>

extern const ptrdiff_t __rseq_offset;
extern const unsigned __rseq_size;
static pthread_barrier_t set_up, told;
static pthread_mutex_t robust[4];

static uint32_t rseq_cpu(void) {
  char *self = __builtin_thread_pointer();
  return *(volatile uint32_t *)(self + __rseq_offset + 4);
}

static void check_rseq(int n) {
  if (__rseq_size == 0) return;
  for (int i = 0; i < 2; i++) {
    cpu_set_t set, old;
    MUST(sched_getaffinity(0, sizeof old, &old));
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
      if (!CPU_ISSET(cpu, &old)) continue;
      CPU_ZERO(&set);
      CPU_SET(cpu, &set);
      MUST(sched_setaffinity(0, sizeof set, &set));
      CHECK(rseq_cpu() == (uint32_t)cpu, "thread %d: rseq says CPU %u, not %d", n, rseq_cpu(), cpu);
    }
    MUST(sched_setaffinity(0, sizeof old, &old));
  }
}

static void *thread(void *argument) {
  int n = (int)(uintptr_t)argument;
  void *head_before = NULL, *head_after = NULL;
  size_t length = 0;
  MUST(syscall(SYS_get_robust_list, 0, &head_before, &length));
  pthread_mutex_lock(&robust[n]);
  pthread_barrier_wait(&set_up);
  pthread_barrier_wait(&told);
  MUST(syscall(SYS_get_robust_list, 0, &head_after, &length));
  CHECK(head_before == head_after && length == 24, "robust list of thread %d moved", n);
  check_rseq(n);
  return NULL; // dies while it holds the mutex
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  pthread_mutexattr_t attribute;
  pthread_mutexattr_init(&attribute);
  pthread_mutexattr_setrobust(&attribute, PTHREAD_MUTEX_ROBUST);
  pthread_t threads[4];
  pthread_barrier_init(&set_up, NULL, 5);
  pthread_barrier_init(&told, NULL, 5);
  for (uintptr_t i = 0; i < 4; i++) {
    pthread_mutex_init(&robust[i], &attribute);
    pthread_create(&threads[i], NULL, thread, (void *)i);
  }
  pthread_barrier_wait(&set_up);
  test_ready();
  test_wait();
  pthread_barrier_wait(&told);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL); // returns only if the kernel clears and wakes the tid address
  for (int i = 0; i < 4; i++) {
    int got = pthread_mutex_lock(&robust[i]);
    CHECK(got == EOWNERDEAD, "robust mutex %d: lock gave %d", i, got);
  }
  check_rseq(-1);
  test_pass();
}
