// A changed root directory, with a working directory inside it, in a child whose parent keeps the system's root.
#include "check.h"

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(mkdir(test_path("jail"), 0755));
  MUST(mkdir(test_path("jail/inner"), 0755));
  int pipes[2];
  MUST(pipe(pipes));
  pid_t child = MUST(fork());
  if (child == 0) {
    close(pipes[1]);
    int verdict = MUST(open(test_path("verdict-of-child"), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    MUST(chroot(test_path("jail")));
    MUST(chdir("/inner"));
    char byte;
    if (read(pipes[0], &byte, 1) != 1) dprintf(verdict, "the pipe ended");
    char now[PATH_MAX] = "";
    if (getcwd(now, sizeof now) == NULL || strcmp(now, "/inner") != 0) dprintf(verdict, "cwd is %s", now);
    if (access("/inner", F_OK) != 0) dprintf(verdict, "no /inner in the changed root");
    if (access("/proc", F_OK) == 0) dprintf(verdict, "the root is the system's");
    _exit(0);
  }
  close(pipes[0]);
  test_sleep_ms(30);
  test_ready();
  test_wait();
  MUST(write(pipes[1], "x", 1));
  test_reap(child);
  char *text = test_read_file(test_path("verdict-of-child"));
  CHECK(text[0] == 0, "%s", text);
  test_pass();
}
