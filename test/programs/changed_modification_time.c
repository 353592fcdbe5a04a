// A file that is written through a shared mapping after the restore: its modification time follows.
#include "check.h"
#include <sys/mman.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int fd = MUST(open(test_path("file"), O_RDWR | O_CREAT, 0600));
  MUST(ftruncate(fd, 8192));
  char *memory = MUST(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  memory[0] = 1;
  MUST(msync(memory, 8192, MS_SYNC));
  struct stat before, after;
  MUST(fstat(fd, &before));
  test_ready();
  test_wait();
  test_sleep_ms(20);
  memory[0]++;
  MUST(msync(memory, 8192, MS_SYNC));
  MUST(fstat(fd, &after));
  CHECK(after.st_mtim.tv_sec > before.st_mtim.tv_sec || after.st_mtim.tv_nsec > before.st_mtim.tv_nsec, "the time is the same");
  test_pass();
}
