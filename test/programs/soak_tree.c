// A busy tree: a worker behind pipes, another behind a pseudo-terminal, and three timers of an hour that stay together.
// alone: its terminal number must be free at the restore
#include "check.h"
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <termios.h>

/// The timers may be five seconds apart, or as the second argument says, microseconds.
enum { hour = 3600, readings = 20, terminals_before = 40 };
static long long apart_us_max = 5000000;

static long long us_of(struct timespec left) { return left.tv_sec * 1000000LL + left.tv_nsec / 1000; }

/// How far apart the three timers are, microseconds, and what it took to look at them.
static long long apart_us_once(int fd, timer_t timer) {
  struct itimerspec one, two;
  struct itimerval three;
  MUST(timerfd_gettime(fd, &one));
  MUST(timer_gettime(timer, &two));
  MUST(getitimer(ITIMER_REAL, &three));
  long long left[] = {us_of(one.it_value), us_of(two.it_value), three.it_value.tv_sec * 1000000LL + three.it_value.tv_usec};
  long long low = left[0], high = left[0];
  for (int i = 1; i < 3; i++) {
    if (left[i] < low) low = left[i];
    if (left[i] > high) high = left[i];
  }
  CHECK(low > 0 && high <= hour * 1000000LL, "a timer has %lld us left", low);
  return high - low;
}

/// The least of several looks: between any two of them the processor may be taken away.
static long long apart_us(int fd, timer_t timer) {
  long long least = apart_us_once(fd, timer);
  for (int i = 1; i < readings; i++) {
    long long next = apart_us_once(fd, timer);
    if (next < least) least = next;
  }
  return least;
}

/// A master whose number is beyond those that others use at any moment.
static int high_terminal(void) {
  int low[terminals_before];
  for (int i = 0; i < terminals_before; i++) low[i] = MUST(posix_openpt(O_RDWR | O_NOCTTY));
  int master = MUST(posix_openpt(O_RDWR | O_NOCTTY));
  for (int i = 0; i < terminals_before; i++) close(low[i]);
  MUST(grantpt(master));
  MUST(unlockpt(master));
  return master;
}

static void serve(int in, int out) { // adds one to each number
  for (unsigned number; read(in, &number, sizeof number) == sizeof number;) {
    number++;
    if (write(out, &number, sizeof number) != sizeof number) break;
  }
  _exit(0);
}

static void ask(int out, int in, unsigned round, const char *what) {
  unsigned number = round;
  MUST(write(out, &number, sizeof number));
  CHECK(read(in, &number, sizeof number) == sizeof number && number == round + 1, "the worker behind %s: %u", what, number);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  if (argc > 2) apart_us_max = atoll(argv[2]);
  int down[2], up[2];
  MUST(pipe(down));
  MUST(pipe(up));
  pid_t piped = MUST(fork());
  if (piped == 0) {
    close(down[1]);
    close(up[0]);
    serve(down[0], up[1]);
  }
  close(down[0]);
  close(up[1]);
  int master = high_terminal();
  int slave = MUST(open(ptsname(master), O_RDWR | O_NOCTTY));
  struct termios settings;
  MUST(tcgetattr(slave, &settings));
  cfmakeraw(&settings);
  MUST(tcsetattr(slave, TCSANOW, &settings));
  pid_t typed = MUST(fork());
  if (typed == 0) {
    close(master);
    close(down[1]);
    close(up[0]);
    serve(slave, slave);
  }
  int fd = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  timer_t timer;
  MUST(timer_create(CLOCK_MONOTONIC, &(struct sigevent){.sigev_notify = SIGEV_NONE}, &timer));
  MUST(timerfd_settime(fd, 0, &(struct itimerspec){.it_value = {hour, 0}}, NULL));
  MUST(timer_settime(timer, 0, &(struct itimerspec){.it_value = {hour, 0}}, NULL));
  MUST(setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {hour, 0}}, NULL));
  test_ready();
  for (unsigned round = 0; !test_told(); round++) {
    ask(down[1], up[0], round, "pipes");
    ask(master, master, round, "a terminal");
    test_sleep_ms(1);
  }
  long long apart = apart_us(fd, timer);
  printf("three timers are %lld us apart\n", apart);
  fflush(stdout);
  CHECK(apart < apart_us_max, "the timers are %lld us apart", apart);
  close(down[1]);
  test_reap(piped);
  close(slave);
  kill(typed, SIGKILL);
  int status;
  MUST(waitpid(typed, &status, 0));
  test_pass();
}
