// A file deleted under the name it was opened by, while another name of it remains.
// options: --link-remap
#include "check.h"

int main(int argc, char **argv) {
  test_init(argc, argv);
  int fd = MUST(open(test_path("first"), O_CREAT | O_RDWR, 0600));
  MUST(write(fd, "content", 7));
  MUST(link(test_path("first"), test_path("second")));
  MUST(unlink(test_path("first")));
  test_ready();
  test_wait();
  char got[16];
  CHECK(pread(fd, got, 16, 0) == 7 && memcmp(got, "content", 7) == 0, "content");
  MUST(pwrite(fd, "CON", 3, 0));
  int other = MUST(open(test_path("second"), O_RDONLY));
  CHECK(read(other, got, 16) == 7 && memcmp(got, "CONtent", 7) == 0, "the descriptor and the other name are two files");
  CHECK(access(test_path("first"), F_OK) == -1, "the deleted name is back");
  test_pass();
}
