// Answers page faults inside a wait: reads the messages of a userfaultfd, finds each page in the plan that the owner gave
// (what the layout says, and where the image has it), installs it, and notes it in a log. A hot loop, no policy: whatever is
// not a plain missing fault in the plan is left to the owner, whole: layout messages, zero pages, blocks that cannot be
// read, and what the kernel refuses.
//
// A plan holds until a layout message is read: it is dropped at once then, before anything else of the same batch is
// answered, so that there is no install from a layout that an event has changed. Pages that were installed since the plan
// was made are in it still: the kernel says EEXIST, and the waiting thread is woken.
#include "serve.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <unordered_map>
#include <vector>

#include <time.h>

#include "addon.h"
#include "codec.h"
#include "install.h"

namespace faultline {

namespace {

// The flags of a pagemap's run, as src/images/pagemap.ts has them.
constexpr uint8_t kRunParent = 1;
constexpr uint8_t kRunPresent = 4;
// The largest block that is served; larger ones are the owner's. As AHEAD_BLOCK_PAGES_MAX.
constexpr uint64_t kBlockPagesMax = 16;
// Blocks kept since their last fault: a second fault in one of them brings the rest of it.
constexpr size_t kSlots = 4;
// Messages read at a time.
constexpr size_t kBatch = 16;
// Faults in a row by one thread after which it is held to be the only one.
constexpr int kAlone = 8;

double nowUs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

// The last index i of [0, count) with values[i] <= value, or -1.
int64_t lastAtMost(const double* values, size_t count, double value) {
  return std::upper_bound(values, values + count, value) - values - 1;
}

// Pages that need bytes of `source`: [page, page + count), from `imagePage` on.
struct Range {
  uint64_t page;
  uint64_t count;
  uint32_t source;
  uint64_t imagePage;
};

// A pagemap and its pages file, in the arrays of src/images/pageTable.ts. Raw where there are no offsets.
struct Table {
  const double* starts;
  const double* counts;
  const uint8_t* flags;
  const double* filePages;
  size_t runCount;
  int fd;
  uint64_t rawBlockPages;
  const double* offsets;
  const double* firstPages;
  const uint32_t* checksums;
  const uint32_t* places;
  size_t blockCount;
};

struct Located {
  StoredBlock block;
  uint64_t skip;       // Where the page is in the block.
  uint64_t before;     // Pages of the block in front of it that belong to the same run.
  uint64_t after;      // And behind it.
};

struct Plan {
  int uffd;
  bool active = false;
  std::vector<Range> ranges;
  std::vector<Table> tables;
  // What the tables point into.
  std::vector<Napi::ObjectReference> kept;
  std::vector<Message> unread;
};

// One block that was read lately.
struct Slot {
  int uffd = -1;
  StoredBlock block{};
  bool stored = false;        // Whether `storedBytes` holds the block as it is in the file, checked.
  uint64_t decoded = 0;       // Pages from the front that `pages` holds.
  uint32_t single = 0;        // Raw: which pages `pages` holds.
  uint64_t used = 0;
  uint8_t* pages = nullptr;
  uint8_t* storedBytes = nullptr;
};

class Server {
 public:
  Server() {
    const size_t bytes = kBlockPagesMax * kPageBytes;
    memory_.reset(new (std::align_val_t(kPageBytes), std::nothrow) uint8_t[kSlots * 2 * bytes]);
    for (size_t i = 0; i < kSlots && memory_ != nullptr; i++) {
      slots_[i].pages = memory_.get() + i * 2 * bytes;
      slots_[i].storedBytes = slots_[i].pages + bytes;
    }
  }

  bool ready() const { return memory_ != nullptr; }
  bool oneThread() const { return others_ == 0; }

  // An empty plan for the descriptor, which is waited on under `key`; what was unread stays.
  Plan& begin(int uffd, uint64_t key) {
    std::unique_ptr<Plan>& plan = plans_[uffd];
    if (plan == nullptr) plan.reset(new Plan());
    plan->uffd = uffd;
    plan->active = false;
    plan->ranges.clear();
    plan->tables.clear();
    release(*plan);
    byKey_[key] = plan.get();
    forgetBlocks();
    return *plan;
  }

