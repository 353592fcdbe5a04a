// What every test program shares: how it says that it is ready, waits to be told to go on, and gives its verdict.
// Not for the kinds under test: a program sets up and checks those itself.
//
// The life of a program: test_init, set up, test_ready, test_wait (here it is checkpointed and restored, or not), check,
// test_pass or test_fail. All of it goes through files in the scratch directory (argv[1]), opened only for the moment,
// so that the harness itself is never part of what is checkpointed.
#ifndef FAULTLINE_TEST_CHECK_H
#define FAULTLINE_TEST_CHECK_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char test_folder[PATH_MAX] = ".";

/// SCRATCH/name, in one of four rotating buffers.
__attribute__((unused)) static const char *test_path(const char *name) {
  static __thread char buffers[4][PATH_MAX + 64];
  static __thread unsigned turn;
  char *buffer = buffers[turn++ % 4];
  snprintf(buffer, sizeof buffers[0], "%s/%s", test_folder, name);
  return buffer;
}

/// Creates SCRATCH/name with `text`, whole or not at all; the first writer wins.
static void test_publish(const char *name, const char *text) {
  char temporary[PATH_MAX + 128];
  snprintf(temporary, sizeof temporary, "%s/.%s.%ld", test_folder, name, (long)syscall(SYS_gettid));
  int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) _exit(3);
  if (write(fd, text, strlen(text)) < 0) _exit(3);
  close(fd);
  char final[PATH_MAX + 128];
  snprintf(final, sizeof final, "%s/%s", test_folder, name);
  if (link(temporary, final) < 0 && errno != EEXIST) _exit(3);
  unlink(temporary);
}

/// Ends this process with the verdict "FAIL reason"; any process or thread of the tree may call it.
__attribute__((format(printf, 1, 2), noreturn)) static void test_fail(const char *format, ...) {
  char reason[1024], line[1100];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(reason, sizeof reason, format, arguments);
  va_end(arguments);
  snprintf(line, sizeof line, "FAIL %s\n", reason);
  test_publish("verdict", line);
  _exit(1);
}

/// Ends this process with the verdict "PASS"; only the root of the tree calls it, after its children ended well.
__attribute__((noreturn, unused)) static void test_pass(void) {
  test_publish("verdict", "PASS\n");
  _exit(0);
}

#define TEST_STRING2(x) #x
#define TEST_STRING(x) TEST_STRING2(x)
/// A fact that must hold after the restore (and without one).
#define CHECK(condition, ...)                                                                                     \
  do {                                                                                                            \
    if (!(condition)) test_fail(__FILE_NAME__ ":" TEST_STRING(__LINE__) ": " __VA_ARGS__);                             \
  } while (0)
/// A call that must not fail; gives its result.
#define MUST(call)                                                                                                \
  ({                                                                                                              \
    __typeof__(call) must_result = (call);                                                                        \
    if ((long)must_result == -1L)                                                                                 \
      test_fail(__FILE_NAME__ ":" TEST_STRING(__LINE__) ": %s: %s", #call, strerror(errno));                           \
    must_result;                                                                                                  \
  })

__attribute__((unused)) static void test_init(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: %s SCRATCH_DIRECTORY\n", argv[0]);
    exit(2);
  }
  if (realpath(argv[1], test_folder) == NULL) {
    perror(argv[1]);
    exit(2);
  }
}

static void test_look_for_folder(int signal) {
  (void)signal;
  if (access(test_folder, F_OK) != 0) _exit(0);
}

/// For a process outside of the tree: it ends when the test's folder is gone, whatever the program came to.
__attribute__((unused)) static void test_end_with_folder(void) {
  sigaction(SIGALRM, &(struct sigaction){.sa_handler = test_look_for_folder, .sa_flags = SA_RESTART}, NULL);
  struct itimerval often = {{0, 50000}, {0, 50000}};
  setitimer(ITIMER_REAL, &often, NULL);
}

__attribute__((unused)) static void test_sleep_ms(long milliseconds) {
  struct timespec left = {milliseconds / 1000, (milliseconds % 1000) * 1000000};
  while (nanosleep(&left, &left) < 0 && errno == EINTR) continue;
}

/// Tells the harness that everything is set up.
__attribute__((unused)) static void test_ready(void) {
  char text[32];
  snprintf(text, sizeof text, "%d\n", getpid());
  test_publish("ready", text);
}

/// True once the harness has said to go on; any process of the tree may ask.
__attribute__((unused)) static bool test_told(void) { return access(test_path("go"), F_OK) == 0; }

/// Waits until the harness says to go on.
__attribute__((unused)) static void test_wait(void) {
  while (!test_told()) test_sleep_ms(5);
}

/// A child of the tree says that it is set up; `number` is its own.
__attribute__((unused)) static void test_child_ready(int number) {
  char name[32];
  snprintf(name, sizeof name, "child-%d", number);
  test_publish(name, "ready\n");
}

/// Waits until the child with that number is set up.
__attribute__((unused)) static void test_await_child(int number) {
  char name[32];
  snprintf(name, sizeof name, "child-%d", number);
  while (access(test_path(name), F_OK) != 0) test_sleep_ms(2);
}

/// Waits for `pid` and fails unless it exited with 0.
__attribute__((unused)) static void test_reap(pid_t pid) {
  int status = 0;
  pid_t got;
  do got = waitpid(pid, &status, 0);
  while (got < 0 && errno == EINTR);
  CHECK(got == pid, "waitpid(%d) gave %d: %s", pid, got, strerror(errno));
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child %d ended with status 0x%x", pid, status);
}

/// A byte that depends on `seed` and `offset`, never 0: what a page or a file is filled with.
__attribute__((unused)) static unsigned char test_byte(unsigned seed, size_t offset) {
  uint32_t x = (uint32_t)offset * 2654435761u + seed * 40503u;
  x ^= x >> 15;
  return (unsigned char)(x % 255 + 1);
}
__attribute__((unused)) static void test_fill(unsigned seed, void *bytes, size_t length) {
  for (size_t i = 0; i < length; i++) ((unsigned char *)bytes)[i] = test_byte(seed, i);
}
/// The offset of the first byte that differs from test_fill, or -1.
__attribute__((unused)) static long test_differs(unsigned seed, const void *bytes, size_t length) {
  for (size_t i = 0; i < length; i++)
    if (((const unsigned char *)bytes)[i] != test_byte(seed, i)) return (long)i;
  return -1;
}
/// The offset of the first byte that is not zero, or -1.
__attribute__((unused)) static long test_not_zero(const void *bytes, size_t length) {
  for (size_t i = 0; i < length; i++)
    if (((const unsigned char *)bytes)[i] != 0) return (long)i;
  return -1;
}

/// The whole of a small /proc file of this process, NUL-terminated, in a buffer that the caller frees.
__attribute__((unused)) static char *test_read_file(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) test_fail("open %s: %s", path, strerror(errno));
  size_t size = 0, capacity = 65536;
  char *text = malloc(capacity);
  for (;;) {
    if (size + 4096 > capacity) text = realloc(text, capacity *= 2);
    ssize_t got = read(fd, text + size, capacity - size - 1);
    if (got < 0) test_fail("read %s: %s", path, strerror(errno));
    if (got == 0) break;
    size += (size_t)got;
  }
  close(fd);
  text[size] = 0;
  return text;
}
#endif
