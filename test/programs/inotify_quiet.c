// inotify watches on a directory whose files are open in every way: nothing that nobody did is reported afterwards.
// criu: it tells of the names that it makes for deleted files
#include "check.h"
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(mkdir(test_path("watched"), 0755));
  MUST(chdir(test_path("watched")));
  MUST(close(MUST(open("file", O_CREAT | O_RDWR, 0600))));
  int queue = MUST(inotify_init1(IN_NONBLOCK));
  MUST(inotify_add_watch(queue, ".", IN_ALL_EVENTS));
  MUST(inotify_add_watch(queue, "file", IN_ALL_EVENTS));
  int file = MUST(open("file", O_RDWR)), deleted = MUST(open("deleted", O_CREAT | O_RDWR, 0600));
  MUST(ftruncate(file, 4096));
  CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0) != MAP_FAILED, "mmap");
  MUST(unlink("deleted"));
  MUST(mkfifo("fifo", 0600));
  MUST(open("fifo", O_RDWR));
  struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "socket"};
  MUST(bind(MUST(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&name, sizeof name));
  char buffer[8192] __attribute__((aligned(8)));
  while (read(queue, buffer, sizeof buffer) > 0) continue;
  test_ready();
  test_wait();
  ssize_t size = read(queue, buffer, sizeof buffer);
  const struct inotify_event *event = (const void *)buffer;
  CHECK(size == -1 && errno == EAGAIN, "an event that nobody caused: watch %d, %x, %s", event->wd, event->mask, event->len > 0 ? event->name : "");
  MUST(write(deleted, "x", 1));
  MUST(write(file, "x", 1));
  size = MUST(read(queue, buffer, sizeof buffer));
  CHECK(event->mask == IN_MODIFY, "event %x", event->mask);
  test_pass();
}