  Plan* find(int uffd) {
    const auto found = plans_.find(uffd);
    return found == plans_.end() ? nullptr : found->second.get();
  }

  Plan* findKey(uint64_t key) {
    const auto found = byKey_.find(key);
    return found == byKey_.end() ? nullptr : found->second;
  }

  void end(int uffd) {
    Plan* plan = find(uffd);
    if (plan == nullptr) return;
    for (auto at = byKey_.begin(); at != byKey_.end();) at = at->second == plan ? byKey_.erase(at) : std::next(at);
    release(*plan);
    plans_.erase(uffd);
    forgetBlocks();
  }

  // True where the owner has to look at the descriptor.
  bool serve(Plan& plan, uint64_t key, ServedLog& log) {
    Message messages[kBatch];
    while (plan.active) {
      const int64_t got = readMessages(plan.uffd, messages, kBatch);
      if (got < 0) return true;
      if (got == 0) return false;
      const size_t count = static_cast<size_t>(got);
      const double readUs = nowUs();
      // Without UFFD_FEATURE_THREAD_ID, as CRIU's restore has it, all threads are number 0.
      if (count > 1) others_ = kAlone;
      for (size_t i = 0; i < count; i++) plan.active = plan.active && messages[i].event == kEventPagefault;
      for (size_t i = 0; i < count; i++) {
        const bool may = plan.active && log.hasRoom();
        if (!may || !answer(plan, key, messages[i], readUs, log)) plan.unread.push_back(messages[i]);
      }
      if (!plan.unread.empty() || !log.hasRoom()) return true;
      if (count < kBatch) return false;
    }
    return true;
  }

 private:
  // Napi references end here and not with the thread, when there may be no environment any more.
  static void release(Plan& plan) {
    for (Napi::ObjectReference& reference : plan.kept) reference.Reset();
    plan.kept.clear();
  }

  // A descriptor number may mean another file by now.
  void forgetBlocks() {
    for (Slot& slot : slots_) slot.uffd = -1;
  }

  // False where the owner has to answer: nothing was done then.
  bool answer(const Plan& plan, uint64_t key, const Message& message, double readUs, ServedLog& log) {
    if ((message.first & ~kFaultWrite) != 0) return false;
    const uint64_t page = message.second / kPageBytes;
    const uint64_t thread = message.third & 0xffffffff;
    others_ = thread != thread_ ? kAlone : std::max(0, others_ - 1);
    thread_ = thread;
    const Range* range = rangeOf(plan, page);
    Located at;
    if (range == nullptr || !locate(plan.tables[range->source], range->imagePage + (page - range->page), at)) return false;
    bool again = false;
    Slot& slot = slotOf(plan.uffd, at.block, again);
    const uint8_t* bytes = load(slot, at.skip, 1);
    if (bytes == nullptr) return false;
    const int64_t got = copyPages(plan.uffd, page * kPageBytes, bytes, kPageBytes);
    if (got == -EEXIST) wakePages(plan.uffd, page * kPageBytes, kPageBytes);
    else if (got != static_cast<int64_t>(kPageBytes)) return false;
    const uint64_t first = page - std::min(at.before, page - range->page);
    const uint64_t end = page + std::min(at.after + 1, range->page + range->count - page);
    note(log, key, 0, page, got > 0 ? 1 : 0, at.block.codec, first, end);
    double* entry = last_;
    entry[4] = static_cast<double>(thread);
    entry[5] = readUs;
    entry[6] = nowUs();
    entry[7] = static_cast<double>((message.first & kFaultWrite) | (again ? 2 : 0));
    if (again) installAround(plan, key, slot, at, page, first, end, log);
    return true;
  }

  void note(ServedLog& log, uint64_t key, int kind, uint64_t page, uint64_t count, int codec, uint64_t first, uint64_t end) {
    last_ = log.add();
    last_[0] = static_cast<double>(key);
    last_[1] = kind;
    last_[2] = static_cast<double>(page);
    last_[3] = static_cast<double>(count);
    std::fill_n(last_ + 4, 4, 0.0);
    last_[8] = static_cast<double>(first);
    last_[9] = static_cast<double>(end);
    last_[10] = codec;
  }

