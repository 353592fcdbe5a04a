// A descriptor of shared anonymous memory, had through /proc/self/map_files: it is the same memory as the mapping.
#include "check.h"
#include <sys/mman.h>

enum { size = 8 * 4096 };

int main(int argc, char **argv) {
  test_init(argc, argv);
  char *memory = MUST(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  test_fill(1, memory, size);
  char path[64];
  snprintf(path, sizeof path, "/proc/self/map_files/%lx-%lx", (unsigned long)memory, (unsigned long)memory + size);
  int fd = MUST(open(path, O_RDWR));
  test_ready();
  test_wait();
  CHECK(test_differs(1, memory, size) < 0, "the memory differs");
  char byte = 7;
  CHECK(pwrite(fd, &byte, 1, 5000) == 1 && memory[5000] == 7, "what is written to the descriptor does not show");
  memory[1] = 9;
  CHECK(pread(fd, &byte, 1, 1) == 1 && byte == 9, "what is written to the memory does not show");
  test_pass();
}
