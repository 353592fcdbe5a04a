// Fanotify marks on a mount, on a file system, and such as ignore: events come as before.
// criu: it loses marks on file systems
#include "check.h"
#include <sys/fanotify.h>

/// All events that are there, of the files that the group reports by descriptor.
static unsigned long long events(int group) {
  char buffer[4096] __attribute__((aligned(8)));
  unsigned long long seen = 0;
  ssize_t size;
  while ((size = read(group, buffer, sizeof buffer)) > 0) {
    struct fanotify_event_metadata *event = (void *)buffer;
    for (; FAN_EVENT_OK(event, size); event = FAN_EVENT_NEXT(event, size)) {
      if (event->pid != getpid()) {
        if (event->fd >= 0) close(event->fd);
        continue;
      }
      seen |= event->mask;
      if (event->fd >= 0) close(event->fd);
    }
  }
  return seen;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(close(MUST(open(test_path("watched"), O_CREAT | O_RDWR, 0600))));
  int mount = MUST(fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE, O_RDONLY | O_CLOEXEC));
  MUST(fanotify_mark(mount, FAN_MARK_ADD | FAN_MARK_MOUNT, FAN_MODIFY | FAN_CLOSE_WRITE, AT_FDCWD, test_path("watched")));
  MUST(fanotify_mark(mount, FAN_MARK_ADD | FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY, FAN_MODIFY, AT_FDCWD, test_path("watched")));
  int system = MUST(fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_REPORT_FID, 0));
  MUST(fanotify_mark(system, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_CREATE | FAN_ONDIR, AT_FDCWD, test_path(".")));
  test_ready();
  test_wait();
  events(mount);
  events(system);
  int fd = MUST(open(test_path("watched"), O_RDWR));
  MUST(write(fd, "x", 1));
  MUST(close(fd));
  unsigned long long seen = events(mount);
  CHECK(seen == FAN_CLOSE_WRITE, "events of the mount: %llx", seen);
  CHECK(events(system) == 0, "events of the file system");
  MUST(mkdir(test_path("folder"), 0755));
  seen = events(system);
  CHECK((seen & FAN_CREATE) != 0, "events of the file system: %llx", seen);
  test_pass();
}
