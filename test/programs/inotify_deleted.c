// Inotify watches of a deleted file that is still open, and a queue with unread events.
// criu: it loses the watch of a deleted file
#include "check.h"
#include <sys/inotify.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int fd = MUST(open(test_path("file"), O_CREAT | O_RDWR, 0600));
  int watcher = MUST(inotify_init1(IN_NONBLOCK));
  int watch = MUST(inotify_add_watch(watcher, test_path("file"), IN_MODIFY | IN_ATTRIB));
  MUST(unlink(test_path("file")));
  char buffer[4096] __attribute__((aligned(8)));
  CHECK(read(watcher, buffer, sizeof buffer) > 0, "no event of the deletion");
  test_ready();
  test_wait();
  while (read(watcher, buffer, sizeof buffer) > 0) continue;
  MUST(write(fd, "x", 1));
  ssize_t size = MUST(read(watcher, buffer, sizeof buffer));
  struct inotify_event *event = (void *)buffer;
  CHECK(size >= (ssize_t)sizeof *event && event->wd == watch && (event->mask & IN_MODIFY), "mask 0x%x of watch %d", event->mask, event->wd);
  test_pass();
}
