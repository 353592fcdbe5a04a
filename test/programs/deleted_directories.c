// A working directory that is deleted, one open and deleted, and a file deleted together with its directory.
#include "check.h"

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(mkdir(test_path("home"), 0750));
  MUST(mkdir(test_path("open"), 0700));
  MUST(mkdir(test_path("gone"), 0700));
  int fd = MUST(open(test_path("open"), O_RDONLY | O_DIRECTORY));
  int file = MUST(open(test_path("gone/file"), O_CREAT | O_RDWR, 0600));
  MUST(write(file, "content", 7));
  MUST(unlink(test_path("gone/file")));
  MUST(chdir(test_path("home")));
  uid_t owner = geteuid() == 0 ? 65534 : geteuid();
  MUST(chown(test_path("home"), owner, (gid_t)-1));
  MUST(chmod(test_path("home"), 01757)); // more than the file mode creation mask lets through
  MUST(rmdir(test_path("home")));
  MUST(rmdir(test_path("open")));
  MUST(rmdir(test_path("gone")));
  test_ready();
  test_wait();
  char text[PATH_MAX];
  CHECK(getcwd(text, sizeof text) == NULL && errno == ENOENT, "the working directory is there again: %s", text);
  struct stat stat1, stat2;
  MUST(stat(".", &stat1));
  CHECK(S_ISDIR(stat1.st_mode) && (stat1.st_mode & 07777) == 01757 && stat1.st_nlink == 0, "mode 0%o", stat1.st_mode);
  CHECK(stat1.st_uid == owner, "it is user %u's", stat1.st_uid);
  MUST(fstat(fd, &stat2));
  CHECK(S_ISDIR(stat2.st_mode) && stat2.st_nlink == 0, "the open directory");
  CHECK(pread(file, text, 16, 0) == 7 && memcmp(text, "content", 7) == 0, "content");
  CHECK(access(test_path("home"), F_OK) == -1 && access(test_path("open"), F_OK) == -1 && access(test_path("gone"), F_OK) == -1, "a deleted name is back");
  test_pass();
}
