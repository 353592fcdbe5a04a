// A file deleted under the name it was opened by, while another name of it remains; open twice and mapped.
// options: --link-remap
#include "check.h"
#include <dirent.h>
#include <sys/mman.h>

static bool has_remap_link(void) {
  DIR *folder = opendir(test_path("."));
  bool found = false;
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) found |= strncmp(entry->d_name, "link_remap", 10) == 0;
  closedir(folder);
  return found;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  int fd = MUST(open(test_path("first"), O_CREAT | O_RDWR, 0600));
  MUST(write(fd, "content", 7));
  int again = MUST(open(test_path("first"), O_RDONLY));
  char *mapped = MUST(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  MUST(link(test_path("first"), test_path("second")));
  MUST(unlink(test_path("first")));
  test_ready();
  test_wait();
  char got[16];
  CHECK(pread(fd, got, 16, 0) == 7 && memcmp(got, "content", 7) == 0, "content");
  CHECK(lseek(fd, 0, SEEK_CUR) == 7 && lseek(again, 0, SEEK_CUR) == 0, "positions");
  MUST(pwrite(fd, "CON", 3, 0));
  mapped[3] = 'T';
  CHECK(read(again, got, 16) == 7 && memcmp(got, "CONTent", 7) == 0, "the two descriptors and the mapping are not one file");
  int other = MUST(open(test_path("second"), O_RDONLY));
  CHECK(read(other, got, 16) == 7 && memcmp(got, "CONTent", 7) == 0, "the descriptor and the other name are two files");
  CHECK(access(test_path("first"), F_OK) == -1, "the deleted name is back");
  CHECK(!has_remap_link(), "a name that the dump made is left");
  test_pass();
}
