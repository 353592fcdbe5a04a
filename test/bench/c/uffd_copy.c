// How fast UFFDIO_COPY of 64 KiB pieces fills memory: from one hot buffer, and after pread(2) of a cached file.
// Prints both as MB (10^6 bytes) a second: "HOT PREAD".
//   uffd_copy MEGABYTES FILE
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { piece = 65536 };
static unsigned char buffer[piece] __attribute__((aligned(4096)));

static void must(int good, const char *what) {
  if (good) return;
  perror(what);
  exit(1);
}

static double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double fill(int uffd, size_t size, int file) {
  unsigned char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  must(map != MAP_FAILED, "mmap");
  madvise(map, size, MADV_NOHUGEPAGE);
  struct uffdio_register area = {{(unsigned long)map, size}, UFFDIO_REGISTER_MODE_MISSING, 0};
  must(ioctl(uffd, UFFDIO_REGISTER, &area) == 0, "UFFDIO_REGISTER");
  double start = now_s();
  for (size_t at = 0; at < size; at += piece) {
    if (file >= 0) must(pread(file, buffer, piece, (off_t)at) == piece, "pread");
    struct uffdio_copy copy = {.dst = (unsigned long)map + at, .src = (unsigned long)buffer, .len = piece};
    must(ioctl(uffd, UFFDIO_COPY, &copy) == 0, "UFFDIO_COPY");
  }
  double rate = (double)size / 1e6 / (now_s() - start);
  munmap(map, size);
  return rate;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  size_t size = (size_t)strtoull(argv[1], NULL, 10) << 20;
  int file = open(argv[2], O_RDWR | O_CREAT, 0600);
  must(file >= 0, argv[2]);
  memset(buffer, 0x5a, piece);
  for (off_t at = lseek(file, 0, SEEK_END); at < (off_t)size; at += piece)
    must(pwrite(file, buffer, piece, at) == piece, "pwrite");
  int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
  must(uffd >= 0, "userfaultfd");
  struct uffdio_api api = {.api = UFFD_API};
  must(ioctl(uffd, UFFDIO_API, &api) == 0, "UFFDIO_API");
  double hot = fill(uffd, size, -1);
  printf("%.1f %.1f\n", hot, fill(uffd, size, file));
  return 0;
}
