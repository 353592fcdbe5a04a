// Threads frozen in calls that the kernel restarts only with help, most of them with a time limit: endless poll, nanosleep,
// clock_nanosleep, poll, ppoll, select, timed futex, sigtimedwait, epoll_wait. None may show EINTR.
// criu: it lets the program see EINTR from epoll_wait and timed calls
#include "check.h"
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>

enum { count = 10 };
static volatile int state[count], done;
static int pipes[2], epoll, event;
static sem_t never;

static void *thread(void *argument) {
  int n = (int)(uintptr_t)argument;
  state[n] = 1;
  while (!done) { // short calls, again and again: one of them is under way when frozen
    struct timespec span = {0, 300 * 1000000}, now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    struct timespec later = now;
    later.tv_sec++;
    long result = 0;
    errno = 0;
    switch (n) {
      case 0: result = nanosleep(&span, NULL); break;
      case 1: errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &later, NULL); result = errno; break;
      case 2: result = poll(&(struct pollfd){pipes[0], POLLIN, 0}, 1, 400); break;
      case 3: result = ppoll(&(struct pollfd){pipes[0], POLLIN, 0}, 1, &span, NULL); break;
      case 4: {
        fd_set set;
        FD_ZERO(&set);
        FD_SET(pipes[0], &set);
        result = select(pipes[0] + 1, &set, NULL, NULL, &(struct timeval){0, 350000});
        break;
      }
      case 5: {
        struct timespec real;
        clock_gettime(CLOCK_REALTIME, &real);
        real.tv_sec++;
        result = sem_timedwait(&never, &real);
        result = result == -1 && errno == ETIMEDOUT ? 0 : -1;
        break;
      }
      case 6: {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR2);
        result = sigtimedwait(&set, NULL, &span);
        result = result == -1 && errno == EAGAIN ? 0 : -1;
        break;
      }
      case 7: {
        struct epoll_event got;
        result = epoll_wait(epoll, &got, 1, 500);
        break;
      }
      case 9:
        result = poll(&(struct pollfd){event, POLLIN, 0}, 1, -1);
        if (done) result = 0;
        break;
      case 8: { // for ever, until the end
        struct epoll_event got;
        result = epoll_wait(epoll, &got, 1, -1);
        if (done) result = 0;
        break;
      }
    }
    if (done) return NULL;
    CHECK(result == 0, "timed call %d gave %ld: %s", n, result, strerror(errno));
  }
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  sem_init(&never, 0, 0);
  MUST(pipe(pipes));
  epoll = MUST(epoll_create1(0));
  event = MUST(eventfd(0, 0));
  MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, event, &(struct epoll_event){.events = EPOLLIN}));
  pthread_t threads[count];
  for (uintptr_t i = 0; i < count; i++) pthread_create(&threads[i], NULL, thread, (void *)i);
  for (int i = 0; i < count; i++) while (!state[i]) test_sleep_ms(1);
  test_sleep_ms(100);
  test_ready();
  test_wait();
  test_sleep_ms(500);
  done = 1;
  MUST(write(event, &(uint64_t){1}, 8));
  for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
  test_pass();
}
