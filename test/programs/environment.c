// Arguments and environment as /proc shows them, also after the program has changed its title in place.
#include "check.h"
#include <sys/prctl.h>

static char *file(const char *path, size_t *length) {
  int fd = MUST(open(path, O_RDONLY));
  char *text = calloc(1, 65536);
  *length = (size_t)MUST(read(fd, text, 65535));
  close(fd);
  return text;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  setenv("AFTER", "set later, elsewhere", 1);
  size_t name = strlen(argv[0]);
  memset(argv[0], '*', name);
  MUST(prctl(PR_SET_NAME, "title)( x"));
  size_t lengths[4];
  const char *paths[] = {"/proc/self/cmdline", "/proc/self/environ", "/proc/self/auxv", "/proc/self/comm"};
  char *before[4];
  for (int i = 0; i < 4; i++) before[i] = file(paths[i], &lengths[i]);
  test_ready();
  test_wait();
  for (int i = 0; i < 4; i++) {
    size_t length;
    char *after = file(paths[i], &length);
    CHECK(length == lengths[i] && memcmp(before[i], after, length) == 0, "%s differs: %zu bytes, were %zu", paths[i], length, lengths[i]);
  }
  CHECK(strcmp(getenv("AFTER"), "set later, elsewhere") == 0, "a variable");
  test_pass();
}
