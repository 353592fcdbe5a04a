// Memory that the kernel may drop (MAP_DROPPABLE): it is there, writable, and either what was written or zero.
#include "check.h"
#include <sys/mman.h>
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif

enum { size = 16 * 4096 };

static bool is_droppable(void *address) {
  char *text = test_read_file("/proc/self/smaps"), prefix[32];
  snprintf(prefix, sizeof prefix, "\n%lx-", (unsigned long)address);
  char *entry = strstr(text, prefix);
  CHECK(entry != NULL, "no mapping begins at %p", address);
  char *line = strstr(entry, "VmFlags: ");
  *strchr(line, '\n') = 0;
  bool found = strstr(line, " dp") != NULL;
  free(text);
  return found;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_DROPPABLE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED && errno == EINVAL) { // before Linux 6.11
    test_ready();
    test_wait();
    test_pass();
  }
  MUST(memory);
  test_fill(1, memory, size);
  CHECK(is_droppable(memory), "it is no droppable memory");
  test_ready();
  test_wait();
  for (size_t page = 0; page < size; page += 4096) {
    bool same = true, zero = true;
    for (size_t i = page; i < page + 4096; i++) {
      same = same && (unsigned char)memory[i] == test_byte(1, i);
      zero = zero && memory[i] == 0;
    }
    CHECK(same || zero, "page %zu is neither what was written nor zero", page / 4096);
  }
  CHECK(is_droppable(memory), "it is no droppable memory any more");
  memset(memory, 7, size);
  test_pass();
}
