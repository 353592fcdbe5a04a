// O_PATH of what cannot be opened: symbolic links, one of them deleted, a fifo, a deleted file; and a renamed directory.
// criu: it takes a fifo held by O_PATH for an open one
#include "check.h"

static mode_t kind(int fd) {
  struct stat stat;
  MUST(fstat(fd, &stat));
  return stat.st_mode & S_IFMT;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(chdir(test_path(".")));
  MUST(symlink("nowhere", "link"));
  MUST(symlink("lost", "gone"));
  MUST(mkfifo("fifo", 0600));
  MUST(mkdir("folder", 0755));
  int write_end = MUST(open("file", O_CREAT | O_RDWR, 0600));
  MUST(write(write_end, "content", 7));
  MUST(close(write_end));
  int link = MUST(open("link", O_PATH | O_NOFOLLOW)), gone = MUST(open("gone", O_PATH | O_NOFOLLOW));
  int fifo = MUST(open("fifo", O_PATH)), folder = MUST(open("folder", O_PATH)), file = MUST(open("file", O_PATH));
  MUST(rename("folder", "renamed"));
  MUST(unlink("gone"));
  MUST(unlink("file"));
  test_ready();
  test_wait();
  CHECK(kind(link) == S_IFLNK && kind(gone) == S_IFLNK && kind(fifo) == S_IFIFO && kind(folder) == S_IFDIR, "kinds");
  char text[64];
  CHECK(readlinkat(link, "", text, 32) == 7 && memcmp(text, "nowhere", 7) == 0, "the link");
  CHECK(readlinkat(gone, "", text, 32) == 4 && memcmp(text, "lost", 4) == 0, "the deleted link");
  CHECK(access("gone", F_OK) == -1 && access("file", F_OK) == -1, "deleted names are back");
  CHECK((fcntl(fifo, F_GETFL) & O_PATH) && (fcntl(file, F_GETFL) & O_PATH), "flags");
  snprintf(text, sizeof text, "/proc/self/fd/%d", file);
  int reader = MUST(open(text, O_RDONLY));
  CHECK(read(reader, text, 16) == 7 && memcmp(text, "content", 7) == 0, "the deleted file");
  test_pass();
}
