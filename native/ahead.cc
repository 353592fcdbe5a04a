// Installing many stored blocks in one call, and a thread that reads and decodes them ahead meanwhile. The thread installs
// nothing and knows no address: what goes where is decided by the caller, at the moment of the install. No policy: which
// blocks, in which order and how many ahead, is the caller's.
//
// Each thread that installs has one ring of slots and one such helper. A slot goes
//   free -> queued (push) -> taken (helper) -> ready (helper) -> free (installed, or dropped)
// and whoever installs never waits long for the helper, which has the lowest priority there is: a block that is queued
// still it decodes itself. While the helper is at one it decodes one behind it, and where that was not enough, the same
// one anew, after some microseconds: the slot is left to the helper to free then ("left"). So they share no lock: who holds one may get no processor for long.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <new>
#include <utility>

#include "addon.h"
#include "codec.h"
#include "install.h"

namespace faultline {

namespace {

// Numbers of one run: address, descriptor, codec, offset, stored bytes, pages of the block, checksum, pages to skip, pages
// wanted, ticket of push or -1. addon.d.ts tells it to the callers.
constexpr size_t kRunNumbers = 10;
enum Slot : int { kFree, kQueued, kTaken, kReady, kLeft };
// How long a block that the helper is decoding is waited for: decoding it anew takes about as long.
constexpr int64_t kWaitNs = 20000;
// How long the helper looks for more before it sleeps: waking it costs the installing thread several microseconds.
constexpr int64_t kSpinNs = 60000;

int64_t nowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1000000000} + now.tv_nsec;
}

StoredBlock blockOf(const double* run) {
  return {static_cast<int>(run[1]),      static_cast<int>(run[2]),      static_cast<uint64_t>(run[3]),
          static_cast<uint64_t>(run[4]), static_cast<uint64_t>(run[5]), static_cast<int64_t>(run[6])};
}

// A descriptor of the helper's own: the caller may close his while the helper, which may get no processor for long, reads.
struct File {
  explicit File(int of) : fd(fcntl(of, F_DUPFD_CLOEXEC, 3)) {}
  ~File() {
    if (fd >= 0) close(fd);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  const int fd;
};

// Used by one installing thread, and by its helper.
class Ahead {
 public:
  Ahead() { sem_init(&wake_, 0, 0); }
  Ahead(const Ahead&) = delete;
  Ahead& operator=(const Ahead&) = delete;

  // Waits for the helper, a block's reading and decoding at most: it gets the priority of any other thread for that.
  ~Ahead() {
    if (running_) {
      stopping_.store(true);
      const sched_param none{};
      pthread_setschedparam(helper_, SCHED_OTHER, &none);
      sem_post(&wake_);
      pthread_join(helper_, nullptr);
    }
    sem_destroy(&wake_);
  }

  // Buffers for `slotCount` blocks of `slotBytes`, and the helper. 0 or -errno; without a helper everything else works.
  int start(size_t slotCount, size_t slotBytes) {
    slotCount_ = slotCount;
    slotBytes_ = slotBytes;
    slots_.reset(new (std::nothrow) Work[slotCount]);
    bytes_.reset(new (std::align_val_t(kPageBytes), std::nothrow) uint8_t[slotBytes * (slotCount + 3)]);
    if (slots_ == nullptr || bytes_ == nullptr) return -ENOMEM;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&helper_, nullptr, &Ahead::main, this);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    running_ = failed == 0;
    return -failed;
  }

  size_t slotBytes() const { return slotBytes_; }

  // Queues a block; its ticket, or -1 where no slot is free.
  int64_t push(const StoredBlock& block, const std::shared_ptr<File>& file) {
    if (!running_) return -1;
    const uint64_t ticket = pushed_.load(std::memory_order_relaxed);
    Work& work = slots_[ticket % slotCount_];
    if (work.state.load(std::memory_order_acquire) != kFree) return -1;
    work.block = block;
    work.block.fd = file->fd;
    work.file = file;
    work.ticket = ticket;
    work.state.store(kQueued, std::memory_order_release);
    pushed_.store(ticket + 1);
    return static_cast<int64_t>(ticket);
  }

  void wakeHelper() {
    if (asleep_.exchange(false)) sem_post(&wake_);
  }

  // The whole block of a ticket, decoded; `status` as loadBlock. Valid until release().
  const uint8_t* take(int64_t ticket, const StoredBlock& block, int64_t& status) {
    Work* work = workOf(ticket);
    if (work != nullptr && becomesReady(*work)) {
      status = work->status;
      held_ = work;
      return bytesOf(*work);
    }
    uint8_t* own = bytes_.get() + slotBytes_ * slotCount_;
    status = loadBlock(block, 0, block.pageCount, own + slotBytes_, own);
    return own;
  }

  void release() {
    if (held_ != nullptr) held_->state.store(kFree, std::memory_order_release);
    held_ = nullptr;
  }