  // The pages [first, end) of the block around `page`: whoever faults twice in a block wants the rest of it.
  void installAround(const Plan& plan, uint64_t key, Slot& slot, const Located& at, uint64_t page, uint64_t first,
                     uint64_t end, ServedLog& log) {
    const uint64_t skip = at.skip - (page - first);
    const uint8_t* bytes = load(slot, skip, end - first);
    if (bytes == nullptr) return;
    for (uint64_t done = 0; first + done < end;) {
      const uint64_t address = (first + done) * kPageBytes;
      const int64_t got = copyPages(plan.uffd, address, bytes + done * kPageBytes, (end - first - done) * kPageBytes);
      if (got == -EEXIST) {
        done++;
        continue;
      }
      // Something changes, or the block crosses the end of a mapping: the owner installs the rest, or nobody needs it.
      if (got <= 0) return;
      const uint64_t count = static_cast<uint64_t>(got) / kPageBytes;
      note(log, key, 1, first + done, count, at.block.codec, first, end);
      done += count;
    }
  }

  static const Range* rangeOf(const Plan& plan, uint64_t page) {
    const auto behind = std::upper_bound(plan.ranges.begin(), plan.ranges.end(), page,
                                         [](uint64_t value, const Range& range) { return value < range.page; });
    if (behind == plan.ranges.begin()) return nullptr;
    const Range& range = *(behind - 1);
    return page < range.page + range.count ? &range : nullptr;
  }

  // Where the image page is stored; false where the owner knows better (a parent image, nothing there).
  static bool locate(const Table& table, uint64_t imagePage, Located& at) {
    const int64_t run = lastAtMost(table.starts, table.runCount, static_cast<double>(imagePage));
    if (run < 0 || (table.flags[run] & (kRunPresent | kRunParent)) != kRunPresent) return false;
    const uint64_t start = static_cast<uint64_t>(table.starts[run]);
    const uint64_t count = static_cast<uint64_t>(table.counts[run]);
    if (imagePage >= start + count) return false;
    const uint64_t runFile = static_cast<uint64_t>(table.filePages[run]);
    const uint64_t filePage = runFile + (imagePage - start);
    uint64_t firstFilePage;
    if (table.offsets == nullptr) {
      firstFilePage = filePage - (filePage - runFile) % table.rawBlockPages;
      const uint64_t pages = std::min(table.rawBlockPages, runFile + count - firstFilePage);
      at.block = {table.fd, kBlockRaw, firstFilePage * kPageBytes, pages * kPageBytes, pages, -1};
    } else if (!packedBlock(table, filePage, firstFilePage, at.block)) {
      return false;
    }
    // A packed block may reach beyond the run.
    at.skip = filePage - firstFilePage;
    at.before = std::min(at.skip, filePage - runFile);
    at.after = std::min(firstFilePage + at.block.pageCount, runFile + count) - filePage - 1;
    return at.block.pageCount <= kBlockPagesMax && at.block.storedBytes <= kBlockPagesMax * kPageBytes;
  }

  static bool packedBlock(const Table& table, uint64_t filePage, uint64_t& firstFilePage, StoredBlock& block) {
    const int64_t number = lastAtMost(table.firstPages, table.blockCount, static_cast<double>(filePage));
    if (number < 0 || static_cast<double>(filePage) >= table.firstPages[number + 1]) return false;
    firstFilePage = static_cast<uint64_t>(table.firstPages[number]);
    const size_t place = table.places == nullptr ? static_cast<size_t>(number) : table.places[number];
    const uint64_t offset = static_cast<uint64_t>(table.offsets[place]);
    const uint64_t stored = static_cast<uint64_t>(table.offsets[place + 1]) - offset;
    const uint64_t pages = static_cast<uint64_t>(table.firstPages[number + 1]) - firstFilePage;
    const int codec = stored == 0 ? kBlockZero : stored == pages * kPageBytes ? kBlockRaw : kBlockLz4;
    block = {table.fd, codec, offset, stored, pages, table.checksums[place]};
    return true;
  }

