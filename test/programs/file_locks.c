// File locks: flock, record locks and locks of an open file description, shared and exclusive, against another process.
// options: --file-locks
#include "check.h"
#include <sys/file.h>

static short who_locks(int fd, short type, off_t start, pid_t *owner) {
  struct flock probe = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = 1};
  MUST(fcntl(fd, F_GETLK, &probe));
  *owner = probe.l_pid;
  return probe.l_type;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  char bytes[100] = {0};
  int records = MUST(open(test_path("records"), O_CREAT | O_RDWR, 0600)), whole = MUST(open(test_path("whole"), O_CREAT | O_RDWR, 0600));
  int shared = MUST(open(test_path("shared"), O_CREAT | O_RDWR, 0600)), description = MUST(open(test_path("description"), O_CREAT | O_RDWR, 0600));
  MUST(write(records, bytes, 100));
  MUST(write(description, bytes, 100));
  MUST(fcntl(records, F_SETLK, &(struct flock){.l_type = F_WRLCK, .l_start = 10, .l_len = 5}));
  MUST(fcntl(records, F_SETLK, &(struct flock){.l_type = F_RDLCK, .l_start = 30, .l_len = 5}));
  MUST(fcntl(description, F_OFD_SETLK, &(struct flock){.l_type = F_WRLCK, .l_start = 50, .l_len = 5}));
  MUST(flock(whole, LOCK_EX));
  MUST(flock(shared, LOCK_SH));
  pid_t parent = getpid(), child = MUST(fork());
  if (child == 0) {
    test_child_ready(0);
    test_wait();
    pid_t owner;
    int fd = MUST(open(test_path("records"), O_RDWR));
    CHECK(who_locks(fd, F_RDLCK, 12, &owner) == F_WRLCK && owner == parent, "the write record lock is lost");
    CHECK(who_locks(fd, F_WRLCK, 32, &owner) == F_RDLCK && owner == parent, "the read record lock is lost");
    CHECK(who_locks(fd, F_WRLCK, 20, &owner) == F_UNLCK, "a record lock covers too much");
    fd = MUST(open(test_path("description"), O_RDWR));
    CHECK(who_locks(fd, F_RDLCK, 52, &owner) == F_WRLCK && owner == -1, "the description's lock is lost");
    fd = MUST(open(test_path("whole"), O_RDWR));
    CHECK(flock(fd, LOCK_SH | LOCK_NB) == -1 && errno == EWOULDBLOCK, "the flock is lost");
    fd = MUST(open(test_path("shared"), O_RDWR));
    CHECK(flock(fd, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK, "the shared flock is lost");
    CHECK(flock(fd, LOCK_SH | LOCK_NB) == 0, "the shared flock is exclusive");
    _exit(0);
  }
  test_await_child(0);
  test_ready();
  test_wait();
  test_reap(child);
  MUST(flock(whole, LOCK_UN));
  MUST(flock(MUST(open(test_path("whole"), O_RDWR)), LOCK_EX | LOCK_NB));
  test_pass();
}