  // Forgets a ticket.
  void drop(int64_t ticket) {
    Work* work = workOf(ticket);
    if (work == nullptr || takeBack(*work)) return;
    int state = kTaken;
    if (!work->state.compare_exchange_strong(state, kLeft) && state == kReady) work->state.store(kFree);
  }

 private:
  struct Work {
    std::atomic<int> state{kFree};
    // Written by the pushing thread while the slot is free; the helper reads `block` once it has taken the slot.
    StoredBlock block{};
    // Whose descriptor the block has; whoever takes the slot out of the queue lets go of it.
    std::shared_ptr<File> file;
    uint64_t ticket = 0;
    int64_t status = 0;
  };

  static void* main(void* argument) {
    static_cast<Ahead*>(argument)->run();
    return nullptr;
  }

  uint8_t* bytesOf(const Work& work) { return bytes_.get() + slotBytes_ * static_cast<size_t>(&work - slots_.get()); }

  Work* workOf(int64_t ticket) {
    if (ticket < 0) return nullptr;
    Work& work = slots_[static_cast<uint64_t>(ticket) % slotCount_];
    return work.ticket == static_cast<uint64_t>(ticket) && work.state.load() != kFree ? &work : nullptr;
  }

  // True where the helper had not begun: the slot is free.
  bool takeBack(Work& work) {
    int state = kQueued;
    if (!work.state.compare_exchange_strong(state, kTaken)) return false;
    work.file.reset();
    work.state.store(kFree, std::memory_order_release);
    return true;
  }

  // Decodes one of the blocks that wait behind the ticket, in place, as the helper would.
  void decodeBehind(uint64_t ticket) {
    const uint64_t end = pushed_.load(std::memory_order_relaxed);
    while (++ticket < end) {
      Work& work = slots_[ticket % slotCount_];
      int state = kQueued;
      if (work.ticket != ticket || !work.state.compare_exchange_strong(state, kTaken)) continue;
      work.status = loadBlock(work.block, 0, work.block.pageCount, bytes_.get() + slotBytes_ * (slotCount_ + 1), bytesOf(work));
      work.file.reset();
      work.state.store(kReady, std::memory_order_release);
      return;
    }
  }

  // False where the caller has to decode by itself; the slot is then no longer its own.
  bool becomesReady(Work& work) {
    if (takeBack(work)) return false;
    // The helper is at it: the time is better spent on a block behind it than in waiting. On one: a message may come.
    if (work.state.load(std::memory_order_acquire) != kReady) decodeBehind(work.ticket);
    const int64_t end = nowNs() + kWaitNs;
    int state;
    do {
      for (int i = 0; i < 16; i++) {
        if (work.state.load(std::memory_order_acquire) == kReady) return true;
        __builtin_ia32_pause();
      }
    } while (nowNs() < end);
    state = kTaken;
    return !work.state.compare_exchange_strong(state, kLeft);
  }

  void run() {
    pthread_setname_np(pthread_self(), "faultline-ahead");
    // Whoever else wants a processor gets it: what this thread does not get done, the installing thread does.
    const sched_param none{};
    pthread_setschedparam(pthread_self(), SCHED_IDLE, &none);
    uint8_t* scratch = bytes_.get() + slotBytes_ * (slotCount_ + 2);
    uint64_t next = 0;
    while (waitForWork(next)) {
      Work& work = slots_[next++ % slotCount_];
      int state = kQueued;
      if (!work.state.compare_exchange_strong(state, kTaken)) continue;
      const StoredBlock block = work.block;
      const std::shared_ptr<File> file = std::move(work.file);
      work.status = loadBlock(block, 0, block.pageCount, scratch, bytesOf(work));
      state = kTaken;
      if (!work.state.compare_exchange_strong(state, kReady)) work.state.store(kFree, std::memory_order_release);
    }
  }

  // False when the thread is to end.
  bool waitForWork(uint64_t next) {
    for (;;) {
      const int64_t end = nowNs() + kSpinNs;
      do {
        for (int i = 0; i < 64; i++) {
          if (stopping_.load(std::memory_order_relaxed)) return false;
          if (pushed_.load(std::memory_order_acquire) != next) return true;
          __builtin_ia32_pause();
        }
      } while (nowNs() < end);
      // In this order, as push() and then wakeHelper() do it the other way round: one of both sees the other.
      asleep_.store(true);
      if (pushed_.load() == next && !stopping_.load()) sem_wait(&wake_);
      asleep_.store(false);
    }
  }

  size_t slotCount_ = 0;
  size_t slotBytes_ = 0;
  std::unique_ptr<Work[]> slots_;
  struct FreeAligned {
    void operator()(uint8_t* bytes) const { operator delete[](bytes, std::align_val_t(kPageBytes)); }
  };
  // The slots' bytes, then a block and the stored form of one for the installing thread, then the latter for the helper.
  std::unique_ptr<uint8_t[], FreeAligned> bytes_;
  Work* held_ = nullptr;
  bool running_ = false;
  std::atomic<uint64_t> pushed_{0};
  std::atomic<bool> asleep_{false};
  std::atomic<bool> stopping_{false};
  sem_t wake_;
  pthread_t helper_{};
};

