// Files deleted while open: with content, positions, modes and owners; one opened twice; one with a hole; one replaced since.
#include "check.h"
#include <sys/mman.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  char bytes[20000], got[20000];
  test_fill(1, bytes, sizeof bytes);
  int first = MUST(open(test_path("gone"), O_CREAT | O_RDWR, 0640));
  MUST(write(first, bytes, sizeof bytes));
  MUST(fchown(first, 1234, 4321));
  int second = MUST(open(test_path("gone"), O_RDONLY));
  MUST(lseek(first, 500, SEEK_SET));
  MUST(lseek(second, 7000, SEEK_SET));
  MUST(unlink(test_path("gone")));
  int sparse = MUST(open(test_path("sparse"), O_CREAT | O_RDWR, 0600));
  MUST(pwrite(sparse, "end", 3, 10 << 20));
  MUST(unlink(test_path("sparse")));
  int replaced = MUST(open(test_path("replaced"), O_CREAT | O_RDWR, 0600));
  MUST(write(replaced, "old", 3));
  MUST(unlink(test_path("replaced")));
  int newer = MUST(open(test_path("replaced"), O_CREAT | O_RDWR, 0600));
  MUST(write(newer, "newer", 5));
  test_ready();
  test_wait();
  struct stat status;
  MUST(fstat(first, &status));
  CHECK(status.st_nlink == 0 && (status.st_mode & 07777) == 0640 && status.st_uid == 1234 && status.st_gid == 4321,
        "names %ld, mode 0%o, owner %u:%u", (long)status.st_nlink, status.st_mode & 07777, status.st_uid, status.st_gid);
  CHECK(lseek(first, 0, SEEK_CUR) == 500 && lseek(second, 0, SEEK_CUR) == 7000, "positions");
  CHECK(pread(first, got, sizeof got, 0) == sizeof got && memcmp(got, bytes, sizeof got) == 0, "content");
  MUST(pwrite(first, "changed", 7, 0));
  CHECK(pread(second, got, 7, 0) == 7 && memcmp(got, "changed", 7) == 0, "the two descriptors are of two files");
  MUST(fstat(sparse, &status));
  CHECK(status.st_size == (10 << 20) + 3 && status.st_blocks * 512 < 1 << 20, "the sparse file: %ld bytes, %ld blocks", (long)status.st_size, (long)status.st_blocks);
  CHECK(pread(sparse, got, 3, 10 << 20) == 3 && memcmp(got, "end", 3) == 0, "content of the sparse file");
  CHECK(pread(replaced, got, 10, 0) == 3 && memcmp(got, "old", 3) == 0, "the replaced file's old content");
  CHECK(pread(newer, got, 10, 0) == 5 && memcmp(got, "newer", 5) == 0, "the replacing file's content");
  CHECK(access(test_path("gone"), F_OK) == -1, "the deleted file is back under its name");
  test_pass();
}
