// Does the steps of a recorded trace to memory of its own, lazy as after a restore, and notes what each touch took and found.
//   replay FILE     a shared file: one struct header, then one struct operation after another
// The root's steps begin at operation 0 and end at `end`; a fork's child goes on at the operation that it names.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { page_bytes = 4096 };
enum { end, map, ready, read_page, write_page, remap, remove_pages, unmap, fork_child };
enum { done = 1, not_mapped = 2, refused = 3 };

struct header {
  _Atomic uint32_t state;  // 0: not ready; 1: the userfaultfd is there; 2: go
  int32_t uffd;
  uint64_t reserved[7];
};

struct operation {
  uint32_t kind, child;
  uint64_t page, count, to;
  uint64_t latency_ns;
  uint32_t hash[2];
  uint32_t status, error;
};

static struct header *header;
static struct operation *operations;
static sigjmp_buf touching;

static void must(int good, const char *what) {
  if (good) return;
  perror(what);
  _exit(1);
}

static void no_memory(int signal) { siglongjmp(touching, signal); }

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

// A write leaves the bytes as they are, so that every page keeps what the image has.
static void touch(struct operation *op) {
  volatile uint32_t *words = (uint32_t *)(op->page * page_bytes);
  if (sigsetjmp(touching, 1) != 0) {
    op->status = not_mapped;
    return;
  }
  uint64_t start = now_ns();
  if (op->kind == write_page) __atomic_fetch_add((uint32_t *)words, 0, __ATOMIC_SEQ_CST);
  else (void)words[0];
  op->latency_ns = now_ns() - start;
  uint32_t first = 1, second = 2;
  for (int i = 0; i < page_bytes / 4; i++) {
    first = first * 31 + words[i];
    second = second * 0x01000193 ^ words[i];
  }
  op->hash[0] = first;
  op->hash[1] = second;
  op->status = done;
}

static void result(struct operation *op, long value) {
  op->status = value < 0 ? refused : done;
  op->error = value < 0 ? (uint32_t)errno : 0;
}

static void *address(uint64_t page) { return (void *)(page * page_bytes); }

static void become_lazy(struct operation *op) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
  int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
  must(uffd >= 0, "userfaultfd");
  struct uffdio_api api = {UFFD_API, 0, 0};
  api.features = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP;
  must(ioctl(uffd, UFFDIO_API, &api) == 0, "UFFDIO_API");
  for (; op->kind == map; op++) {
    void *area = mmap(address(op->page), op->count * page_bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    must(area == address(op->page), "mmap");
    struct uffdio_register area_register = {{(uintptr_t)area, op->count * page_bytes}, UFFDIO_REGISTER_MODE_MISSING, 0};
    must(ioctl(uffd, UFFDIO_REGISTER, &area_register) == 0, "UFFDIO_REGISTER");
  }
  header->uffd = uffd;
  atomic_store(&header->state, 1);
  const struct timespec pause = {0, 1000000};
  while (atomic_load(&header->state) != 2) nanosleep(&pause, NULL);
  close(uffd);
}

static struct operation *step(struct operation *op) {
  switch (op->kind) {
    case read_page:
    case write_page:
      touch(op);
      break;
    case remap: {
      // What the recorded program left behind it tells by an unmap of its own.
      int flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
      size_t length = op->count * page_bytes;
      result(op, (long)mremap(address(op->page), length, length, flags, address(op->to)));
      break;
    }
    case remove_pages: {
      long value = madvise(address(op->page), op->count * page_bytes, MADV_DONTNEED);
      result(op, value < 0 && errno == ENOMEM ? 0 : value);  // ENOMEM: all that is mapped was dropped
      break;
    }
    case unmap:
      result(op, munmap(address(op->page), op->count * page_bytes));
      break;
    case fork_child: {
      long pid = fork();
      if (pid == 0) return operations + op->child;
      result(op, pid);
    }
  }
  return op + 1;
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  int file = open(argv[1], O_RDWR | O_CLOEXEC);
  struct stat stat;
  must(file >= 0 && fstat(file, &stat) == 0, argv[1]);
  header = mmap(NULL, (size_t)stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  must(header != MAP_FAILED, "mmap");
  operations = (struct operation *)(header + 1);
  signal(SIGSEGV, no_memory);
  signal(SIGBUS, no_memory);
  become_lazy(operations);
  for (struct operation *op = operations; op->kind != end;) op = op->kind <= ready ? op + 1 : step(op);
  while (wait(NULL) > 0 || errno == EINTR) continue;
  return 0;
}
