// Credentials that differ between the threads of a process: user ids and capabilities set by raw system calls.
#include "check.h"
#include <linux/capability.h>
#include <pthread.h>

static pthread_barrier_t set_up, told;

static void *thread(void *unused) {
  (void)unused;
  MUST(syscall(SYS_setresgid, 1501, 1501, 1501));
  MUST(syscall(SYS_setresuid, 1500, 1500, 1500));
  pthread_barrier_wait(&set_up);
  pthread_barrier_wait(&told);
  CHECK(syscall(SYS_getuid) == 1500 && syscall(SYS_getgid) == 1501, "the thread's ids are %ld, %ld", syscall(SYS_getuid), syscall(SYS_getgid));
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  MUST(syscall(SYS_capget, &header, data));
  CHECK(data[0].effective == 0 && data[0].permitted == 0, "the thread has capabilities");
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  pthread_t other;
  pthread_barrier_init(&set_up, NULL, 2);
  pthread_barrier_init(&told, NULL, 2);
  pthread_create(&other, NULL, thread, NULL);
  pthread_barrier_wait(&set_up);
  test_ready();
  test_wait();
  CHECK(syscall(SYS_getuid) == 0, "the main thread's user id is %ld", syscall(SYS_getuid));
  pthread_barrier_wait(&told);
  pthread_join(other, NULL);
  test_pass();
}
