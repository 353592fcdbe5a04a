// Files on tmpfs: open and mapped, one of them deleted while in use.
#include "check.h"
#include <sys/mman.h>

enum { page = 4096, pages = 20 };

int main(int argc, char **argv) {
  test_init(argc, argv);
  char kept[64], deleted[64];
  snprintf(kept, sizeof kept, "/dev/shm/faultline-test-%d", getpid());
  snprintf(deleted, sizeof deleted, "/dev/shm/faultline-test-%d-deleted", getpid());
  int a = MUST(open(kept, O_CREAT | O_EXCL | O_RDWR, 0600)), b = MUST(open(deleted, O_CREAT | O_EXCL | O_RDWR, 0600));
  MUST(ftruncate(a, pages * page));
  MUST(ftruncate(b, pages * page));
  char *map_a = MUST(mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_SHARED, a, 0));
  char *map_b = MUST(mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_SHARED, b, 0));
  test_fill(1, map_a, pages * page);
  test_fill(2, map_b, pages * page);
  MUST(unlink(deleted));
  test_ready();
  test_wait();
  CHECK(test_differs(1, map_a, pages * page) < 0, "the kept file's mapping differs");
  CHECK(test_differs(2, map_b, pages * page) < 0, "the deleted file's mapping differs");
  char bytes[page];
  test_fill(3, map_b + page, page);
  CHECK(pread(b, bytes, page, page) == page && test_differs(3, bytes, page) < 0, "the deleted file's descriptor and mapping are apart");
  struct stat status;
  MUST(fstat(b, &status));
  CHECK(status.st_nlink == 0, "the deleted file has %ld names", (long)status.st_nlink);
  CHECK(access(deleted, F_OK) == -1, "the deleted file is back under its name");
  MUST(unlink(kept));
  test_pass();
}
