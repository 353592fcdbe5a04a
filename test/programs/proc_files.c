// Files of /proc held open: of this process, of a child, and of a child that has ended since.
#include "check.h"

static void speaks_of(int fd, int pid) {
  char text[128] = "";
  CHECK(pread(fd, text, 127, 0) > 0, "pread of pid %d: %s", pid, strerror(errno));
  CHECK(atoi(text) == pid, "%d, not %d", atoi(text), pid);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  pid_t child = MUST(fork()), dead = child == 0 ? 0 : MUST(fork());
  if (child == 0 || dead == 0)
    for (;;) pause();
  char path[64];
  int own = MUST(open("/proc/self/stat", O_RDONLY)), folder = MUST(open("/proc/self", O_RDONLY | O_DIRECTORY));
  snprintf(path, sizeof path, "/proc/%d/stat", child);
  int of_child = MUST(open(path, O_RDONLY));
  snprintf(path, sizeof path, "/proc/%d/stat", dead);
  int of_dead = MUST(open(path, O_RDONLY));
  snprintf(path, sizeof path, "/proc/%d", dead);
  int dead_folder = MUST(open(path, O_RDONLY | O_DIRECTORY));
  MUST(kill(dead, SIGKILL));
  MUST(waitpid(dead, NULL, 0));
  test_ready();
  test_wait();
  speaks_of(own, getpid());
  speaks_of(of_child, child);
  int again = MUST(openat(folder, "stat", O_RDONLY));
  speaks_of(again, getpid());
  CHECK(pread(of_dead, path, 10, 0) == -1 && errno == ESRCH, "the dead one's file: %s", strerror(errno));
  CHECK(openat(dead_folder, "stat", O_RDONLY) == -1, "the dead one's folder");
  MUST(kill(child, SIGKILL));
  MUST(waitpid(child, NULL, 0));
  test_pass();
}
