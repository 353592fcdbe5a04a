// Runs the conformance test's operations on the real kernel, one at a time for each slot.
// Slots 0 and 1 are threads of the first process, slots 2 and up wait to become its forked children. Each slot takes
// text lines from a socket of its own (descriptor 3 + slot) and answers each with one line. Page contents are a 64-bit
// token at both ends of the page. Not a program to checkpoint: it does what it is told.
//   driver SOCKET SLOTS ARENA_PAGE PAGE_COUNT
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static const uint64_t page_bytes = 4096;
static _Thread_local sigjmp_buf landing;
static int slots;

static void on_signal(int number) {
  siglongjmp(landing, number);
}

static void die(const char* what) {
  perror(what);
  _exit(1);
}

static void send_descriptor(const char* path, int fd) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  int link = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(link, (struct sockaddr*)&address, sizeof address) != 0) die("connect");
  char byte = 0, control[CMSG_SPACE(sizeof fd)];
  memset(control, 0, sizeof control);
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  if (sendmsg(link, &message, 0) != 1) die("sendmsg");
  close(link);
}

static void answer(int fd, const char* format, long long value) {
  char line[64];
  int length = snprintf(line, sizeof line, format, value);
  if (write(fd, line, length) != length) _exit(1);
}

static void answer_result(int fd, long long result) {
  if (result == -1) answer(fd, "errno %lld\n", errno);
  else answer(fd, "value %lld\n", result);
}

static void touch(int fd, uint64_t page, int is_write, int64_t token) {
  volatile int64_t* words = (volatile int64_t*)(page * page_bytes);
  int number = sigsetjmp(landing, 1);
  if (number != 0) {
    answer(fd, number == SIGBUS ? "bus\n" : "segv\n", 0);
    return;
  }
  // A write faults as one: it does not read first.
  int64_t old = is_write ? __atomic_exchange_n(&words[0], token, __ATOMIC_SEQ_CST) : words[0];
  int64_t last = words[511];
  if (is_write) words[511] = token;
  answer(fd, old == last ? "token %lld\n" : "torn %lld\n", old);
}

static void serve(int slot);

static void run(int slot, char* line) {
  int fd = 3 + slot;
  char name[16];
  unsigned long long a = 0, b = 0, c = 0, d = 0, e = 0;
  long long token = 0;
  if (sscanf(line, "%15s %llu %llu %llu %llu %llu", name, &a, &b, &c, &d, &e) < 1) _exit(1);
  char* start = (char*)(a * page_bytes);
  if (strcmp(name, "read") == 0) touch(fd, a, 0, 0);
  else if (strcmp(name, "write") == 0 && sscanf(line, "%*s %*u %lld", &token) == 1) touch(fd, a, 1, token);
  else if (strcmp(name, "madvise") == 0) answer_result(fd, madvise(start, b * page_bytes, (int)c));
  else if (strcmp(name, "munmap") == 0) answer_result(fd, munmap(start, b * page_bytes));
  else if (strcmp(name, "mprotect") == 0) answer_result(fd, mprotect(start, b * page_bytes, (int)c));
  else if (strcmp(name, "mmap") == 0) {
    void* at = mmap(start, b * page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    answer_result(fd, at == MAP_FAILED ? -1 : (long long)((uint64_t)at / page_bytes));
  } else if (strcmp(name, "mremap") == 0) {
    void* at = mremap(start, b * page_bytes, c * page_bytes, (int)d, (char*)(e * page_bytes));
    answer_result(fd, at == MAP_FAILED ? -1 : (long long)((uint64_t)at / page_bytes));
  } else if (strcmp(name, "fork") == 0) {
    // By the system call: glibc's fork() would run handlers that touch more memory.
    long pid = syscall(SYS_fork);
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      answer(3 + (int)a, "value %lld\n", 0);
      serve((int)a);
      _exit(0);
    }
    answer_result(fd, pid < 0 ? -1 : 0);
  } else if (strcmp(name, "tid") == 0) answer(fd, "value %lld\n", syscall(SYS_gettid));
  else if (strcmp(name, "exit") == 0) _exit(0);
  else _exit(1);
}

static void serve(int slot) {
  char line[256];
  size_t length = 0;
  while (read(3 + slot, &line[length], 1) == 1) {
    if (line[length] == '\n') {
      line[length] = 0;
      run(slot, line);
      length = 0;
    } else if (++length == sizeof line) _exit(1);
  }
}

static void* thread_body(void* slot) {
  serve((int)(intptr_t)slot);
  _exit(0);
}

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  slots = atoi(argv[2]);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_NODEFER};
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGBUS, &action, NULL);
  // One mapping with nothing above or below it, so that only the test's own operations split and merge it.
  char* arena = (char*)(strtoull(argv[3], NULL, 10) * page_bytes);
  size_t length = strtoull(argv[4], NULL, 10) * page_bytes;
  if (mmap(arena, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != arena)
    die("mmap");
  if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0) die("prctl");
  int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
  if (uffd < 0) die("userfaultfd");
  send_descriptor(argv[1], uffd);
  close(uffd);
  pthread_t other;
  if (pthread_create(&other, NULL, thread_body, (void*)(intptr_t)1) != 0) die("pthread_create");
  serve(0);
  _exit(0);
}
