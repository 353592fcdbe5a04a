// Tasks that end while they are lazy and their threads wait for pages: by exec, by vfork and exec, by exit, by SIGKILL.
// The root outlives them and checks its own memory.
#include "check.h"
#include <pthread.h>
#include <sys/mman.h>

enum { page = 4096, pages = 1024, threads = 4, children = 5 };

static unsigned char *area;

static void check(unsigned id, int step) {
  for (int i = 0; i < pages; i += step) {
    long bad = test_differs(id + (unsigned)i, area + (size_t)i * page, page);
    CHECK(bad < 0, "page %d of %u differs at byte %ld", i, id, bad);
  }
}

static void fill(unsigned id) {
  for (int i = 0; i < pages; i++) test_fill(id + (unsigned)i, area + (size_t)i * page, page);
}

static unsigned toucher_id;

// Touches from the end, so that the task ends in the middle of it.
static void *touch(void *argument) {
  unsigned from = (unsigned)(uintptr_t)argument;
  for (int i = pages - 1 - (int)from; i >= 0; i -= threads) {
    long bad = test_differs(toucher_id + (unsigned)i, area + (size_t)i * page, page);
    CHECK(bad < 0, "thread %u: page %d differs at byte %ld", from, i, bad);
  }
  for (;;) pause();
}

static void start_touching(unsigned id) {
  toucher_id = id;
  for (unsigned t = 0; t < threads; t++) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, touch, (void *)(uintptr_t)t) != 0) test_fail("no thread");
  }
}

static void child(int number) {
  unsigned id = (unsigned)(number + 1) * 10000;
  fill(id);
  test_child_ready(number);
  test_wait();
  start_touching(id);
  switch (number) {
    case 0:
      MUST(execl("/bin/true", "true", (char *)NULL));
      break;
    case 1: {
      pid_t pid = MUST(vfork());
      if (pid == 0) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(9);
      }
      test_reap(pid);
      check(id, 3);
      _exit(0);
    }
    case 2:
      _exit(0);
    case 3:
      check(id, 1);
      _exit(0);
    default:
      for (;;) pause();
  }
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  area = MUST(mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  pid_t pid[children];
  for (int number = 0; number < children; number++) {
    pid[number] = MUST(fork());
    if (pid[number] == 0) child(number);
  }
  for (int number = 0; number < children; number++) test_await_child(number);
  fill(0);
  test_ready();
  test_wait();
  check(0, 64);
  test_sleep_ms(2);
  MUST(kill(pid[children - 1], SIGKILL));
  int status;
  MUST(waitpid(pid[children - 1], &status, 0));
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "the last child ended with status 0x%x", status);
  for (int number = 0; number < children - 1; number++) test_reap(pid[number]);
  check(0, 1);
  // Ends while its own threads are in the middle of memory that was never touched.
  test_pass();
}
