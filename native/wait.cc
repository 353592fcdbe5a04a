// Waiting on many descriptors: epoll with a bounded spin, eventfds to interrupt it.
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "addon.h"
#include "serve.h"

namespace faultline {

namespace {

constexpr int kMostReady = 64;

int64_t nowMicroseconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1000000} + now.tv_nsec / 1000;
}

// epoll_pwait2(2), Linux 5.11, takes nanoseconds; before it a timeout is rounded up to milliseconds.
int sleepReady(int epoll, epoll_event* events, double timeoutUs) {
  // Without it every short sleep takes 50 µs more (PR_SET_TIMERSLACK(2const)).
  thread_local const int exact = prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  static_cast<void>(exact);
  if (timeoutUs < 0) return epoll_wait(epoll, events, kMostReady, -1);
#ifdef SYS_epoll_pwait2
  const int64_t us = static_cast<int64_t>(timeoutUs);
  timespec timeout{us / 1000000, (us % 1000000) * 1000};
  const long got = syscall(SYS_epoll_pwait2, epoll, events, kMostReady, &timeout, nullptr, 0);
  if (got >= 0 || errno != ENOSYS) return static_cast<int>(got);
#endif
  return epoll_wait(epoll, events, kMostReady, static_cast<int>((timeoutUs + 999) / 1000));
}

// Polls without sleeping until something is ready or spinUs have passed.
int spinReady(int epoll, epoll_event* events, int64_t spinUs) {
  int got = epoll_wait(epoll, events, kMostReady, 0);
  if (got != 0 || spinUs <= 0) return got;
  const int64_t end = nowMicroseconds() + spinUs;
  do {
    for (int i = 0; i < 4; i++) {
      got = epoll_wait(epoll, events, kMostReady, 0);
      if (got != 0) return got;
      __builtin_ia32_pause();
    }
  } while (nowMicroseconds() < end);
  return 0;
}

// Whether others want the processors that this thread runs on: it was ready to run and waited for one for more than a quarter of
// the last moments, by the scheduler's own count (the second number of schedstat, nanoseconds; proc(5)). They may be the very
// threads whose faults this one answers.
class Contention {
 public:
  bool felt() {
    const int64_t now = nowMicroseconds();
    if (now - lookedUs_ >= kLookUs) look(now);
    return felt_;
  }

 private:
  static constexpr int64_t kLookUs = 2000;

  void look(int64_t now) {
    const int64_t delayUs = delayedUs();
    // After a pause of its own the thread knows nothing of the last moments.
    felt_ = now - lookedUs_ < 4 * kLookUs && delayUs - delayUs_ > (now - lookedUs_) / 4;
    delayUs_ = delayUs;
    lookedUs_ = now;
  }

  // 0 where the kernel does not count it: then others are never felt. Not kept open: it would be a descriptor for each thread.
  static int64_t delayedUs() {
    const int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    char text[96];
    const ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    if (got <= 0) return 0;
    text[got] = 0;
    const char* second = strchr(text, ' ');
    return second == nullptr ? 0 : strtoll(second, nullptr, 10) / 1000;
  }

  bool felt_ = false;
  int64_t lookedUs_ = 0;
  int64_t delayUs_ = 0;
};

thread_local Contention contention;

// poll(2) in a thread of libuv's pool, so that the main thread stays free.
class PollWorker : public Napi::AsyncWorker {
 public:
  PollWorker(Napi::Function callback, std::vector<pollfd> fds, int timeoutMs)
      : AsyncWorker(callback), fds_(std::move(fds)), timeoutMs_(timeoutMs) {}

  void Execute() override {
    do {
      status_ = result(poll(fds_.data(), fds_.size(), timeoutMs_));
    } while (status_ == -EINTR);
  }

  void OnOK() override {
    Napi::Array revents = Napi::Array::New(Env(), fds_.size());
    for (size_t i = 0; i < fds_.size(); i++) revents.Set(i, number(Env(), fds_[i].revents));
    Callback().Call({number(Env(), status_), revents});
  }

 private:
  std::vector<pollfd> fds_;
  int timeoutMs_;
  int64_t status_ = 0;
};

}  // namespace

static Napi::Value epollCreate(const Napi::CallbackInfo& info) {
  return number(info.Env(), result(epoll_create1(EPOLL_CLOEXEC)));
}

// (epoll, fd, token)
static Napi::Value epollAdd(const Napi::CallbackInfo& info) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = u64(info[2]);
  return number(info.Env(), result(epoll_ctl(i32(info[0]), EPOLL_CTL_ADD, i32(info[1]), &event)));
}

static Napi::Value epollRemove(const Napi::CallbackInfo& info) {
  epoll_event event{};
  return number(info.Env(), result(epoll_ctl(i32(info[0]), EPOLL_CTL_DEL, i32(info[1]), &event)));
}

// Spins, then sleeps, until a descriptor is ready or the time is over (negative: never). -1 with errno, or their number.
static int waitReady(int epoll, epoll_event* events, double timeoutUs, int64_t spinUs) {
  if (spinUs > 0 && (!oneThreadFaults() || contention.felt())) spinUs = 0;
  if (timeoutUs >= 0 && timeoutUs < static_cast<double>(spinUs)) spinUs = static_cast<int64_t>(timeoutUs);
  // Whoever does not spin sleeps at once: nothing can have come since the last look that the sleep would not see.
  const int got = spinUs > 0 || timeoutUs == 0 ? spinReady(epoll, events, spinUs) : 0;
  const double left = timeoutUs < 0 ? -1 : timeoutUs - static_cast<double>(spinUs);
  return got == 0 && timeoutUs != 0 && left != 0 ? sleepReady(epoll, events, left) : got;
}

