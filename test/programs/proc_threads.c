// A file of /proc of another thread, held open twice with one position.
// criu: it opens files before threads exist
#include "check.h"
#include <pthread.h>

static volatile int tid;

static void *idle(void *nothing) {
  tid = (int)syscall(SYS_gettid);
  while (!test_told()) test_sleep_ms(5);
  return nothing;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, idle, NULL) == 0, "thread");
  while (tid == 0) test_sleep_ms(1);
  char path[64], text[16] = "";
  snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
  int first = MUST(open(path, O_RDONLY)), second = MUST(fcntl(first, F_DUPFD_CLOEXEC, 50));
  MUST(lseek(first, 1, SEEK_SET));
  test_ready();
  test_wait();
  snprintf(path, sizeof path, "%d", tid);
  CHECK(read(second, text, 4) > 0, "read: %s", strerror(errno));
  CHECK(strncmp(text, path + 1, strlen(path + 1)) == 0, "%s of thread %s", text, path);
  CHECK(lseek(first, 0, SEEK_CUR) == 5, "the position is not shared");
  CHECK(fcntl(second, F_GETFD) == FD_CLOEXEC && fcntl(first, F_GETFD) == 0, "flags");
  pthread_join(thread, NULL);
  test_pass();
}
