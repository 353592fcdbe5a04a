// Descriptors opened with O_PATH, of a file and of a directory.
#include "check.h"

int main(int argc, char **argv) {
  test_init(argc, argv);
  int file = MUST(open(test_path("file"), O_CREAT | O_WRONLY, 0600));
  MUST(write(file, "text", 4));
  close(file);
  int as_path = MUST(open(test_path("file"), O_PATH | O_CLOEXEC)), folder = MUST(open(test_path("."), O_PATH | O_DIRECTORY));
  test_ready();
  test_wait();
  char byte, path[64];
  CHECK(read(as_path, &byte, 1) == -1 && errno == EBADF, "an O_PATH descriptor can be read");
  CHECK(fcntl(as_path, F_GETFL) & O_PATH, "O_PATH is lost: 0x%x", fcntl(as_path, F_GETFL));
  CHECK(fcntl(as_path, F_GETFD) == FD_CLOEXEC, "close-on-exec is lost");
  snprintf(path, sizeof path, "/proc/self/fd/%d", as_path);
  CHECK(read(MUST(open(path, O_RDONLY)), &byte, 1) == 1 && byte == 't', "opening it again");
  MUST(openat(folder, "file", O_RDONLY));
  test_pass();
}
