// Memory files: mapped shared and private, only open, with seals, with a position, shared with a child.
#include "check.h"
#include <sys/mman.h>

enum { page = 4096 };

int main(int argc, char **argv) {
  test_init(argc, argv);
  int open_only = MUST(memfd_create("open only", MFD_CLOEXEC)), mapped = MUST(memfd_create("mapped", 0));
  int sealed = MUST(memfd_create("sealed", MFD_ALLOW_SEALING));
  char bytes[3 * page], got[3 * page];
  test_fill(1, bytes, sizeof bytes);
  MUST(write(open_only, bytes, 5000));
  MUST(lseek(open_only, 111, SEEK_SET));
  MUST(ftruncate(mapped, 64 * page));
  char *shared = MUST(mmap(NULL, 64 * page, PROT_READ | PROT_WRITE, MAP_SHARED, mapped, 0));
  test_fill(2, shared + 10 * page, page);
  char *private = MUST(mmap(NULL, 64 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, mapped, 0));
  test_fill(3, private + 20 * page, page);
  MUST(write(sealed, bytes, page));
  MUST(fcntl(sealed, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
  int pipes[2];
  MUST(pipe(pipes));
  pid_t child = MUST(fork());
  if (child == 0) {
    char byte;
    if (read(pipes[0], &byte, 1) != 1) _exit(1);
    test_fill(4, shared + 30 * page, page);
    _exit(0);
  }
  test_ready();
  test_wait();
  MUST(write(pipes[1], "x", 1));
  test_reap(child);
  CHECK(lseek(open_only, 0, SEEK_CUR) == 111, "position %ld", (long)lseek(open_only, 0, SEEK_CUR));
  CHECK(pread(open_only, got, sizeof got, 0) == 5000 && memcmp(got, bytes, 5000) == 0, "content of the unmapped file");
  CHECK(fcntl(open_only, F_GETFD) == FD_CLOEXEC && fcntl(mapped, F_GETFD) == 0, "close-on-exec");
  CHECK(test_differs(2, shared + 10 * page, page) < 0 && test_not_zero(shared + 11 * page, page) < 0, "shared mapping");
  CHECK(test_differs(4, shared + 30 * page, page) < 0, "the child's write is not seen");
  CHECK(test_differs(2, private + 10 * page, page) < 0 && test_differs(3, private + 20 * page, page) < 0, "private mapping");
  CHECK(test_not_zero(shared + 20 * page, page) < 0, "a private write reached the file");
  CHECK(pread(mapped, got, page, 10 * page) == page && test_differs(2, got, page) < 0, "the descriptor and the mapping are apart");
  CHECK(fcntl(sealed, F_GET_SEALS) == (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), "seals 0x%x", fcntl(sealed, F_GET_SEALS));
  CHECK(pwrite(sealed, "x", 1, 0) == -1 && errno == EPERM, "the sealed file can be written");
  CHECK(pread(sealed, got, page, 0) == page && memcmp(got, bytes, page) == 0, "content of the sealed file");
  char name[64] = "";
  MUST(readlink(({ static char path[64]; snprintf(path, 64, "/proc/self/fd/%d", mapped); path; }), name, sizeof name - 1));
  CHECK(strcmp(name, "/memfd:mapped (deleted)") == 0, "its name is %s", name);
  test_pass();
}
