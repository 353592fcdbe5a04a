// Huge pages (hugetlbfs(5)): private, shared with a child, and of a memfd, with their content.
// alone: it changes how many huge pages the machine has
#include "check.h"
#include <sys/mman.h>

enum { size = 4 << 20 };

static char *map(int flags, int fd) { return mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0); }

static const char *pool = "/proc/sys/vm/nr_hugepages";
static void set_pool(const char *pages) {
  int fd = open(pool, O_WRONLY);
  if (fd < 0 || write(fd, pages, strlen(pages)) < 0) fprintf(stderr, "%s: %s\n", pool, strerror(errno));
  if (fd >= 0) close(fd);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  char *pages = test_read_file(pool);
  set_pool("16");
  char *private = map(MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
  if (private == MAP_FAILED) { // a machine without any to give
    test_ready();
    test_wait();
    test_pass();
  }
  char *shared = MUST(map(MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1));
  int fd = MUST(memfd_create("huge", MFD_HUGETLB));
  MUST(ftruncate(fd, size));
  char *file = MUST(map(MAP_SHARED, fd));
  test_fill(1, private, size / 2);
  test_fill(2, shared, size);
  test_fill(3, file, size);
  pid_t child = MUST(fork());
  if (child == 0) {
    test_child_ready(0);
    test_wait();
    CHECK(test_differs(2, shared, size) < 0, "what is shared differs in the child");
    shared[17] = 0;
    _exit(0);
  }
  test_await_child(0);
  private[5] = 0;
  test_ready();
  test_wait();
  test_reap(child);
  CHECK(private[5] == 0, "a byte of the private ones");
  private[5] = (char)test_byte(1, 5);
  CHECK(test_differs(1, private, size / 2) < 0, "the private ones differ");
  CHECK(test_not_zero(private + size / 2, size / 2) < 0, "what was never written");
  CHECK(shared[17] == 0, "what the child wrote does not show");
  shared[17] = (char)test_byte(2, 17);
  CHECK(test_differs(2, shared, size) < 0, "the shared ones differ");
  CHECK(test_differs(3, file, size) < 0, "the file's differ");
  char byte;
  CHECK(pread(fd, &byte, 1, 9) == 1 && byte == file[9], "what the descriptor reads");
  char *text = test_read_file("/proc/self/smaps"), prefix[32];
  char *all[] = {private, shared, file};
  for (int i = 0; i < 3; i++) {
    snprintf(prefix, sizeof prefix, "\n%lx-", (unsigned long)all[i]);
    char *entry = strstr(text, prefix);
    CHECK(entry != NULL && strtol(strstr(entry, "KernelPageSize:") + 15, NULL, 10) == 2048, "mapping %d has small pages", i);
  }
  munmap(private, size), munmap(shared, size), munmap(file, size), close(fd);
  set_pool(pages);
  test_pass();
}
