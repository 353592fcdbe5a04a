// Transparent huge pages disabled for a process, and its child that has them.
#include "check.h"
#include <sys/prctl.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  pid_t child = MUST(fork());
  if (child > 0) MUST(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
  if (child == 0) {
    test_child_ready(0);
    test_wait();
    CHECK(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 0, "the child's huge pages are disabled");
    _exit(0);
  }
  test_await_child(0);
  test_ready();
  test_wait();
  CHECK(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1, "huge pages are enabled");
  test_reap(child);
  test_pass();
}
