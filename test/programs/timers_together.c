// Timers of every kind in two processes: what is left of them changes by the same, so that they stay as far apart as they were.
#include "check.h"
#include <sys/time.h>
#include <sys/timerfd.h>

/// Seconds, and microseconds by which they may have come apart: five seconds, or as the second argument says.
enum { hour = 3600, kinds = 6, readings = 50 };
static long long apart_us_max = 5000000;

static int posix_timers[3], descriptors[2];
static const clockid_t clocks[3] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME};

static long long ns_of(struct timespec time) { return time.tv_sec * 1000000000LL + time.tv_nsec; }

static long long now_ns(void) {
  struct timespec now;
  MUST(clock_gettime(CLOCK_MONOTONIC, &now));
  return ns_of(now);
}

static void set_timers(int more) {
  for (int i = 0; i < 3; i++) {
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    MUST(syscall(SYS_timer_create, clocks[i], &event, &posix_timers[i]));
    struct itimerspec spec = {{i == 0 ? 7 * hour : 0, 0}, {hour + more + i, 0}};
    MUST(syscall(SYS_timer_settime, posix_timers[i], 0, &spec, NULL));
  }
  for (int i = 0; i < 2; i++) {
    descriptors[i] = MUST(timerfd_create(clocks[i], TFD_CLOEXEC));
    struct timespec now;
    MUST(clock_gettime(clocks[i], &now));
    struct itimerspec spec = {{0, 0}, {2 * hour + more + (i ? now.tv_sec : 0), 500}};
    MUST(timerfd_settime(descriptors[i], i ? TFD_TIMER_ABSTIME : 0, &spec, NULL));
  }
  MUST(setitimer(ITIMER_REAL, &(struct itimerval){{9 * hour, 0}, {3 * hour + more, 0}}, NULL));
}

static long long left_ns(int kind) {
  struct itimerspec spec;
  struct itimerval value;
  if (kind < 3) MUST(syscall(SYS_timer_gettime, posix_timers[kind], &spec));
  else if (kind < 5) MUST(timerfd_gettime(descriptors[kind - 3], &spec));
  else MUST(getitimer(ITIMER_REAL, &value));
  return kind < 5 ? ns_of(spec.it_value) : value.it_value.tv_sec * 1000000000LL + value.it_value.tv_usec * 1000LL;
}

/// When each goes off by CLOCK_MONOTONIC: of several looks the one that took the shortest time.
static void look(long long due[kinds]) {
  for (int kind = 0; kind < kinds; kind++) {
    long long shortest = 0;
    for (int i = 0; i < readings; i++) {
      long long before = now_ns(), left = left_ns(kind), took = now_ns() - before;
      CHECK(left > 0, "timer %d has gone off", kind);
      if (i > 0 && took >= shortest) continue;
      shortest = took;
      due[kind] = before + took / 2 + left;
    }
  }
}

/// By how much each goes off later than it would have.
static void look_again(const long long due[kinds], long long later[kinds]) {
  look(later);
  for (int kind = 0; kind < kinds; kind++) later[kind] -= due[kind];
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  if (argc > 2) apart_us_max = atoll(argv[2]);
  int ends[2];
  MUST(pipe(ends));
  long long due[kinds], later[2 * kinds];
  pid_t child = MUST(fork());
  set_timers(child == 0 ? 20 : 0);
  look(due);
  if (child == 0) {
    test_child_ready(1);
    test_wait();
    look_again(due, later);
    CHECK(write(ends[1], later, sizeof due) == sizeof due, "write: %s", strerror(errno));
    _exit(0);
  }
  test_await_child(1);
  test_ready();
  test_wait();
  look_again(due, later);
  CHECK(read(ends[0], later + kinds, sizeof due) == sizeof due, "read: %s", strerror(errno));
  test_reap(child);
  long long low = later[0], high = later[0];
  for (int i = 1; i < 2 * kinds; i++) {
    if (later[i] < low) low = later[i];
    if (later[i] > high) high = later[i];
  }
  printf("apart by %lld us\n", (high - low) / 1000);
  for (int i = 0; i < 2 * kinds; i++) printf("timer %d of %s: %lld us\n", i % kinds, i < kinds ? "the root" : "the child", (later[i] - later[0]) / 1000);
  fflush(stdout);
  CHECK((high - low) / 1000 < apart_us_max, "the timers are %lld us apart", (high - low) / 1000);
  test_pass();
}
