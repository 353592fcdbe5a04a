// Fanotify: a group with marks on a directory and a mount's file, and that events still come.
#include "check.h"
#include <sys/fanotify.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(close(MUST(open(test_path("watched"), O_CREAT | O_RDWR, 0600))));
  int group = MUST(fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK, O_RDONLY));
  MUST(fanotify_mark(group, FAN_MARK_ADD, FAN_OPEN | FAN_MODIFY, AT_FDCWD, test_path("watched")));
  test_ready();
  test_wait();
  char buffer[4096] __attribute__((aligned(8)));
  CHECK(read(group, buffer, sizeof buffer) == -1 && errno == EAGAIN, "an event that nobody caused");
  int fd = MUST(open(test_path("watched"), O_RDWR));
  MUST(write(fd, "x", 1));
  unsigned long long seen = 0;
  for (int i = 0; i < 200 && (seen & (FAN_OPEN | FAN_MODIFY)) != (FAN_OPEN | FAN_MODIFY); i++) {
    ssize_t size = read(group, buffer, sizeof buffer);
    struct fanotify_event_metadata *event = (void *)buffer;
    if (size > 0)
      for (; FAN_EVENT_OK(event, size); event = FAN_EVENT_NEXT(event, size)) {
        seen |= event->mask;
        close(event->fd);
      }
    else test_sleep_ms(2);
  }
  CHECK((seen & (FAN_OPEN | FAN_MODIFY)) == (FAN_OPEN | FAN_MODIFY), "events 0x%llx", seen);
  test_pass();
}
