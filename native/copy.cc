// Copies memory out of a stopped process by several threads, while the caller goes on: the task stands, and its processors
// are free.
#include "addon.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace faultline {
namespace {

constexpr size_t kWorthAThread = size_t{8} << 20, kThreadsMax = 4;

// Bytes [from, to) of the ranges laid one behind the other.
struct Part {
  pid_t pid;
  const std::vector<iovec>* ranges;
  uint8_t* target;
  size_t from, to;
  size_t done;
  int error;
  pthread_t thread;
};

struct Copy {
  std::vector<iovec> ranges;
  Part parts[kThreadsMax];
  size_t partCount;
  // Memory that threads write to stays, whatever becomes of the caller.
  Napi::Reference<Napi::TypedArray> destination;
};

std::mutex copiesLock;
std::map<int32_t, std::unique_ptr<Copy>> copies;
int32_t nextCopy = 1;

// The ranges from `at` on, as many as one call takes; one call moves at most MAX_RW_COUNT (2 GiB less a page).
size_t nextRanges(const Part& part, size_t at, size_t& index, size_t& passed, iovec* batch, size_t& total) {
  constexpr size_t ranges_max = 512, bytes_max = size_t{64} << 20;
  const std::vector<iovec>& ranges = *part.ranges;
  while (index < ranges.size() && passed + ranges[index].iov_len <= at) passed += ranges[index++].iov_len;
  size_t count = 0, end = passed;
  total = 0;
  for (size_t i = index; i < ranges.size() && count < ranges_max && total < bytes_max && at + total < part.to; i++) {
    const size_t skip = at + total - end;
    const size_t length = std::min({ranges[i].iov_len - skip, part.to - at - total, bytes_max - total});
    batch[count++] = {static_cast<char*>(ranges[i].iov_base) + skip, length};
    total += length;
    end += ranges[i].iov_len;
  }
  return count;
}

void* copyPart(void* argument) {
  auto& part = *static_cast<Part*>(argument);
  iovec batch[512];
  size_t index = 0, passed = 0;
  while (part.from + part.done < part.to) {
    const size_t at = part.from + part.done;
    size_t total = 0;
    const size_t count = nextRanges(part, at, index, passed, batch, total);
    iovec local{part.target + at, total};
    const long got = syscall(SYS_process_vm_readv, part.pid, &local, 1, batch, count, 0);
    if (got < 0) part.error = errno;
    if (got <= 0) break;
    part.done += got;
  }
  return nullptr;
}

// (pid, Float64Array of (address, length) pairs, destination): begins to read all of them, dense and in order. Returns a
// number for endCopy.
Napi::Value startCopy(const Napi::CallbackInfo& info) {
  auto pairs = info[1].As<Napi::Float64Array>();
  auto destination = info[2].As<Napi::TypedArray>();
  auto copy = std::make_unique<Copy>();
  auto& ranges = copy->ranges;
  ranges.resize(pairs.ElementLength() / 2);
  size_t total = 0;
  for (size_t i = 0; i < ranges.size(); i++) {
    ranges[i] = {reinterpret_cast<void*>(static_cast<uintptr_t>(pairs[i * 2])), static_cast<size_t>(pairs[i * 2 + 1])};
    total += ranges[i].iov_len;
  }
  if (total > destination.ByteLength()) return number(info.Env(), -EOVERFLOW);
  auto* target = static_cast<uint8_t*>(destination.ArrayBuffer().Data()) + destination.ByteOffset();
  const size_t processors = std::max(1L, sysconf(_SC_NPROCESSORS_ONLN));
  const size_t parts = std::clamp(total / kWorthAThread, size_t{1}, std::min(processors, kThreadsMax));
  const size_t share = total / parts & ~size_t{4095};
  copy->destination = Napi::Persistent(destination);
  copy->partCount = parts;
  for (size_t i = 0; i < parts; i++) {
    const size_t to = i + 1 == parts ? total : (i + 1) * share;
    copy->parts[i] = {i32(info[0]), &ranges, target, i * share, to, 0, 0, 0};
  }
  for (size_t i = 0; i < parts; i++) {
    Part& part = copy->parts[i];
    if (pthread_create(&part.thread, nullptr, copyPart, &part) == 0) continue;
    part.thread = 0;
    copyPart(&part);
  }
  const std::lock_guard<std::mutex> locked(copiesLock);
  const int32_t id = nextCopy++;
  copies[id] = std::move(copy);
  return number(info.Env(), id);
}

// (number): waits for its end. The bytes read before the first that cannot be, so that a short count names the place; or
// -errno.
Napi::Value endCopy(const Napi::CallbackInfo& info) {
  std::unique_ptr<Copy> copy;
  {
    const std::lock_guard<std::mutex> locked(copiesLock);
    auto found = copies.find(i32(info[0]));
    if (found == copies.end()) return number(info.Env(), -ENOENT);
    copy = std::move(found->second);
    copies.erase(found);
  }
  size_t done = 0;
  int error = 0;
  bool whole = true;
  for (size_t i = 0; i < copy->partCount; i++) {
    Part& part = copy->parts[i];
    if (part.thread != 0) pthread_join(part.thread, nullptr);
    if (!whole) continue;
    done += part.done;
    error = part.error;
    whole = part.from + part.done == part.to;
  }
  return number(info.Env(), done == 0 && error != 0 ? -error : static_cast<int64_t>(done));
}

}  // namespace

void registerCopy(Napi::Env env, Napi::Object exports) {
  exports.Set("startCopy", Napi::Function::New(env, startCopy));
  exports.Set("endCopy", Napi::Function::New(env, endCopy));
}

}  // namespace faultline
