// The dumpable attribute of a process that forbade core dumps, and of its child that allows them.
#include "check.h"
#include <sys/prctl.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  pid_t child = MUST(fork());
  MUST(prctl(PR_SET_DUMPABLE, child == 0 ? 1 : 0));
  if (child == 0) {
    test_child_ready(0);
    test_wait();
    CHECK(prctl(PR_GET_DUMPABLE) == 1, "the child is not dumpable");
    _exit(0);
  }
  test_await_child(0);
  test_ready();
  test_wait();
  CHECK(prctl(PR_GET_DUMPABLE) == 0, "dumpable is %d", prctl(PR_GET_DUMPABLE));
  test_reap(child);
  test_pass();
}
