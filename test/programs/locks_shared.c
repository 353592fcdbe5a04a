// File locks of every kind that a child has inherited or waits beside: OFD and flock locks shared with it, POSIX locks of both.
// options: --file-locks
// criu: it loses the POSIX lock that a child has beside its parent
#include "check.h"
#include <sys/file.h>

static int conflicts(int fd, int command, off_t start) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = 10};
  MUST(fcntl(fd, command, &lock));
  return lock.l_type == F_UNLCK ? 0 : lock.l_pid;
}

static void lock(int fd, int command, short type, off_t start) {
  struct flock what = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = 10};
  MUST(fcntl(fd, command, &what));
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  int shared = MUST(open(test_path("file"), O_CREAT | O_RDWR, 0600)), whole = MUST(open(test_path("whole"), O_CREAT | O_RDWR, 0600));
  lock(shared, F_OFD_SETLK, F_WRLCK, 0);
  MUST(flock(whole, LOCK_EX));
  lock(shared, F_SETLK, F_WRLCK, 100);
  int told[2];
  MUST(pipe(told));
  pid_t child = MUST(fork());
  if (child == 0) {
    lock(shared, F_SETLK, F_WRLCK, 200);
    test_child_ready(1);
    char byte;
    MUST(read(told[0], &byte, 1));
    CHECK(conflicts(shared, F_GETLK, 100) == getppid(), "the parent's POSIX lock, seen by the child");
    CHECK(conflicts(shared, F_OFD_GETLK, 0) == 0, "the shared OFD lock, seen by the child");
    MUST(flock(whole, LOCK_EX | LOCK_NB));
    _exit(0);
  }
  test_await_child(1);
  test_ready();
  test_wait();
  CHECK(conflicts(shared, F_GETLK, 200) == child, "the child's POSIX lock, seen by the parent");
  int other = MUST(open(test_path("file"), O_RDWR));
  CHECK(conflicts(other, F_OFD_GETLK, 0) == -1, "the OFD lock");
  int again = MUST(open(test_path("whole"), O_RDWR));
  CHECK(flock(again, LOCK_SH | LOCK_NB) == -1 && errno == EWOULDBLOCK, "the flock lock");
  MUST(write(told[1], "x", 1));
  test_reap(child);
  test_pass();
}