  // The slot of the block; `again` where it was used for this descriptor before.
  Slot& slotOf(int uffd, const StoredBlock& block, bool& again) {
    Slot* oldest = &slots_[0];
    for (Slot& slot : slots_) {
      const bool same = slot.uffd == uffd && slot.block.fd == block.fd && slot.block.offset == block.offset &&
                        slot.block.pageCount == block.pageCount && slot.block.codec == block.codec;
      if (same) {
        again = true;
        slot.used = ++uses_;
        return slot;
      }
      if (slot.used < oldest->used) oldest = &slot;
    }
    oldest->uffd = uffd;
    oldest->block = block;
    oldest->stored = false;
    oldest->decoded = 0;
    oldest->single = 0;
    oldest->used = ++uses_;
    return *oldest;
  }

  // Pages [skip, skip + count) of the slot's block, or null where it cannot be read.
  static const uint8_t* load(Slot& slot, uint64_t skip, uint64_t count) {
    const StoredBlock& block = slot.block;
    const uint8_t* wanted = slot.pages + skip * kPageBytes;
    if (skip + count <= slot.decoded) return wanted;
    if (block.codec == kBlockRaw && block.checksum < 0) return loadRaw(slot, skip, count) ? wanted : nullptr;
    if (block.codec == kBlockZero) {
      std::memset(slot.pages, 0, block.pageCount * kPageBytes);
      slot.decoded = block.pageCount;
      return wanted;
    }
    if (!slot.stored) {
      if (preadWithNeighbours(block.fd, slot.storedBytes, block.storedBytes, block.offset) != 0) return nullptr;
      if (!checksumHolds(slot.storedBytes, block.storedBytes, block.checksum)) return nullptr;
      slot.stored = true;
    }
    // The first time only as far as the page lies: the rest is often not wanted, and not before the page.
    const uint64_t pages = slot.decoded == 0 ? skip + count : block.pageCount;
    const int status = decodePrefix(block.codec, slot.storedBytes, block.storedBytes, slot.pages, pages * kPageBytes,
                                    block.pageCount * kPageBytes);
    if (status != 0) return nullptr;
    slot.decoded = pages;
    return wanted;
  }

  static bool loadRaw(Slot& slot, uint64_t skip, uint64_t count) {
    const uint32_t wanted = ((uint32_t{1} << count) - 1) << skip;
    if ((slot.single & wanted) == wanted) return true;
    const uint64_t from = skip * kPageBytes;
    if (preadWithNeighbours(slot.block.fd, slot.pages + from, count * kPageBytes, slot.block.offset + from) != 0) return false;
    slot.single |= wanted;
    return true;
  }

