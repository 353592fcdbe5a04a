// Children that ended and were not waited for: by exit, by signal, and one that leads a group.
#include "check.h"

int main(int argc, char **argv) {
  test_init(argc, argv);
  pid_t exited = MUST(fork());
  if (exited == 0) _exit(37);
  pid_t killed = MUST(fork());
  if (killed == 0) {
    pause();
    _exit(1);
  }
  pid_t leader = MUST(fork());
  if (leader == 0) {
    MUST(setpgid(0, 0));
    _exit(5);
  }
  MUST(kill(killed, SIGTERM));
  siginfo_t info;
  MUST(waitid(P_PID, (id_t)exited, &info, WEXITED | WNOWAIT));
  MUST(waitid(P_PID, (id_t)killed, &info, WEXITED | WNOWAIT));
  MUST(waitid(P_PID, (id_t)leader, &info, WEXITED | WNOWAIT));
  test_ready();
  test_wait();
  int status;
  CHECK(waitpid(exited, &status, 0) == exited && WIFEXITED(status) && WEXITSTATUS(status) == 37, "exited: 0x%x", status);
  CHECK(waitpid(killed, &status, 0) == killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "killed: 0x%x", status);
  CHECK(waitpid(-leader, &status, 0) == leader && WEXITSTATUS(status) == 5, "group leader: 0x%x, %s", status, strerror(errno));
  CHECK(waitpid(-1, &status, 0) == -1 && errno == ECHILD, "there are more children");
  test_pass();
}
