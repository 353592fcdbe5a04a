// Puts files out of the page cache and prints how many of their pages are still there.
//   uncache FILE...
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static size_t cached(int fd, size_t size) {
  size_t pages = (size + 4095) / 4096, count = 0;
  if (pages == 0) return 0;
  void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
  unsigned char *there = malloc(pages);
  if (map == MAP_FAILED || there == NULL || mincore(map, size, there) != 0) exit(1);
  for (size_t i = 0; i < pages; i++) count += there[i] & 1;
  munmap(map, size);
  free(there);
  return count;
}

int main(int argc, char **argv) {
  size_t left = 0;
  for (int i = 1; i < argc; i++) {
    struct stat stat;
    int fd = open(argv[i], O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &stat) != 0 || fdatasync(fd) != 0) {
      perror(argv[i]);
      return 1;
    }
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    left += cached(fd, (size_t)stat.st_size);
    close(fd);
  }
  printf("%zu\n", left);
  return 0;
}
