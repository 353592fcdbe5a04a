// Threads that watch themselves all the time: registers, flags and red zone in loops, calls that block, signals in flight.
// With the argument "block", the first thread waits in read(2) instead of watching its registers. SCRATCH/beats holds a
// 64-bit counter for each thread that goes round and round, and one of EINTRs that no handler explains: epoll_wait(2) says so
// to any wake-up, and only a tracer that lives can put it right.
#include "check.h"
#include <cpuid.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/time.h>

enum { RED_ZONE_WORDS = 16, GENERAL_WORDS = 16, ROUNDS_PER_LOOK = 16 };
enum { BEAT_FIRST, BEAT_GENERAL, BEAT_VECTORS, BEAT_PING, WAKE_UPS };

struct watched {
  uint64_t stored[GENERAL_WORDS];  // r15 ... rax as pushed below, then the flags
  uint64_t red_zone[RED_ZONE_WORDS];
};

// Puts a constant into every general register, all arithmetic flags and the direction flag, and sixteen words below the
// stack pointer; waits without changing any of them but rcx; stores what is there then.
void watch_general(struct watched *found);
__asm__(
    ".text\n.globl watch_general\nwatch_general:\n"
    " push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n push %rdi\n"
    " mov $0x5afe5afe5afe5afe,%rax\n mov $-16,%rcx\n"
    "1: mov %rax,(%rsp,%rcx,8)\n inc %rcx\n jnz 1b\n"
    " mov $0x7fffffffffffffff,%rax\n add $1,%rax\n"  // overflow, sign and auxiliary carry are set
    " stc\n std\n"
    " mov $0x1111111111111111,%rax\n mov $0x2222222222222222,%rbx\n mov $0x3333333333333333,%rdx\n"
    " mov $0x4444444444444444,%rsi\n mov $0x5555555555555555,%rdi\n mov $0x6666666666666666,%rbp\n"
    " mov $0x7777777777777777,%r8\n mov $0x8888888888888888,%r9\n mov $0x9999999999999999,%r10\n"
    " mov $0xaaaaaaaaaaaaaaaa,%r11\n mov $0xbbbbbbbbbbbbbbbb,%r12\n mov $0xcccccccccccccccc,%r13\n"
    " mov $0xdddddddddddddddd,%r14\n mov $0xeeeeeeeeeeeeeeee,%r15\n mov $500,%rcx\n"
    "2: pause\n lea -1(%rcx),%rcx\n jrcxz 3f\n jmp 2b\n"
    "3: lea -256(%rsp),%rsp\n pushfq\n"
    " push %rax\n push %rbx\n push %rcx\n push %rdx\n push %rsi\n push %rdi\n push %rbp\n push %r8\n"
    " push %r9\n push %r10\n push %r11\n push %r12\n push %r13\n push %r14\n push %r15\n"
    " cld\n mov 384(%rsp),%rdi\n xor %ecx,%ecx\n"
    "4: popq (%rdi,%rcx,8)\n inc %rcx\n cmp $16,%rcx\n jne 4b\n"
    " lea 256(%rsp),%rsp\n mov $-16,%rcx\n"
    "5: mov (%rsp,%rcx,8),%rax\n mov %rax,256(%rdi,%rcx,8)\n inc %rcx\n jnz 5b\n"
    " pop %rdi\n pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n");

static void check_general(const char *who, const struct watched *found) {
  for (int i = 0; i < 15; i++) {
    uint64_t expected = i == 12 ? 0 : 0x1111111111111111ull * (unsigned)(i > 12 ? 15 - i : 14 - i);
    CHECK(found->stored[i] == expected, "%s: register %d is 0x%lx, not 0x%lx", who, i, found->stored[i], expected);
  }
  CHECK((found->stored[15] & 0xcd5) == 0xc95, "%s: the flags are 0x%lx", who, found->stored[15]);
  for (int i = 0; i < RED_ZONE_WORDS; i++)
    CHECK(found->red_zone[i] == 0x5afe5afe5afe5afeull, "%s: word %d of the red zone is 0x%lx", who, i, found->red_zone[i]);
}

static _Atomic uint64_t *beats;
static atomic_bool stop;
static int ping[2], pong[2], held[2], first[2], polled[2];
static atomic_long sent, handled, polled_signals;

static void watch_registers(const char *who, int beat) {
  struct watched found;
  while (!stop) {
    for (int i = 0; i < ROUNDS_PER_LOOK; i++) {
      watch_general(&found);
      check_general(who, &found);
    }
    beats[beat]++;
    test_sleep_ms(1);
  }
}
static void *watch_registers_thread(void *unused) {
  watch_registers("thread", BEAT_GENERAL);
  return unused;
}

