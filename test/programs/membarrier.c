// Registrations for expedited memory barriers: without them the calls fail with EPERM.
#include "check.h"
#include <linux/membarrier.h>
#include <pthread.h>

static volatile int finish;
static void *thread(void *unused) {
  (void)unused;
  while (!finish) test_sleep_ms(2);
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  long supported = MUST(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0));
  const int pairs[3][2] = {{MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, MEMBARRIER_CMD_PRIVATE_EXPEDITED},
                           {MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE},
                           {MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, MEMBARRIER_CMD_GLOBAL_EXPEDITED}};
  for (int i = 0; i < 3; i++)
    if (supported & pairs[i][0]) MUST(syscall(SYS_membarrier, pairs[i][0], 0, 0));
  pthread_t other; // after the registration: with threads it would wait for a grace period
  pthread_create(&other, NULL, thread, NULL);
  test_ready();
  test_wait();
  for (int i = 0; i < 3; i++)
    if (supported & pairs[i][0]) CHECK(syscall(SYS_membarrier, pairs[i][1], 0, 0) == 0, "membarrier command %d: %s", pairs[i][1], strerror(errno));
  finish = 1;
  pthread_join(other, NULL);
  test_pass();
}