// Ends with the thread that installs, or before (aheadStop).
thread_local std::unique_ptr<Ahead> owned;

bool isReadable(int fd) {
  pollfd one{fd, POLLIN, 0};
  return fd >= 0 && poll(&one, 1, 0) > 0;
}

struct Installed {
  uint64_t reached = 0;  // Pages of the run that are there.
  int64_t stop = 0;
};

// Installs a run from its decoded block, as far as the kernel takes it.
void install(int uffd, uint64_t address, const uint8_t* bytes, uint64_t count, Installed& done) {
  done.reached = 0;
  while (done.reached < count) {
    const uint64_t at = done.reached * kPageBytes;
    const int64_t got = copyPages(uffd, address + at, bytes + at, count * kPageBytes - at);
    if (got <= 0) {
      done.stop = got;
      return;
    }
    done.reached += static_cast<uint64_t>(got) / kPageBytes;
  }
}

}  // namespace

// (slots, bytes of a slot)
static Napi::Value aheadStart(const Napi::CallbackInfo& info) {
  if (owned != nullptr) return number(info.Env(), 0);
  owned = std::make_unique<Ahead>();
  const int status = owned->start(u64(info[0]), u64(info[1]));
  if (status == -ENOMEM) owned.reset();
  return number(info.Env(), status);
}

static Napi::Value aheadStop(const Napi::CallbackInfo& info) {
  owned.reset();
  return number(info.Env(), 0);
}

// (runs, first, end): writes the tickets into the runs; the number queued, which come first.
static Napi::Value aheadPush(const Napi::CallbackInfo& info) {
  double* runs = info[0].As<Napi::Float64Array>().Data();
  const uint64_t first = u64(info[1]), end = u64(info[2]);
  Ahead* ahead = owned.get();
  uint64_t at = first;
  std::shared_ptr<File> file;
  int fileOf = -1;
  for (; at < end && ahead != nullptr; at++) {
    double* run = runs + at * kRunNumbers;
    const StoredBlock block = blockOf(run);
    if (file == nullptr || fileOf != block.fd) file = std::make_shared<File>(fileOf = block.fd);
    if (file->fd < 0 && block.codec != kBlockZero) break;
    const int64_t ticket = block.pageCount * kPageBytes > ahead->slotBytes() ? -1 : ahead->push(block, file);
    if (ticket < 0) break;
    run[9] = static_cast<double>(ticket);
  }
  if (at > first) ahead->wakeHelper();
  return number(info.Env(), static_cast<int64_t>(at - first));
}

// (runs, first, end)
static Napi::Value aheadDrop(const Napi::CallbackInfo& info) {
  double* runs = info[0].As<Napi::Float64Array>().Data();
  Ahead* ahead = owned.get();
  if (ahead == nullptr) return number(info.Env(), 0);
  for (uint64_t at = u64(info[1]); at < u64(info[2]); at++) {
    ahead->drop(static_cast<int64_t>(runs[at * kRunNumbers + 9]));
    runs[at * kRunNumbers + 9] = -1;
  }
  return number(info.Env(), 0);
}

// (uffd, watched descriptor or -1, runs, first, end, out): see addon.d.ts.
static Napi::Value installRuns(const Napi::CallbackInfo& info) {
  const int uffd = i32(info[0]), watched = i32(info[1]);
  double* runs = info[2].As<Napi::Float64Array>().Data();
  const uint64_t first = u64(info[3]), end = u64(info[4]);
  double* out = info[5].As<Napi::Float64Array>().Data();
  Ahead* ahead = owned.get();
  if (ahead == nullptr) return number(info.Env(), -EINVAL);
  Installed done;
  uint64_t at = first;
  for (; at < end; at++) {
    double* run = runs + at * kRunNumbers;
    done.reached = 0;
    if (at > first && isReadable(watched)) {
      done.stop = 1;
      break;
    }
    const StoredBlock block = blockOf(run);
    const uint8_t* bytes = ahead->take(static_cast<int64_t>(run[9]), block, done.stop);
    run[9] = -1;
    if (done.stop == 0) {
      install(uffd, static_cast<uint64_t>(run[0]), bytes + static_cast<uint64_t>(run[7]) * kPageBytes,
              static_cast<uint64_t>(run[8]), done);
    }
    ahead->release();
    if (done.stop != 0) break;
  }
  out[0] = at == end ? 0 : static_cast<double>(done.reached);
  out[1] = static_cast<double>(done.stop);
  return number(info.Env(), static_cast<int64_t>(at - first));
}

void registerAhead(Napi::Env env, Napi::Object exports) {
  exports.Set("aheadStart", Napi::Function::New(env, aheadStart));
  exports.Set("aheadStop", Napi::Function::New(env, aheadStop));
  exports.Set("aheadPush", Napi::Function::New(env, aheadPush));
  exports.Set("aheadDrop", Napi::Function::New(env, aheadDrop));
  exports.Set("installRuns", Napi::Function::New(env, installRuns));
}

}  // namespace faultline
