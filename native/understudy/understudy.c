// The understudy: a process that a dump practises on before it freezes the program that it is for (src/task/dump/rehearsal.ts).
// It has a little of what servers have: threads that wait, mappings of several kinds, descriptors, handlers, a timer. It does
// nothing, and ends with the thread that started it.
//
//   faultline-understudy PARENT     the pid of whoever started it
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

// src/task/dump/rehearsal.ts waits for as many threads: they come last.
enum { threads = 8, mappings = 48, page = 4096 };

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;

static void* wait_for_ever(void* unused) {
  pthread_mutex_lock(&held);
  return unused;
}

static void ignore(int signal) { (void)signal; }

static void watch(int set, int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  epoll_ctl(set, EPOLL_CTL_ADD, fd, &event);
}

// Neighbours differ in their protection, so that none becomes one with the next.
static void make_mappings(void) {
  for (int i = 0; i < mappings; i++) {
    char* at = mmap(NULL, 4 * page, i % 2 ? PROT_READ | PROT_WRITE : PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at != MAP_FAILED && i % 2) at[(i % 4) * page] = 1;
  }
  int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  mmap(NULL, page, PROT_READ, MAP_PRIVATE, self, 0);
  mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE, self, 0);
}

// Nobody outside can reach any of them: no socket is bound.
static int make_descriptors(void) {
  int ends[2];
  int set = epoll_create1(EPOLL_CLOEXEC);
  for (int i = 0; i < 2; i++) {
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0) watch(set, ends[0]);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0) watch(set, ends[0]);
    watch(set, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  }
  watch(set, timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  return set;
}

static void set_signals(void) {
  struct sigaction action = {.sa_handler = ignore, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &action, NULL);
  sigaction(SIGUSR2, &action, NULL);
  signal(SIGPIPE, SIG_IGN);
  timer_t timer;
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
  timer_create(CLOCK_MONOTONIC, &event, &timer);
}

int main(int count, char** arguments) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  // It may have died before.
  if (count != 2 || getppid() != atoi(arguments[1])) return 1;
  make_mappings();
  int set = make_descriptors();
  set_signals();
  pthread_mutex_lock(&held);
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 64 * 1024);
  for (int i = 1; i < threads; i++) {
    pthread_t thread;
    if (pthread_create(&thread, &small, wait_for_ever, NULL) != 0) return 1;
  }
  struct epoll_event event;
  for (;;) epoll_wait(set, &event, 1, -1);
}
