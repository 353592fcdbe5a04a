// Inotify: watches on a directory and a file, their numbers and masks, and that events still come.
#include "check.h"
#include <sys/inotify.h>

static bool next(int fd, int watch, unsigned mask, const char *name) {
  char buffer[4096] __attribute__((aligned(8)));
  for (int i = 0; i < 200; i++) {
    ssize_t size = read(fd, buffer, sizeof buffer);
    if (size < 0) {
      test_sleep_ms(5);
      continue;
    }
    for (char *at = buffer; at < buffer + size;) {
      struct inotify_event *event = (struct inotify_event *)at;
      if (event->wd == watch && (event->mask & mask) && strcmp(event->len > 0 ? event->name : "", name) == 0) return true;
      at += sizeof *event + event->len;
    }
  }
  return false;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(mkdir(test_path("watched"), 0755));
  MUST(close(MUST(open(test_path("single"), O_CREAT | O_WRONLY, 0644))));
  int fd = MUST(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  int gone = MUST(inotify_add_watch(fd, test_path("."), IN_DELETE));
  int folder = MUST(inotify_add_watch(fd, test_path("watched"), IN_CREATE | IN_DELETE));
  int single = MUST(inotify_add_watch(fd, test_path("single"), IN_MODIFY | IN_ATTRIB));
  MUST(inotify_rm_watch(fd, gone)); // leaves a gap in the numbers
  char buffer[256];
  while (read(fd, buffer, sizeof buffer) > 0) continue; // IN_IGNORED
  test_ready();
  test_wait();
  MUST(close(MUST(open(test_path("watched/made"), O_CREAT | O_WRONLY, 0644))));
  CHECK(next(fd, folder, IN_CREATE, "made"), "no event for a new file");
  int file = MUST(open(test_path("single"), O_WRONLY));
  MUST(write(file, "x", 1));
  CHECK(next(fd, single, IN_MODIFY, ""), "no event for a write");
  CHECK(inotify_rm_watch(fd, gone) == -1 && errno == EINVAL, "the removed watch is back");
  CHECK(inotify_add_watch(fd, test_path("watched"), IN_CREATE) == folder, "the watch has another number");
  test_pass();
}