  struct FreeAligned {
    void operator()(uint8_t* bytes) const { operator delete[](bytes, std::align_val_t(kPageBytes)); }
  };
  std::unique_ptr<uint8_t[], FreeAligned> memory_;
  Slot slots_[kSlots];
  uint64_t uses_ = 0;
  double* last_ = nullptr;
  // Who faulted last, and how many of his faults it takes until he is alone again.
  uint64_t thread_ = 0;
  int others_ = 0;
  std::unordered_map<int, std::unique_ptr<Plan>> plans_;
  std::unordered_map<uint64_t, Plan*> byKey_;
};

// One for each thread that waits.
thread_local std::unique_ptr<Server> owned;

Server* server() {
  if (owned == nullptr) owned.reset(new Server());
  return owned.get();
}

template <typename T>
const T* keep(Plan& plan, const Napi::Value& value) {
  if (!value.IsTypedArray()) return nullptr;
  auto array = value.As<Napi::TypedArray>();
  plan.kept.push_back(Napi::Persistent(value.As<Napi::Object>()));
  plan.kept.back().SuppressDestruct();
  return reinterpret_cast<const T*>(static_cast<const uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset());
}

}  // namespace

bool oneThreadFaults() {
  return owned == nullptr || owned->oneThread();
}

int serveReady(epoll_event* events, int count, ServedLog& log) {
  if (owned == nullptr || !log.hasRoom()) return count;
  int left = 0;
  for (int i = 0; i < count; i++) {
    Plan* plan = owned->findKey(events[i].data.u64);
    if (plan == nullptr || owned->serve(*plan, events[i].data.u64, log)) events[left++] = events[i];
  }
  return left;
}

size_t takeUnread(int uffd, Message* into, size_t most) {
  Plan* plan = owned == nullptr ? nullptr : owned->find(uffd);
  if (plan == nullptr || plan->unread.empty()) return 0;
  const size_t count = std::min(most, plan->unread.size());
  std::copy_n(plan->unread.begin(), count, into);
  plan->unread.erase(plan->unread.begin(), plan->unread.begin() + static_cast<ptrdiff_t>(count));
  return count;
}

// (uffd, key, ranges: Float64Array of [page, count, source, image page])
static Napi::Value serveBegin(const Napi::CallbackInfo& info) {
  Server* all = server();
  if (!all->ready()) return number(info.Env(), -ENOMEM);
  Plan& plan = all->begin(i32(info[0]), u64(info[1]));
  auto ranges = info[2].As<Napi::Float64Array>();
  plan.ranges.reserve(ranges.ElementLength() / 4);
  for (size_t i = 0; i + 4 <= ranges.ElementLength(); i += 4) {
    plan.ranges.push_back({static_cast<uint64_t>(ranges[i]), static_cast<uint64_t>(ranges[i + 1]),
                           static_cast<uint32_t>(ranges[i + 2]), static_cast<uint64_t>(ranges[i + 3])});
  }
  return number(info.Env(), 0);
}

// (uffd, starts, counts, flags, filePages, runCount, fd, rawBlockPages, offsets, firstPages, checksums, places, blockCount)
static Napi::Value serveTable(const Napi::CallbackInfo& info) {
  Plan* plan = server()->find(i32(info[0]));
  if (plan == nullptr) return number(info.Env(), -EINVAL);
  Table table{};
  table.starts = keep<double>(*plan, info[1]);
  table.counts = keep<double>(*plan, info[2]);
  table.flags = keep<uint8_t>(*plan, info[3]);
  table.filePages = keep<double>(*plan, info[4]);
  table.runCount = u64(info[5]);
  table.fd = i32(info[6]);
  table.rawBlockPages = u64(info[7]);
  table.offsets = keep<double>(*plan, info[8]);
  table.firstPages = keep<double>(*plan, info[9]);
  table.checksums = keep<uint32_t>(*plan, info[10]);
  table.places = keep<uint32_t>(*plan, info[11]);
  table.blockCount = u64(info[12]);
  plan->tables.push_back(table);
  return number(info.Env(), 0);
}

// (uffd): from now on.
static Napi::Value serveStart(const Napi::CallbackInfo& info) {
  Plan* plan = server()->find(i32(info[0]));
  if (plan == nullptr) return number(info.Env(), -EINVAL);
  for (const Range& range : plan->ranges) {
    if (range.source >= plan->tables.size()) return number(info.Env(), -EINVAL);
  }
  plan->active = true;
  return number(info.Env(), 0);
}

// (uffd): not any more; what was read and not answered can still be read.
static Napi::Value servePause(const Napi::CallbackInfo& info) {
  Plan* plan = owned == nullptr ? nullptr : owned->find(i32(info[0]));
  if (plan != nullptr) plan->active = false;
  return number(info.Env(), 0);
}

// (uffd): forgets the descriptor, which is about to be closed.
static Napi::Value serveEnd(const Napi::CallbackInfo& info) {
  if (owned != nullptr) owned->end(i32(info[0]));
  return number(info.Env(), 0);
}

void registerServe(Napi::Env env, Napi::Object exports) {
  exports.Set("serveBegin", Napi::Function::New(env, serveBegin));
  exports.Set("serveTable", Napi::Function::New(env, serveTable));
  exports.Set("serveStart", Napi::Function::New(env, serveStart));
  exports.Set("servePause", Napi::Function::New(env, servePause));
  exports.Set("serveEnd", Napi::Function::New(env, serveEnd));
}

}  // namespace faultline
