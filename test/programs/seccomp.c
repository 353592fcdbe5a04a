// Seccomp filters: two of them stacked on one thread, one of them on another, none on a third.
#include "check.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

static pthread_barrier_t set_up, told;

// From now on the system call `number` fails with `error`.
static void refuse(int number, int error) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof code / sizeof code[0], code};
  MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}

static void *thread(void *argument) {
  int filters = (int)(uintptr_t)argument;
  if (filters >= 1) refuse(SYS_sysinfo, ENOTTY);
  if (filters >= 2) refuse(SYS_uname, EDOM);
  pthread_barrier_wait(&set_up);
  pthread_barrier_wait(&told);
  struct sysinfo info;
  struct utsname name;
  int got = sysinfo(&info), error = errno;
  CHECK(filters >= 1 ? got == -1 && error == ENOTTY : got == 0, "%d filters: sysinfo gave %d, errno %d", filters, got, error);
  got = uname(&name), error = errno;
  CHECK(filters >= 2 ? got == -1 && error == EDOM : got == 0, "%d filters: uname gave %d, errno %d", filters, got, error);
  CHECK(prctl(PR_GET_SECCOMP) == (filters > 0 ? 2 : 0), "%d filters: mode %d", filters, prctl(PR_GET_SECCOMP));
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  pthread_t threads[3];
  pthread_barrier_init(&set_up, NULL, 4);
  pthread_barrier_init(&told, NULL, 4);
  for (uintptr_t i = 0; i < 3; i++) pthread_create(&threads[i], NULL, thread, (void *)i);
  pthread_barrier_wait(&set_up);
  test_ready();
  test_wait();
  pthread_barrier_wait(&told);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  test_pass();
}
