// A small userfaultfd handler in a process of its own, for comparison: it reads the page from a file (warm cache) and
// installs that page, nothing more. "sleep" waits in poll(2), "spin" reads the descriptor in a loop. With "drain" it also
// copies 64 KiB pieces from the front while no fault waits.
//   uffd_handler sleep|spin idle|drain sequential|random THREADS TOUCHES MEGABYTES FILE
#include "touches.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { piece = 65536 };

static void must(int good, const char *what) {
  if (good) return;
  perror(what);
  exit(1);
}

static void install(int uffd, unsigned char *to, const void *from, size_t length) {
  while (length > 0) {
    struct uffdio_copy copy = {.dst = (unsigned long)to, .src = (unsigned long)from, .len = length};
    if (ioctl(uffd, UFFDIO_COPY, &copy) == 0) return;
    must(errno == EEXIST || errno == EAGAIN, "UFFDIO_COPY");
    size_t done = copy.copy > 0 ? (size_t)copy.copy : 0;
    if (copy.copy <= 0 && errno == EEXIST) {
      struct uffdio_range range = {(unsigned long)to, page};
      ioctl(uffd, UFFDIO_WAKE, &range);
      done = page;
    }
    to += done, from = (const char *)from + done, length -= done;
  }
}

static void serve(int uffd, int file, unsigned char *map, size_t size, int spin, int drain) {
  static unsigned char buffer[piece] __attribute__((aligned(4096)));
  size_t drained = drain ? 0 : size;
  for (;;) {
    struct uffd_msg message;
    ssize_t got = read(uffd, &message, sizeof message);
    if (got == sizeof message) {
      unsigned char *to = (unsigned char *)(message.arg.pagefault.address & ~4095ull);
      must(pread(file, buffer, page, to - map) == page, "pread");
      install(uffd, to, buffer, page);
    } else if (drained < size) {
      must(pread(file, buffer, piece, (off_t)drained) == piece, "pread");
      install(uffd, map + drained, buffer, piece);
      drained += piece;
    } else if (!spin) {
      struct pollfd wait = {uffd, POLLIN, 0};
      poll(&wait, 1, -1);
    }
  }
}

int main(int argc, char **argv) {
  if (argc != 8) return 2;
  int spin = strcmp(argv[1], "spin") == 0, drain = strcmp(argv[2], "drain") == 0;
  int random = strcmp(argv[3], "random") == 0;
  unsigned threads = (unsigned)atoi(argv[4]);
  uint64_t touches = strtoull(argv[5], NULL, 10), pages = strtoull(argv[6], NULL, 10) << 8;
  size_t size = pages * page;
  int file = open(argv[7], O_RDWR | O_CREAT, 0600);
  must(file >= 0, argv[7]);
  if (lseek(file, 0, SEEK_END) < (off_t)size) {
    uint64_t words[page / 8];
    for (uint64_t i = 0; i < pages; i++) {
      fill_page(words, i);
      must(pwrite(file, words, page, (off_t)(i * page)) == page, "pwrite");
    }
  }
  unsigned char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  must(map != MAP_FAILED, "mmap");
  madvise(map, size, MADV_NOHUGEPAGE);
  uint64_t *latencies = calloc(touches, 8);
  memset(latencies, 1, touches * 8);
  int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
  must(uffd >= 0, "userfaultfd");
  struct uffdio_api api = {.api = UFFD_API};
  must(ioctl(uffd, UFFDIO_API, &api) == 0, "UFFDIO_API");
  struct uffdio_register area = {{(unsigned long)map, size}, UFFDIO_REGISTER_MODE_MISSING, 0};
  must(ioctl(uffd, UFFDIO_REGISTER, &area) == 0, "UFFDIO_REGISTER");
  pid_t parent = getpid(), handler = fork();
  must(handler >= 0, "fork");
  if (handler == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    serve(uffd, file, map, size, spin, drain);
  }
  // An idle handler has gone to sleep, or spins; a draining one has just begun.
  if (!drain) usleep(20000);
  uint64_t total = timed_touches(map, pages, touches, random, threads, latencies);
  kill(handler, SIGKILL);
  if (total == 0) return 1;
  write_touches(stdout, total, latencies, touches);
  return 0;
}
