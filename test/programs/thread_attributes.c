// Attributes of threads: timer slack, I/O priority, the policy for memory errors, the time stamp counter, reset of scheduling on fork.
// criu: CRIU has no place for them
#include "check.h"
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>

enum { threads = 3 };
static pthread_barrier_t set_up;

static int io_priority(int number) { return 2 << 13 | (7 - number); } // best effort (ioprio_set(2))

static void set(int number) {
  MUST(prctl(PR_SET_TIMERSLACK, 100000L + number, 0L, 0L, 0L));
  MUST(syscall(SYS_ioprio_set, 1, 0, io_priority(number)));
  MUST(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, number == 1 ? PR_MCE_KILL_EARLY : PR_MCE_KILL_LATE, 0L, 0L));
  if (number == 2) MUST(prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0L, 0L, 0L));
  struct sched_param none = {0};
  MUST(sched_setscheduler(0, SCHED_BATCH | (number == 1 ? SCHED_RESET_ON_FORK : 0), &none));
}

static void check(int number) {
  long slack = prctl(PR_GET_TIMERSLACK, 0L, 0L, 0L, 0L);
  CHECK(slack == 100000L + number, "the timer slack of thread %d is %ld", number, slack);
  long priority = syscall(SYS_ioprio_get, 1, 0);
  CHECK(priority == io_priority(number), "the I/O priority of thread %d is %#lx", number, priority);
  int policy = prctl(PR_MCE_KILL_GET, 0L, 0L, 0L, 0L);
  CHECK(policy == (number == 1 ? PR_MCE_KILL_EARLY : PR_MCE_KILL_LATE), "the policy of thread %d for memory errors is %d", number, policy);
  int counter = 0;
  MUST(prctl(PR_GET_TSC, &counter, 0L, 0L, 0L));
  CHECK(counter == (number == 2 ? PR_TSC_SIGSEGV : PR_TSC_ENABLE), "the counter of thread %d: %d", number, counter);
  int scheduler = sched_getscheduler(0);
  CHECK(scheduler == (SCHED_BATCH | (number == 1 ? SCHED_RESET_ON_FORK : 0)), "the policy of thread %d is %#x", number, scheduler);
}

static void *thread(void *argument) {
  int number = (int)(long)argument;
  set(number);
  pthread_barrier_wait(&set_up);
  // Without a look at the clock: the thread may not read the counter.
  while (!test_told()) syscall(SYS_nanosleep, &(struct timespec){0, 5000000}, NULL);
  check(number);
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  pthread_barrier_init(&set_up, NULL, threads);
  pthread_t ids[threads];
  for (long i = 1; i < threads; i++) pthread_create(&ids[i], NULL, thread, (void *)i);
  set(0);
  pthread_barrier_wait(&set_up);
  test_ready();
  test_wait();
  check(0);
  for (int i = 1; i < threads; i++) pthread_join(ids[i], NULL);
  test_pass();
}
