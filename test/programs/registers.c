// Registers of a running thread: general, x87, SSE, AVX and AVX-512 where the machine has them, and MXCSR.
#include "check.h"
#include <cpuid.h>
#include <pthread.h>

static volatile int running[2], stop;

// Loads every vector register that the machine has from `in`, spins until *stop with them untouched, stores them to `out`.
static void spin_vectors(const unsigned char *in, unsigned char *out, int wide) {
  if (wide)
    __asm__ volatile(
        "vmovups 0(%0),%%ymm0\n vmovups 32(%0),%%ymm1\n vmovups 64(%0),%%ymm7\n vmovups 96(%0),%%ymm8\n"
        "vmovups 128(%0),%%ymm14\n vmovups 160(%0),%%ymm15\n"
        "movl $1,(%3)\n"
        "1: pause\n cmpl $0,(%2)\n je 1b\n"
        "vmovups %%ymm0,0(%1)\n vmovups %%ymm1,32(%1)\n vmovups %%ymm7,64(%1)\n vmovups %%ymm8,96(%1)\n"
        "vmovups %%ymm14,128(%1)\n vmovups %%ymm15,160(%1)\n vzeroupper\n" ::"r"(in),
        "r"(out), "r"(&stop), "r"(&running[0])
        : "memory", "xmm0", "xmm1", "xmm7", "xmm8", "xmm14", "xmm15");
  else
    __asm__ volatile(
        "movups 0(%0),%%xmm0\n movups 32(%0),%%xmm1\n movups 64(%0),%%xmm7\n movups 96(%0),%%xmm8\n"
        "movups 128(%0),%%xmm14\n movups 160(%0),%%xmm15\n"
        "movl $1,(%3)\n"
        "1: pause\n cmpl $0,(%2)\n je 1b\n"
        "movups %%xmm0,0(%1)\n movups %%xmm1,32(%1)\n movups %%xmm7,64(%1)\n movups %%xmm8,96(%1)\n"
        "movups %%xmm14,128(%1)\n movups %%xmm15,160(%1)\n" ::"r"(in),
        "r"(out), "r"(&stop), "r"(&running[0])
        : "memory", "xmm0", "xmm1", "xmm7", "xmm8", "xmm14", "xmm15");
}

#pragma GCC push_options
#pragma GCC target("avx512f")
static void spin_zmm(const unsigned char *in, unsigned char *out) {
  __asm__ volatile(
      "vmovups 0(%0),%%zmm3\n vmovups 64(%0),%%zmm16\n vmovups 128(%0),%%zmm31\n"
      "movl $0xa5c3,%%eax\n kmovw %%eax,%%k3\n"
      "movl $1,(%3)\n"
      "1: pause\n cmpl $0,(%2)\n je 1b\n"
      "vmovups %%zmm3,0(%1)\n vmovups %%zmm16,64(%1)\n vmovups %%zmm31,128(%1)\n"
      "kmovw %%k3,%%eax\n movl %%eax,192(%1)\n vzeroupper\n" ::"r"(in),
      "r"(out), "r"(&stop), "r"(&running[0])
      : "memory", "eax", "xmm3");
}
#pragma GCC pop_options

static unsigned char loaded[256], stored[256];
static int has_avx, has_avx512;

static void *vector_thread(void *unused) {
  (void)unused;
  if (has_avx512) spin_zmm(loaded, stored);
  else spin_vectors(loaded, stored, has_avx);
  return NULL;
}

static uint64_t general[12];
static void *general_thread(void *unused) {
  (void)unused;
  unsigned short control = 0x027f, control_after = 0;
  unsigned mxcsr = 0x9fc0, mxcsr_after = 0;
  long double pushed = 2.718281828459045235L, popped = 0;
  __asm__ volatile("fldcw %0" ::"m"(control));
  __asm__ volatile("ldmxcsr %0" ::"m"(mxcsr));
  __asm__ volatile("fldt %0" ::"m"(pushed));
  __asm__ volatile(
      "mov $0x1111111111111111,%%rbx\n mov $0x2222222222222222,%%r8\n mov $0x3333333333333333,%%r9\n"
      "mov $0x4444444444444444,%%r10\n mov $0x5555555555555555,%%r11\n mov $0x6666666666666666,%%r12\n"
      "mov $0x7777777777777777,%%r13\n mov $0x8888888888888888,%%r14\n mov $0x9999999999999999,%%r15\n"
      "mov $0xaaaaaaaaaaaaaaaa,%%rax\n mov $0xbbbbbbbbbbbbbbbb,%%rcx\n mov $0xcccccccccccccccc,%%rdx\n"
      "movl $1,(%2)\n std\n"
      "1: pause\n cmpl $0,(%1)\n je 1b\n"
      "mov %%rbx,0(%0)\n mov %%r8,8(%0)\n mov %%r9,16(%0)\n mov %%r10,24(%0)\n mov %%r11,32(%0)\n mov %%r12,40(%0)\n"
      "mov %%r13,48(%0)\n mov %%r14,56(%0)\n mov %%r15,64(%0)\n mov %%rax,72(%0)\n mov %%rcx,80(%0)\n mov %%rdx,88(%0)\n"
      "pushfq\n pop %%rax\n cld\n"
      "mov %%rax,%%rbx\n and $0x400,%%rbx\n jnz 2f\n movq $0,0(%0)\n 2:\n"
      ::"D"(general), "S"(&stop), "r"(&running[1])
      : "memory", "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15");
  __asm__ volatile("fstpt %0" : "=m"(popped));
  __asm__ volatile("fnstcw %0" : "=m"(control_after));
  __asm__ volatile("stmxcsr %0" : "=m"(mxcsr_after));
  CHECK(control_after == control, "x87 control word is 0x%x", control_after);
  CHECK((mxcsr_after & ~0x3fu) == mxcsr, "mxcsr is 0x%x", mxcsr_after);
  CHECK(popped == pushed, "x87 stack top differs");
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  has_avx = __builtin_cpu_supports("avx");
  has_avx512 = __builtin_cpu_supports("avx512f");
  test_fill(3, loaded, sizeof loaded);
  pthread_t vectors, registers;
  pthread_create(&vectors, NULL, vector_thread, NULL);
  pthread_create(&registers, NULL, general_thread, NULL);
  while (!running[0] || !running[1]) test_sleep_ms(1);

  test_ready();
  test_wait();

  stop = 1;
  pthread_join(vectors, NULL);
  pthread_join(registers, NULL);
  if (has_avx512) {
    CHECK(memcmp(loaded, stored, 192) == 0, "a zmm register differs");
    CHECK(*(int *)(stored + 192) == 0xa5c3, "mask register k3 is 0x%x", *(int *)(stored + 192));
  } else {
    int width = has_avx ? 32 : 16;
    for (int i = 0; i < 6; i++) CHECK(memcmp(loaded + i * 32, stored + i * 32, width) == 0, "vector register %d differs", i);
  }
  for (int i = 0; i < 12; i++)
    CHECK(general[i] == 0x1111111111111111ull * (unsigned)(i + 1), "general register %d is 0x%lx", i, general[i]);
  test_pass();
}
