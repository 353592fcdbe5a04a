// The adjustment of the out-of-memory score.
#include "check.h"

int main(int argc, char **argv) {
  test_init(argc, argv);
  int fd = MUST(open("/proc/self/oom_score_adj", O_WRONLY));
  MUST(write(fd, "321", 3));
  close(fd);
  test_ready();
  test_wait();
  char *now = test_read_file("/proc/self/oom_score_adj");
  CHECK(atoi(now) == 321, "oom_score_adj is %s", now);
  test_pass();
}
