// A process frozen inside vfork: its child runs on its memory, and it waits until the child ends.
// criu: a process that waits for its vfork child cannot be stopped by ptrace
#include "check.h"
#include <sched.h>
#include <sys/mman.h>

static volatile int written;
static int child(void *unused) {
  (void)unused;
  test_ready();
  test_wait();
  test_sleep_ms(50);
  written = 1;
  return 0;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  char *stack = MUST(mmap(NULL, 262144, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  pid_t pid = MUST(clone(child, stack + 262144, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL));
  CHECK(written == 1, "the parent went on before its child ended");
  test_reap(pid);
  test_pass();
}
