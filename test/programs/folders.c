// Working directory and umask.
#include "check.h"

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(mkdir(test_path("here"), 0755));
  MUST(chdir(test_path("here")));
  umask(0137);
  test_ready();
  test_wait();
  char now[PATH_MAX];
  if (getcwd(now, sizeof now) == NULL) test_fail("getcwd: %s", strerror(errno));
  CHECK(strcmp(now, test_path("here")) == 0, "cwd is %s", now);
  mode_t mask = umask(0);
  CHECK(mask == 0137, "umask is 0%o", mask);
  MUST(close(MUST(open("made", O_CREAT | O_WRONLY, 0644))));
  MUST(access(test_path("here/made"), F_OK));
  test_pass();
}
