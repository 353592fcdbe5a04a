// Names and identity seen in /proc: comm of each thread, command line, environment, executable, auxiliary vector.
#include "check.h"
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

static pthread_barrier_t set_up, told;

static void *thread(void *argument) {
  char wanted[16], name[16];
  snprintf(wanted, sizeof wanted, "worker (%d) ü", (int)(uintptr_t)argument);
  MUST(prctl(PR_SET_NAME, wanted));
  pthread_barrier_wait(&set_up);
  pthread_barrier_wait(&told);
  MUST(prctl(PR_GET_NAME, name));
  CHECK(strcmp(name, wanted) == 0, "a thread's name is \"%s\", not \"%s\"", name, wanted);
  return NULL;
}

// /proc/PID/NAME as a string with NUL bytes shown as spaces.
static char *flat(const char *path) {
  int fd = MUST(open(path, O_RDONLY));
  char *text = calloc(1, 65536);
  ssize_t size = MUST(read(fd, text, 65535));
  for (ssize_t i = 0; i < size; i++) if (text[i] == 0) text[i] = ' ';
  close(fd);
  return text;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  pthread_t threads[3];
  pthread_barrier_init(&set_up, NULL, 4);
  pthread_barrier_init(&told, NULL, 4);
  for (uintptr_t i = 0; i < 3; i++) pthread_create(&threads[i], NULL, thread, (void *)i);
  pthread_barrier_wait(&set_up);
  MUST(prctl(PR_SET_NAME, "renamed"));
  char *command = flat("/proc/self/cmdline"), *environment = flat("/proc/self/environ"), executable[PATH_MAX] = "";
  int fd = MUST(open("/proc/self/auxv", O_RDONLY));
  char vector[1024], vector_after[1024];
  ssize_t vector_size = MUST(read(fd, vector, sizeof vector));
  close(fd);
  MUST(readlink("/proc/self/exe", executable, sizeof executable - 1));

  test_ready();
  test_wait();

  pthread_barrier_wait(&told);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  char name[16], executable_after[PATH_MAX] = "";
  MUST(prctl(PR_GET_NAME, name));
  CHECK(strcmp(name, "renamed") == 0, "comm is \"%s\"", name);
  CHECK(strcmp(flat("/proc/self/cmdline"), command) == 0, "the command line changed");
  CHECK(strcmp(flat("/proc/self/environ"), environment) == 0, "the environment changed");
  MUST(readlink("/proc/self/exe", executable_after, sizeof executable_after - 1));
  CHECK(strcmp(executable, executable_after) == 0, "exe is %s, was %s", executable_after, executable);
  fd = MUST(open("/proc/self/auxv", O_RDONLY));
  ssize_t size = MUST(read(fd, vector_after, sizeof vector_after));
  CHECK(size == vector_size && memcmp(vector, vector_after, (size_t)size) == 0, "the auxiliary vector changed");
  struct timespec now;
  MUST(clock_gettime(CLOCK_MONOTONIC, &now)); // through the vdso that the vector names
  test_pass();
}
