// A child, a grandchild and an orphan of a lazily restored task each touch a page that is missing in all of them.
// Argument `killed`: the region was damaged in the image, and each must be killed, without a signal handler of its own
// running; and nobody else: the task itself has the same pages missing and goes on. Without it each finds its bytes.
#include "check.h"
#include <sys/mman.h>
#include <sys/prctl.h>

enum { page = 4096, pages = 256 };
static unsigned char *const region = (unsigned char *)0x300000000000;

static void got_a_signal(int signal) {
  (void)signal;
  test_fail("a copy got SIGBUS and went on");
}

static bool to_be_killed;

static void touch(int which) {
  while (access(test_path("touch"), F_OK) != 0) test_sleep_ms(2);
  test_sleep_ms(100 * (unsigned)which);
  unsigned char *at = region + (size_t)which * 64 * page;
  long bad = test_differs((unsigned)which * 64, at, page);
  CHECK(!to_be_killed, "copy %d read %02x", which, *at);
  CHECK(bad < 0, "copy %d differs at byte %ld", which, bad);
  _exit(0);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  to_be_killed = argc > 2 && strcmp(argv[2], "killed") == 0;
  MUST((long)mmap(region, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  for (unsigned i = 0; i < pages; i++) test_fill(i, region + (size_t)i * page, page);
  signal(SIGBUS, got_a_signal);
  test_ready();
  test_wait();
  MUST(prctl(PR_SET_CHILD_SUBREAPER, 1));
  pid_t child = MUST(fork());
  if (child == 0) {
    if (MUST(fork()) == 0) touch(1);
    touch(0);
  }
  pid_t between = MUST(fork());
  if (between == 0) {
    if (MUST(fork()) == 0) {
      setsid();
      touch(2);
    }
    _exit(0);
  }
  int status;
  MUST(waitpid(between, &status, 0));
  test_publish("touch", "");
  for (int ended = 0; ended < 3; ended++) {
    MUST(wait(&status));
    CHECK(status == (to_be_killed ? SIGKILL : 0), "a copy ended with status %x", (unsigned)status);
  }
  test_pass();
}