// Whoever was answered asks again soon: looks for that until nobody has asked for lingerUs, or mostUs have passed.
static int serveOn(int epoll, epoll_event* events, int64_t lingerUs, int64_t mostUs, ServedLog& log) {
  const int64_t end = nowMicroseconds() + mostUs;
  while (log.hasRoom() && nowMicroseconds() < end) {
    const int got = waitReady(epoll, events, static_cast<double>(lingerUs), lingerUs);
    if (got <= 0) return 0;
    const int left = serveReady(events, got, log);
    if (left > 0) return left;
  }
  return 0;
}

// (epoll, timeoutUs (negative: for ever), spinUs, lingerUs, mostUs, out: Float64Array of tokens, served: Float64Array or
// undefined): the number of ready descriptors that the caller has to look at.
static Napi::Value epollWait(const Napi::CallbackInfo& info) {
  const int epoll = i32(info[0]);
  auto out = info[5].As<Napi::Float64Array>();
  const bool serves = info[6].IsTypedArray();
  ServedLog log(serves ? info[6].As<Napi::Float64Array>().Data() : nullptr,
                serves ? info[6].As<Napi::Float64Array>().ElementLength() : 0);
  epoll_event events[kMostReady];
  const double timeoutUs = info[1].As<Napi::Number>().DoubleValue();
  int got = waitReady(epoll, events, timeoutUs, static_cast<int64_t>(info[2].As<Napi::Number>().DoubleValue()));
  if (got < 0) return number(info.Env(), errno == EINTR ? 0 : -static_cast<int64_t>(errno));
  if (serves && got > 0) {
    got = serveReady(events, got, log);
    if (got == 0 && log.count() > 0) got = serveOn(epoll, events, i32(info[3]), i32(info[4]), log);
  }
  if (static_cast<size_t>(got) > out.ElementLength()) got = static_cast<int>(out.ElementLength());
  for (int i = 0; i < got; i++) out[i] = static_cast<double>(events[i].data.u64);
  return number(info.Env(), got);
}

static Napi::Value eventfdCreate(const Napi::CallbackInfo& info) {
  return number(info.Env(), result(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
}

static Napi::Value eventfdSignal(const Napi::CallbackInfo& info) {
  const uint64_t one = 1;
  return number(info.Env(), result(write(i32(info[0]), &one, sizeof(one))));
}

static Napi::Value eventfdClear(const Napi::CallbackInfo& info) {
  uint64_t count;
  return number(info.Env(), result(read(i32(info[0]), &count, sizeof(count))));
}

static Napi::Value closeDescriptor(const Napi::CallbackInfo& info) {
  return number(info.Env(), result(close(i32(info[0]))));
}

static Napi::Value duplicateDescriptor(const Napi::CallbackInfo& info) {
  return number(info.Env(), result(fcntl(i32(info[0]), F_DUPFD_CLOEXEC, 3)));
}

// (descriptors: Int32Array, timeoutMs (-1: for ever), callback(result, revents[])): waits for any to be readable.
static Napi::Value pollReadable(const Napi::CallbackInfo& info) {
  auto fds = info[0].As<Napi::Int32Array>();
  std::vector<pollfd> wanted;
  for (size_t i = 0; i < fds.ElementLength(); i++) wanted.push_back({fds[i], POLLIN, 0});
  auto* worker = new PollWorker(info[2].As<Napi::Function>(), std::move(wanted), i32(info[1]));
  worker->Queue();
  return number(info.Env(), 0);
}

// 1 where others want the processor of the calling thread, else 0.
static Napi::Value contended(const Napi::CallbackInfo& info) {
  return number(info.Env(), contention.felt() ? 1 : 0);
}

// CPU time that the calling thread has used, microseconds.
static Napi::Value threadCpuUs(const Napi::CallbackInfo& info) {
  timespec used;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return number(info.Env(), used.tv_sec * int64_t{1000000} + used.tv_nsec / 1000);
}

static Napi::Value monotonicUs(const Napi::CallbackInfo& info) {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return Napi::Number::New(info.Env(), static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3);
}

void registerWait(Napi::Env env, Napi::Object exports) {
  exports.Set("epollCreate", Napi::Function::New(env, epollCreate));
  exports.Set("epollAdd", Napi::Function::New(env, epollAdd));
  exports.Set("epollRemove", Napi::Function::New(env, epollRemove));
  exports.Set("epollWait", Napi::Function::New(env, epollWait));
  exports.Set("eventfdCreate", Napi::Function::New(env, eventfdCreate));
  exports.Set("eventfdSignal", Napi::Function::New(env, eventfdSignal));
  exports.Set("eventfdClear", Napi::Function::New(env, eventfdClear));
  exports.Set("closeDescriptor", Napi::Function::New(env, closeDescriptor));
  exports.Set("duplicateDescriptor", Napi::Function::New(env, duplicateDescriptor));
  exports.Set("pollReadable", Napi::Function::New(env, pollReadable));
  exports.Set("contended", Napi::Function::New(env, contended));
  exports.Set("threadCpuUs", Napi::Function::New(env, threadCpuUs));
  exports.Set("monotonicUs", Napi::Function::New(env, monotonicUs));
}

}  // namespace faultline
