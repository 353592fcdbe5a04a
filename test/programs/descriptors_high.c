// Descriptors with high numbers, in a table shared with children and in tables of their own.
#include "check.h"
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  struct rlimit limit;
  MUST(getrlimit(RLIMIT_NOFILE, &limit));
  limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
  MUST(setrlimit(RLIMIT_NOFILE, &limit));
  int *go = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), children = 0;
  for (int number = 2048; number < (int)limit.rlim_cur; number *= 2) {
    int fd = MUST(open(test_path("."), O_TMPFILE | O_RDWR, 0600));
    MUST(write(fd, &number, sizeof number));
    MUST(dup2(fd, number));
    MUST(close(fd));
    unsigned long flags = SIGCHLD | (children % 2 == 0 ? CLONE_FILES : 0);
    children++;
    if (MUST(syscall(SYS_clone, flags, NULL, NULL, NULL, 0)) == 0) {
      while (!*(volatile int *)go) test_sleep_ms(5);
      int stored = 0;
      pread(number, &stored, sizeof stored, 0);
      _exit(stored == number ? 0 : 1);
    }
  }
  test_ready();
  test_wait();
  *go = 1;
  for (int i = 0; i < children; i++) {
    int status;
    MUST(wait(&status));
    CHECK(status == 0, "a child ended with 0x%x", status);
  }
  test_pass();
}
