// Regular files: positions, flags, descriptors dup'd and shared with a child, close-on-exec, append, read-only, owners.
#include "check.h"
#include <sys/syscall.h>

static bool same_description(int a, int b) { // kcmp(2), KCMP_FILE
  return syscall(SYS_kcmp, getpid(), getpid(), 0, a, b) == 0;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  char bytes[10000];
  test_fill(1, bytes, sizeof bytes);
  int plain = MUST(open(test_path("plain"), O_CREAT | O_RDWR, 0640));
  MUST(write(plain, bytes, sizeof bytes));
  MUST(lseek(plain, 1234, SEEK_SET));
  int twin = MUST(dup(plain)), far = MUST(fcntl(plain, F_DUPFD_CLOEXEC, 100));
  int apart = MUST(open(test_path("plain"), O_RDONLY | O_CLOEXEC));
  MUST(lseek(apart, 77, SEEK_SET));
  int append = MUST(open(test_path("log"), O_CREAT | O_WRONLY | O_APPEND, 0644));
  MUST(write(append, "first ", 6));
  int direct = MUST(open(test_path("sync"), O_CREAT | O_RDWR | O_DSYNC | O_NOATIME, 0600));
  MUST(fcntl(direct, F_SETFL, O_NONBLOCK | O_NOATIME));
  MUST(fcntl(twin, F_SETOWN, getpid()));
  MUST(fcntl(twin, F_SETSIG, SIGUSR1));
  int flags_before = MUST(fcntl(direct, F_GETFL));
  int pipes[2];
  MUST(pipe(pipes));
  pid_t child = MUST(fork());
  if (child == 0) { // shares the description: its reads move the parent's position
    char byte;
    if (read(pipes[0], &byte, 1) != 1) _exit(2);
    char here[100];
    if (read(twin, here, 100) != 100) _exit(3);
    _exit(memcmp(here, bytes + 1234, 100) == 0 ? 0 : 4);
  }
  test_ready();
  test_wait();
  CHECK(lseek(plain, 0, SEEK_CUR) == 1234, "position %ld", (long)lseek(plain, 0, SEEK_CUR));
  CHECK(same_description(plain, twin) && same_description(plain, far), "dup'd descriptors are no longer one");
  CHECK(!same_description(plain, apart), "descriptors opened apart became one");
  CHECK(lseek(apart, 0, SEEK_CUR) == 77, "position of the second descriptor");
  CHECK(fcntl(plain, F_GETFD) == 0 && fcntl(far, F_GETFD) == FD_CLOEXEC && fcntl(apart, F_GETFD) == FD_CLOEXEC, "close-on-exec flags");
  CHECK((fcntl(apart, F_GETFL) & O_ACCMODE) == O_RDONLY, "access mode");
  CHECK(fcntl(direct, F_GETFL) == flags_before, "flags 0x%x, were 0x%x", fcntl(direct, F_GETFL), flags_before);
  CHECK(fcntl(append, F_GETFL) & O_APPEND, "O_APPEND is lost");
  CHECK(fcntl(twin, F_GETOWN) == getpid() && fcntl(plain, F_GETSIG) == SIGUSR1, "owner %d, signal %d", fcntl(twin, F_GETOWN), fcntl(plain, F_GETSIG));
  MUST(write(pipes[1], "x", 1));
  test_reap(child);
  CHECK(lseek(plain, 0, SEEK_CUR) == 1334, "the child's position is not the parent's: %ld", (long)lseek(plain, 0, SEEK_CUR));
  MUST(write(append, "second", 6));
  CHECK(strcmp(test_read_file(test_path("log")), "first second") == 0, "appended file holds \"%s\"", test_read_file(test_path("log")));
  char all[sizeof bytes];
  CHECK(pread(apart, all, sizeof all, 0) == sizeof all && memcmp(all, bytes, sizeof all) == 0, "file content");
  test_pass();
}
