// Alternate signal stacks of each thread, one of them in use when frozen, and that handlers run on them.
#include "check.h"
#include <pthread.h>

enum { size = 65536 };
static pthread_barrier_t set_up, told;
static char *stacks[4];
static volatile int inside, leave;
static __thread volatile int handled;

static void handler(int signal) {
  int here;
  for (int i = 0; i < 4; i++)
    if ((char *)&here >= stacks[i] && (char *)&here < stacks[i] + size) handled = i + 1;
  if (signal == SIGUSR2) {
    inside = 1;
    while (!leave) test_sleep_ms(2);
  }
}

static void *thread(void *argument) {
  int n = (int)(uintptr_t)argument;
  stack_t stack = {.ss_sp = stacks[n], .ss_size = size - (size_t)n * 4096, .ss_flags = 0}, now;
  MUST(sigaltstack(&stack, NULL));
  pthread_barrier_wait(&set_up);
  if (n == 3) {
    pthread_kill(pthread_self(), SIGUSR2); // frozen inside the handler
    CHECK(handled == 4, "the handler ran elsewhere: %d", handled);
  }
  pthread_barrier_wait(&told);
  MUST(sigaltstack(NULL, &now));
  CHECK(now.ss_sp == stack.ss_sp && now.ss_size == stack.ss_size, "alternate stack %d changed", n);
  CHECK((now.ss_flags & SS_DISABLE) == 0, "alternate stack %d is disabled", n);
  handled = 0;
  pthread_kill(pthread_self(), SIGUSR1);
  CHECK(handled == n + 1, "a handler of thread %d ran on stack %d", n, handled - 1);
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  for (int i = 0; i < 4; i++) stacks[i] = malloc(size);
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
  MUST(sigaction(SIGUSR1, &action, NULL));
  MUST(sigaction(SIGUSR2, &action, NULL));
  pthread_t threads[4];
  pthread_barrier_init(&set_up, NULL, 4);
  pthread_barrier_init(&told, NULL, 4);
  for (uintptr_t i = 1; i < 4; i++) pthread_create(&threads[i], NULL, thread, (void *)i);
  stack_t stack = {.ss_sp = stacks[0], .ss_size = size}, now;
  MUST(sigaltstack(&stack, NULL));
  pthread_barrier_wait(&set_up);
  while (!inside) test_sleep_ms(1);
  test_ready();
  test_wait();
  leave = 1;
  pthread_barrier_wait(&told);
  for (int i = 1; i < 4; i++) pthread_join(threads[i], NULL);
  MUST(sigaltstack(NULL, &now));
  CHECK(now.ss_sp == stack.ss_sp && now.ss_size == size, "the main alternate stack changed");
  handled = 0;
  MUST(raise(SIGUSR1));
  CHECK(handled == 1, "a handler of the main thread ran on stack %d", handled - 1);
  test_pass();
}
