// Children stopped by SIGSTOP, one whose stop was waited for and one not: still stopped afterwards, and going on at SIGCONT.
#include "check.h"

static pid_t stopped_child(int n, int with) {
  pid_t pid = MUST(fork());
  if (pid > 0) return pid;
  test_child_ready(n);
  MUST(raise(with));
  CHECK(test_told(), "child %d went on before it was told", n);
  _exit(20 + n);
}

static char state_of(pid_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  char *text = test_read_file(path), state = strrchr(text, ')')[2];
  free(text);
  return state;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  pid_t children[2] = {stopped_child(0, SIGSTOP), stopped_child(1, SIGSTOP)};
  int status;
  CHECK(waitpid(children[0], &status, WUNTRACED) == children[0] && WIFSTOPPED(status), "child 0 did not stop");
  while (state_of(children[1]) != 'T') test_sleep_ms(1); // its stop is not waited for
  test_ready();
  test_wait();
  for (int i = 0; i < 2; i++) CHECK(state_of(children[i]) == 'T', "child %d is in state %c", i, state_of(children[i]));
  for (int i = 0; i < 2; i++) {
    MUST(kill(children[i], SIGCONT));
    do CHECK(waitpid(children[i], &status, 0) == children[i], "waitpid: %s", strerror(errno));
    while (WIFSTOPPED(status));
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 20 + i, "child %d: status 0x%x", i, status);
  }
  test_pass();
}
