// Thread-local storage: FS bases, thread variables of eight threads, thread-specific data, and a GS base.
#include "check.h"
#include <asm/prctl.h>
#include <pthread.h>

static __thread uint64_t mine = 1;
static __thread char block[3000];
static pthread_key_t key;
static pthread_barrier_t set_up, told;
static int gs_target[4] = {11, 22, 33, 44};

static void *thread(void *argument) {
  uintptr_t n = (uintptr_t)argument;
  mine = n * 1000003;
  test_fill((unsigned)n, block, sizeof block);
  pthread_setspecific(key, (void *)(n + 77));
  unsigned long fs_before = 0, fs_after = 0;
  MUST(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs_before));
  if (n == 3) MUST(syscall(SYS_arch_prctl, ARCH_SET_GS, gs_target + 2));
  pthread_barrier_wait(&set_up);
  pthread_barrier_wait(&told);
  MUST(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs_after));
  CHECK(fs_before == fs_after, "FS base of thread %lu changed", n);
  CHECK(mine == n * 1000003, "a thread variable of thread %lu changed", n);
  CHECK(test_differs((unsigned)n, block, sizeof block) < 0, "thread block %lu differs", n);
  CHECK(pthread_getspecific(key) == (void *)(n + 77), "thread-specific data %lu differs", n);
  if (n == 3) {
    int value;
    __asm__ volatile("movl %%gs:0,%0" : "=r"(value));
    CHECK(value == 33, "GS base: read %d", value);
  }
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  pthread_t threads[8];
  pthread_key_create(&key, NULL);
  pthread_barrier_init(&set_up, NULL, 9);
  pthread_barrier_init(&told, NULL, 9);
  for (uintptr_t i = 0; i < 8; i++) pthread_create(&threads[i], NULL, thread, (void *)i);
  mine = 0xfeedface;
  pthread_barrier_wait(&set_up);
  test_ready();
  test_wait();
  pthread_barrier_wait(&told);
  for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
  CHECK(mine == 0xfeedface, "the main thread's variable changed");
  test_pass();
}
