// Asks the kernel whether the events of two threads that change their layout at the same moment come in the order of the
// changes; they do not (docs/kernel.md). One thread unmaps a range while another moves memory there; a third reads the events. Whatever the order of the
// two calls, the last event about the range should say what is there at the end.
//
//   event_order ROUNDS [PAUSE_NS]     prints what was there at the end and which events had come; PAUSE_NS spreads the second call over that time
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { page = 4096, length = 16 * page };

static unsigned char *const target = (unsigned char *)0x200000000000ull;
static unsigned char *const source = (unsigned char *)0x200100000000ull;
static int uffd;
static atomic_long turn, finished;
static long pause_ns;

static void must(bool fine, const char *what) {
  if (fine) return;
  perror(what);
  exit(2);
}

static void make(unsigned char *at) {
  must(mmap(at, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == at, "mmap");
  struct uffdio_register range = {.range = {(uintptr_t)at, length}, .mode = UFFDIO_REGISTER_MODE_MISSING};
  must(ioctl(uffd, UFFDIO_REGISTER, &range) == 0, "UFFDIO_REGISTER");
}

static long await_turn(long last) {
  long now;
  for (unsigned spins = 0; (now = atomic_load(&turn)) == last;)
    if (++spins % 256 == 0) sched_yield();
  return now;
}

static void *unmapper(void *unused) {
  (void)unused;
  for (long last = 0;;) {
    last = await_turn(last);
    if (last < 0) return NULL;
    must(munmap(target, length) == 0, "munmap");
    atomic_fetch_add(&finished, 1);
  }
}

// Moves to the target as soon as it is free. Without MREMAP_FIXED over something: the move itself unmaps nothing there.
static void *mover(void *unused) {
  (void)unused;
  for (long last = 0;;) {
    last = await_turn(last);
    if (last < 0) return NULL;
    for (volatile long n = pause_ns == 0 ? 0 : random() % pause_ns; n > 0; n--) continue;
    must(mremap(source, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target, "mremap");
    atomic_fetch_add(&finished, 1);
  }
}

// What the events say of the target so far: 1 mapped, 0 not; `names` is their order.
static int said = 1;
static char names[16];

static void take(const struct uffd_msg *message) {
  size_t count = strlen(names);
  if (message->event == UFFD_EVENT_UNMAP && message->arg.remove.start == (uintptr_t)target) said = 0, names[count] = 'U';
  else if (message->event == UFFD_EVENT_UNMAP) names[count] = 'u';
  else if (message->event == UFFD_EVENT_REMAP) said = 1, names[count] = 'R';
}

// How often each end was seen with each order of events.
static struct seen {
  bool there, told;
  char names[16];
  long count;
} seen[64];

static void note(bool there) {
  struct seen *at = seen;
  while (at < seen + 63 && at->count > 0 && (at->there != there || strcmp(at->names, names) != 0)) at++;
  at->there = there, at->told = said == 1, at->count++;
  memcpy(at->names, names, sizeof names);
}

static void read_until_finished(void) {
  struct pollfd wait = {uffd, POLLIN, 0};
  do {
    struct uffd_msg message;
    while (read(uffd, &message, sizeof message) == (ssize_t)sizeof message) take(&message);
    if (atomic_load(&finished) < 2) poll(&wait, 1, 1);
  } while (atomic_load(&finished) < 2);
}

static bool is_mapped(unsigned char *at) {
  unsigned char vector[length / page];
  return mincore(at, length, vector) == 0;
}

int main(int argc, char **argv) {
  long rounds = argc > 1 ? atol(argv[1]) : 20000;
  pause_ns = argc > 2 ? atol(argv[2]) : 4000;
  uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
  struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_UNMAP};
  must(uffd >= 0 && ioctl(uffd, UFFDIO_API, &api) == 0, "userfaultfd");
  pthread_t threads[2];
  must(pthread_create(&threads[0], NULL, unmapper, NULL) == 0, "pthread_create");
  must(pthread_create(&threads[1], NULL, mover, NULL) == 0, "pthread_create");
  for (long round = 1; round <= rounds; round++) {
    make(target);
    make(source);
    said = 1;
    memset(names, 0, sizeof names);
    atomic_store(&finished, 0);
    atomic_store(&turn, round);
    read_until_finished();
    const bool there = is_mapped(target);
    note(there);
    // The monitor's own munmap would wait for itself: what is left is taken away once nothing is registered.
    struct uffdio_range range = {(uintptr_t)target, length};
    if (there) must(ioctl(uffd, UFFDIO_UNREGISTER, &range) == 0 && munmap(target, length) == 0, "clean up");
  }
  atomic_store(&turn, -1);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  printf("U: the target was unmapped, R: memory moved to it, u: its old place was unmapped\n");
  long wrong = 0;
  for (struct seen *at = seen; at < seen + 64 && at->count > 0; at++) {
    bool right = at->there == at->told;
    if (!right) wrong += at->count;
    printf("%8ld  events %-6s then the target is %-8s %s\n", at->count, at->names, at->there ? "mapped" : "unmapped", right ? "" : "  NOT AS THE EVENTS SAY");
  }
  printf("%ld of %ld rounds ended otherwise than their events say\n", wrong, rounds);
  return 0;
}
