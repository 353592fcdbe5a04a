// For debuggers: three threads at known places of known call chains, and known values wherever a debugger looks.
#include "check.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum { island_offset = 32 << 20, island_room = 64 << 20 };

struct ledger {
  int count;
  const char *title;
  double balance;
  struct ledger *next;
};

struct ledger *book;
char greeting[64] = "as linked";
char *island;  // 64 MiB of which only one page in the middle is ever touched
static int ends[2];
static atomic_int arrived, stop;
static uint64_t seen_r12, seen_xmm7[2];

static void __attribute__((noinline)) wait_in_read(int descriptor) {
  char byte = 0;
  atomic_fetch_add(&arrived, 1);
  CHECK(read(descriptor, &byte, 1) == 1 && byte == '!', "the pipe gave another byte");
}

static void __attribute__((noinline)) level_two(int descriptor, int depth) {
  volatile int local_mark = 4200 + depth;
  wait_in_read(descriptor);
  CHECK(local_mark == 4202, "a local is %d", local_mark);
}

static void *reader(void *argument) {
  level_two(*(int *)argument, 2);
  return NULL;
}

/// Spins with known values in xmm7 and r12: a checkpoint anywhere in the loop must show them.
static void *spinner(void *argument) {
  static const uint64_t pattern[2] = {0x1122334455667788, 0x99aabbccddeeff00};
  (void)argument;
  atomic_fetch_add(&arrived, 1);
  __asm__ volatile(
      "movdqu %3, %%xmm7\n"
      "movabs $0x0123456789abcdef, %%r12\n"
      "1: pause\n"
      "cmpl $0, %2\n"
      "je 1b\n"
      "mov %%r12, %0\n"
      "movdqu %%xmm7, %1\n"
      : "=m"(seen_r12), "=m"(seen_xmm7)
      : "m"(stop), "m"(pattern)
      : "r12", "xmm7", "cc");
  return NULL;
}

static void __attribute__((noinline)) innermost(void) {
  volatile long answer = 42;
  test_wait();
  CHECK(answer == 42, "a local is %ld", answer);
}

static void __attribute__((noinline)) middle(const char *word) {
  innermost();
  CHECK(strcmp(word, "hello") == 0, "an argument is %s", word);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(pipe(ends));
  for (int i = 0; i < 3; i++) {
    struct ledger *entry = malloc(sizeof *entry);
    *entry = (struct ledger){i, i == 2 ? "the last entry" : "an entry", 1.5 * i, book};
    book = entry;
  }
  strcpy(greeting, "written at run time");
  island = MUST(mmap(NULL, island_room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  strcpy(island + island_offset, "an island");
  pthread_t threads[2];
  CHECK(pthread_create(&threads[0], NULL, reader, &ends[0]) == 0, "no thread");
  CHECK(pthread_create(&threads[1], NULL, spinner, NULL) == 0, "no thread");
  while (atomic_load(&arrived) < 2) test_sleep_ms(1);
  test_sleep_ms(20);  // into read and into the loop

  test_ready();
  middle("hello");

  atomic_store(&stop, 1);
  CHECK(write(ends[1], "!", 1) == 1, "the pipe is closed");
  for (int i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0, "no join");
  CHECK(seen_r12 == 0x0123456789abcdef, "r12 is %lx", seen_r12);
  CHECK(seen_xmm7[0] == 0x1122334455667788 && seen_xmm7[1] == 0x99aabbccddeeff00, "xmm7 differs");
  CHECK(strcmp(greeting, "written at run time") == 0, "greeting is %s", greeting);
  CHECK(book->count == 2 && book->next->next->count == 0, "the list differs");
  CHECK(strcmp(island + island_offset, "an island") == 0, "the island differs");
  CHECK(test_not_zero(island, island_offset) < 0, "the sea is not zero");
  test_pass();
}
