// The no_new_privs attribute of a child whose parent lacks it.
#include "check.h"
#include <sys/prctl.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  pid_t child = MUST(fork());
  if (child == 0) {
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    test_child_ready(0);
    test_wait();
    CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1, "no_new_privs is lost");
    _exit(0);
  }
  test_await_child(0);
  test_ready();
  test_wait();
  CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0, "the parent has no_new_privs");
  test_reap(child);
  test_pass();
}
