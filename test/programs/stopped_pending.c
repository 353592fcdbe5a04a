// A stopped process of three threads with a signal that would end it pending: nothing of it runs until SIGCONT, then it ends by it.
// criu: its restore fails at times where the signal ends the process
#include "check.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

static atomic_ulong *steps;

static void *thread(void *unused) {
  (void)unused;
  for (;;) ++*steps;
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  steps = MUST(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  pid_t child = MUST(fork());
  if (child == 0) {
    pthread_t id;
    for (int i = 0; i < 2; i++) pthread_create(&id, NULL, thread, NULL);
    thread(NULL);
  }
  while (*steps == 0) test_sleep_ms(1);
  MUST(kill(child, SIGSTOP));
  int status;
  CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status), "it does not stop");
  MUST(kill(child, SIGTERM));
  unsigned long before = *steps;
  test_ready();
  test_wait();
  test_sleep_ms(30);
  CHECK(*steps == before, "it made %lu steps", *steps - before);
  CHECK(kill(child, 0) == 0, "it is gone");
  MUST(kill(child, SIGCONT));
  do CHECK(waitpid(child, &status, 0) == child, "waitpid: %s", strerror(errno));
  while (WIFSTOPPED(status));
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM, "it ended with status 0x%x", status);
  test_pass();
}
