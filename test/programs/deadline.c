// A thread scheduled by deadlines (sched(7)): runtime, deadline and period are as they were.
// criu: CRIU does not know this policy
#include "check.h"
#include <linux/sched.h>
#include <linux/sched/types.h> // not with <sched.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  struct sched_attr asked = {.size = sizeof asked, .sched_policy = SCHED_DEADLINE, .sched_flags = SCHED_FLAG_RESET_ON_FORK,
                             .sched_runtime = 5000000, .sched_deadline = 50000000, .sched_period = 100000000};
  MUST(syscall(SYS_sched_setattr, 0, &asked, 0));
  test_ready();
  test_wait();
  struct sched_attr got = {0};
  MUST(syscall(SYS_sched_getattr, 0, &got, sizeof got, 0));
  CHECK(got.sched_policy == SCHED_DEADLINE, "the policy is %u", got.sched_policy);
  CHECK(got.sched_flags == SCHED_FLAG_RESET_ON_FORK, "the flags are %#llx", (unsigned long long)got.sched_flags);
  CHECK(got.sched_runtime == 5000000 && got.sched_deadline == 50000000 && got.sched_period == 100000000, "%llu in %llu of %llu",
        (unsigned long long)got.sched_runtime, (unsigned long long)got.sched_deadline, (unsigned long long)got.sched_period);
  test_pass();
}
