// Deleted files of all sorts: two links of one file both gone, a hole at either end, a file replaced by another under its name.
#include "check.h"

static void same(int fd, const char *text, off_t at) {
  char got[16] = "";
  CHECK(pread(fd, got, strlen(text), at) == (ssize_t)strlen(text) && strcmp(got, text) == 0, "%s is %s", text, got);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  int linked = MUST(open(test_path("one"), O_CREAT | O_RDWR, 0640)), other, tail, head, old, new, grown;
  MUST(write(linked, "linked", 6));
  MUST(link(test_path("one"), test_path("two")));
  other = MUST(open(test_path("two"), O_RDONLY));
  MUST(unlink(test_path("one")));
  MUST(unlink(test_path("two")));
  tail = MUST(open(test_path("tail"), O_CREAT | O_RDWR, 0600));
  MUST(write(tail, "tail", 4));
  MUST(ftruncate(tail, 0x120000000));
  head = MUST(open(test_path("head"), O_CREAT | O_RDWR, 0600));
  MUST(pwrite(head, "head", 4, 0x130000000));
  MUST(unlink(test_path("tail")));
  MUST(unlink(test_path("head")));
  old = MUST(open(test_path("name"), O_CREAT | O_RDWR | O_APPEND, 0600));
  MUST(write(old, "old", 3));
  MUST(unlink(test_path("name")));
  new = MUST(open(test_path("name"), O_CREAT | O_RDWR, 0604));
  MUST(write(new, "new", 3));
  grown = MUST(open(test_path("grown"), O_CREAT | O_RDWR | O_DSYNC, 0));
  MUST(fchown(grown, 12, 34));
  MUST(unlink(test_path("grown")));
  test_ready();
  test_wait();
  struct stat a, b;
  MUST(fstat(linked, &a));
  MUST(fstat(other, &b));
  CHECK(a.st_ino == b.st_ino && a.st_nlink == 0 && (a.st_mode & 07777) == 0640, "two links: %o, %d links", a.st_mode, (int)a.st_nlink);
  same(other, "linked", 0);
  MUST(fstat(tail, &a));
  CHECK(a.st_size == 0x120000000 && a.st_blocks < 100, "size %lx, %ld blocks", (long)a.st_size, (long)a.st_blocks);
  same(tail, "tail", 0);
  same(head, "head", 0x130000000);
  same(old, "old", 0);
  same(new, "new", 0);
  CHECK(fcntl(old, F_GETFL) & O_APPEND, "flags");
  CHECK(lseek(old, 0, SEEK_CUR) == 3, "position");
  MUST(fstat(new, &a));
  MUST(stat(test_path("name"), &b));
  CHECK(a.st_ino == b.st_ino, "the new file has lost its name");
  MUST(fstat(grown, &a));
  CHECK(a.st_uid == 12 && a.st_gid == 34 && (a.st_mode & 07777) == 0, "%d:%d, mode %o", a.st_uid, a.st_gid, a.st_mode);
  CHECK((fcntl(grown, F_GETFL) & O_DSYNC) != 0, "O_DSYNC");
  test_pass();
}
