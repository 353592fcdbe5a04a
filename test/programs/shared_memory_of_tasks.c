// Processes that share memory and signal handlers without being threads (CLONE_VM, CLONE_SIGHAND).
// criu: it refuses processes that share memory
#include "check.h"
#include <sched.h>
#include <sys/mman.h>

static volatile int written;
static void handler(int signal) { (void)signal; }

static int child(void *unused) {
  (void)unused;
  test_child_ready(0);
  test_wait();
  written = 12345;
  signal(SIGUSR1, handler);
  return 0;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  char *stack = MUST(mmap(NULL, 262144, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  pid_t pid = MUST(clone(child, stack + 262144, CLONE_VM | CLONE_SIGHAND | SIGCHLD, NULL));
  test_await_child(0);
  test_ready();
  test_wait();
  test_reap(pid);
  CHECK(written == 12345, "the child's write is not seen");
  struct sigaction now;
  MUST(sigaction(SIGUSR1, NULL, &now));
  CHECK(now.sa_handler == handler, "the child's handler is not the parent's");
  test_pass();
}
