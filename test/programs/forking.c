// A tree that forks all the time: children that end at once, some of which have a child of their own first; every status is right.
#include "check.h"

static void child(int number, int depth) {
  for (unsigned long turn = 0; !test_told(); turn++) {
    pid_t pid = MUST(fork());
    if (pid == 0) {
      if (depth > 0 && turn % 3 == 0) {
        pid_t below = MUST(fork());
        if (below == 0) _exit(5);
        int status;
        if (waitpid(below, &status, 0) != below || WEXITSTATUS(status) != 5) _exit(1);
      }
      _exit(70 + (int)(turn % 50)); // below 128, as CRIU keeps seven bits of a zombie's status
    }
    int status;
    pid_t got = waitpid(pid, &status, 0);
    CHECK(got == pid && WIFEXITED(status) && WEXITSTATUS(status) == 70 + (int)(turn % 50), "child %d, turn %lu: status 0x%x", number, turn, status);
  }
  _exit(0);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  pid_t pids[4];
  for (int i = 0; i < 4; i++)
    if ((pids[i] = MUST(fork())) == 0) child(i, i % 2);
  test_sleep_ms(30);
  test_ready();
  test_wait();
  for (int i = 0; i < 4; i++) test_reap(pids[i]);
  test_pass();
}
