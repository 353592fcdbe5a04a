// Files mapped beyond their end: a touch there is SIGBUS until the file grows, the rest of the last page is zero.
#include "check.h"
#include <setjmp.h>
#include <sys/mman.h>

enum { page = 4096, length = page + 100, size = 4 * page };
static sigjmp_buf back;
static void on_bus(int signal) { siglongjmp(back, signal); }

static bool reads(volatile char *address) {
  if (sigsetjmp(back, 1) != 0) return false;
  (void)*address;
  return true;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  int fd = MUST(open(test_path("short"), O_RDWR | O_CREAT, 0600));
  char content[length];
  test_fill(1, content, length);
  CHECK(write(fd, content, length) == length, "write");
  char *shared = MUST(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  char *private = MUST(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
  private[10] = 7; // its first page is its own
  signal(SIGBUS, on_bus);
  CHECK(!reads(shared + 2 * page) && !reads(private + 2 * page), "beyond the end there is something");
  test_ready();
  test_wait();
  CHECK(test_differs(1, shared, length) < 0, "the file's bytes");
  CHECK(private[10] == 7 && private[11] == content[11], "the private page");
  CHECK(test_not_zero(shared + length, 2 * page - length) < 0, "the rest of the last page");
  CHECK(!reads(shared + 2 * page) && !reads(private + 2 * page), "beyond the end there is something");
  MUST(ftruncate(fd, size));
  CHECK(reads(shared + 3 * page) && reads(private + 3 * page), "the file has grown, the mapping has not");
  shared[3 * page] = 9;
  char byte;
  CHECK(pread(fd, &byte, 1, 3 * page) == 1 && byte == 9, "what was written to the mapping is not in the file");
  test_pass();
}