__attribute__((target("avx"))) static void watch_wide(const unsigned char *in, unsigned char *out) {
  __asm__ volatile(
      "vmovups 0(%0),%%ymm0\n vmovups 32(%0),%%ymm5\n vmovups 64(%0),%%ymm9\n vmovups 96(%0),%%ymm15\n"
      "mov $5000,%%ecx\n 1: pause\n dec %%ecx\n jnz 1b\n"
      "vmovups %%ymm0,0(%1)\n vmovups %%ymm5,32(%1)\n vmovups %%ymm9,64(%1)\n vmovups %%ymm15,96(%1)\n vzeroupper\n" ::"r"(in),
      "r"(out)
      : "memory", "ecx", "cc", "xmm0", "xmm5", "xmm9", "xmm15");
}
static void watch_narrow(const unsigned char *in, unsigned char *out) {
  __asm__ volatile(
      "movups 0(%0),%%xmm0\n movups 32(%0),%%xmm5\n movups 64(%0),%%xmm9\n movups 96(%0),%%xmm15\n"
      "mov $5000,%%ecx\n 1: pause\n dec %%ecx\n jnz 1b\n"
      "movups %%xmm0,0(%1)\n movups %%xmm5,32(%1)\n movups %%xmm9,64(%1)\n movups %%xmm15,96(%1)\n" ::"r"(in),
      "r"(out)
      : "memory", "ecx", "cc", "xmm0", "xmm5", "xmm9", "xmm15");
}
static void *watch_vectors(void *unused) {
  unsigned char in[128], out[128];
  int wide = __builtin_cpu_supports("avx"), width = wide ? 32 : 16;
  unsigned control = 0x9fc0, control_after = 0;
  test_fill(7, in, sizeof in);
  __asm__ volatile("ldmxcsr %0" ::"m"(control));
  while (!stop) {
    if (wide) watch_wide(in, out);
    else watch_narrow(in, out);
    for (int i = 0; i < 4; i++) CHECK(memcmp(in + i * 32, out + i * 32, width) == 0, "vector register %d differs", i);
    __asm__ volatile("stmxcsr %0" : "=m"(control_after));
    CHECK((control_after & ~0x3fu) == control, "mxcsr is 0x%x", control_after);
    beats[BEAT_VECTORS]++;
    test_sleep_ms(1);
  }
  return unused;
}

static void block(int number, bool with_counted) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + number);
  sigaddset(&set, SIGALRM);
  sigaddset(&set, SIGUSR2);
  if (with_counted) sigaddset(&set, SIGRTMIN);
  CHECK(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0, "pthread_sigmask");
}

static void *blocked_in_read(void *unused) {
  block(1, true);
  char byte = 0;
  CHECK(read(held[0], &byte, 1) == 1 && byte == 'h', "read gave %c: %s", byte, strerror(errno));
  return unused;
}
static void *blocked_in_epoll(void *unused) {
  block(2, true);
  int epoll = MUST(epoll_create1(EPOLL_CLOEXEC));
  struct epoll_event event = {.events = EPOLLIN};
  MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, polled[0], &event));
  int got;
  while ((got = epoll_wait(epoll, &event, 1, -1)) < 0 && errno == EINTR) beats[WAKE_UPS]++;
  CHECK(got == 1, "epoll_wait gave %d: %s", got, strerror(errno));
  return unused;
}
static void *blocked_with_other_mask(void *unused) {
  block(3, true);
  sigset_t mask;
  CHECK(pthread_sigmask(SIG_BLOCK, NULL, &mask) == 0, "pthread_sigmask");
  sigdelset(&mask, SIGUSR2);
  CHECK(ppoll(NULL, 0, NULL, &mask) == -1 && errno == EINTR, "ppoll");
  CHECK(polled_signals == 1, "ppoll ended by %ld signals", (long)polled_signals);
  return unused;
}
static void *echoes(void *unused) {
  block(4, false);
  char byte;
  while (read(ping[0], &byte, 1) == 1) MUST(write(pong[1], &byte, 1));
  return unused;
}
static void *asks(void *unused) {
  block(5, false);
  for (char byte = 0, back; !stop; byte++) {
    MUST(write(ping[1], &byte, 1));
    CHECK(read(pong[0], &back, 1) == 1 && back == byte, "the echo differs: %s", strerror(errno));
    beats[BEAT_PING]++;
    test_sleep_ms(1);
  }
  MUST(close(ping[1]));
  return unused;
}
static void *sends_signals(void *unused) {
  block(6, true);
  while (!stop) {
    MUST(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = (int)sent}));
    sent++;
    test_sleep_ms(1);
  }
  return unused;
}

static void count(int signal) {
  if (signal == SIGRTMIN) handled++;
  if (signal == SIGUSR2) polled_signals++;
}
static void *waits_to_be_told(void *unused) {
  block(7, true);
  test_wait();
  stop = true;
  MUST(write(first[1], "f", 1));
  return unused;
}

static void handle(int signal) {
  struct sigaction action = {.sa_handler = count, .sa_flags = SA_RESTART};
  sigfillset(&action.sa_mask);
  MUST(sigaction(signal, &action, NULL));
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  bool blocks = argc > 2 && strcmp(argv[2], "block") == 0;
  int fd = MUST(open(test_path("beats"), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  MUST(ftruncate(fd, 4096));
  beats = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  CHECK(beats != MAP_FAILED, "mmap: %s", strerror(errno));
  MUST(close(fd));
  int *pipes[] = {ping, pong, held, first, polled};
  for (int i = 0; i < 5; i++) MUST(pipe2(pipes[i], O_CLOEXEC));
  handle(SIGRTMIN), handle(SIGALRM), handle(SIGUSR2);
  void *(*starts[])(void *) = {watch_registers_thread, watch_vectors, blocked_in_read, blocked_in_epoll,
                              blocked_with_other_mask, echoes, asks, sends_signals, waits_to_be_told};
  enum { THREADS = sizeof starts / sizeof *starts };
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, starts[i], NULL) == 0, "pthread_create");
  struct itimerval often = {{0, 3000}, {0, 3000}};
  MUST(setitimer(ITIMER_REAL, &often, NULL));
  test_sleep_ms(50);

  test_ready();
  char byte = 0;
  if (!blocks) watch_registers("first thread", BEAT_FIRST);
  CHECK(read(first[0], &byte, 1) == 1, "read in the first thread: %s", strerror(errno));

  MUST(write(held[1], "h", 1));
  MUST(write(polled[1], "p", 1));
  CHECK(pthread_kill(threads[4], SIGUSR2) == 0, "pthread_kill");
  for (int i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0, "pthread_join");
  CHECK(handled == sent, "%ld signals were sent, %ld handled", (long)sent, (long)handled);
  test_pass();
}
