// An inotify descriptor with events that nobody has read, which no restore can put back: new ones come as before.
#include "check.h"
#include <sys/inotify.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(mkdir(test_path("watched"), 0755));
  int queue = MUST(inotify_init1(IN_NONBLOCK));
  int watch = MUST(inotify_add_watch(queue, test_path("watched"), IN_CREATE | IN_DELETE));
  MUST(close(MUST(open(test_path("watched/one"), O_CREAT | O_RDWR, 0600))));
  MUST(unlink(test_path("watched/one")));
  test_ready();
  test_wait();
  MUST(close(MUST(open(test_path("watched/two"), O_CREAT | O_RDWR, 0600))));
  char buffer[4096] __attribute__((aligned(8)));
  ssize_t size = MUST(read(queue, buffer, sizeof buffer));
  const struct inotify_event *event = NULL;
  for (const char *at = buffer; at < buffer + size; at += sizeof *event + event->len) event = (const void *)at;
  CHECK(event->wd == watch && event->mask == IN_CREATE && strcmp(event->name, "two") == 0, "the last event: %x %s", event->mask, event->name);
  test_pass();
}
