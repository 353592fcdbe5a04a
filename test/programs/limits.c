// Resource limits: soft and hard ones.
#include "check.h"
#include <sys/resource.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  struct rlimit before[RLIM_NLIMITS], after;
  MUST(setrlimit(RLIMIT_CORE, &(struct rlimit){4096, 8192}));
  MUST(setrlimit(RLIMIT_NOFILE, &(struct rlimit){200, 400}));
  MUST(setrlimit(RLIMIT_FSIZE, &(struct rlimit){1 << 30, RLIM_INFINITY}));
  MUST(setrlimit(RLIMIT_STACK, &(struct rlimit){4 << 20, 16 << 20}));
  for (int i = 0; i < RLIM_NLIMITS; i++) MUST(getrlimit(i, &before[i]));
  test_ready();
  test_wait();
  for (int i = 0; i < RLIM_NLIMITS; i++) {
    MUST(getrlimit(i, &after));
    CHECK(after.rlim_cur == before[i].rlim_cur && after.rlim_max == before[i].rlim_max, "limit %d: %ld/%ld, was %ld/%ld", i,
          (long)after.rlim_cur, (long)after.rlim_max, (long)before[i].rlim_cur, (long)before[i].rlim_max);
  }
  test_pass();
}
