// Search of stored pages: decodes a chunk of blocks on libuv's pool and looks for bytes in it while they are in the cache.
// No policy: src/inspect/searchPlan.ts chooses the blocks, searchMatch.ts says what a hit is.
#include <emmintrin.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "addon.h"
#include "codec.h"

namespace faultline {

// Finds every place of a needle that has a byte other than zero. Two of its bytes are compared sixteen places at a time;
// bytes that are not zero are chosen, because most of a dump's pages are full of zeros.
class Finder {
 public:
  Finder(const uint8_t* needle, size_t length) : needle_(needle), length_(length) {
    while (first_ + 1 < length && needle[first_] == 0) first_++;
    last_ = length > 0 ? length - 1 : 0;
    while (last_ > first_ && needle[last_] == 0) last_--;
  }

  // Appends the places in [from, end) of `bytes` where a whole needle begins; false where `hits` is full.
  bool find(const uint8_t* bytes, size_t from, size_t end, uint32_t* hits, size_t capacity, size_t* count) const {
    if (length_ == 0 || end < length_) return true;
    const size_t stop = end - length_ + 1;
    const __m128i first = _mm_set1_epi8(static_cast<char>(needle_[first_]));
    const __m128i last = _mm_set1_epi8(static_cast<char>(needle_[last_]));
    size_t at = from;
    for (; at + 16 <= stop; at += 16) {
      const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + at + first_));
      const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + at + last_));
      unsigned mask =
          static_cast<unsigned>(_mm_movemask_epi8(_mm_and_si128(_mm_cmpeq_epi8(a, first), _mm_cmpeq_epi8(b, last))));
      for (; mask != 0; mask &= mask - 1) {
        if (!check(bytes, at + static_cast<size_t>(__builtin_ctz(mask)), hits, capacity, count)) return false;
      }
    }
    for (; at < stop; at++) {
      if (!check(bytes, at, hits, capacity, count)) return false;
    }
    return true;
  }

  size_t length() const { return length_; }

 private:
  bool check(const uint8_t* bytes, size_t at, uint32_t* hits, size_t capacity, size_t* count) const {
    if (std::memcmp(bytes + at, needle_, length_) != 0) return true;
    if (*count == capacity) return false;
    hits[(*count)++] = static_cast<uint32_t>(at);
    return *count < capacity;
  }

  const uint8_t* needle_;
  size_t length_;
  size_t first_ = 0;
  size_t last_ = 0;
};

static uint8_t* bytesOf(const Napi::Value& value) {
  return value.As<Napi::Uint8Array>().Data();
}

// findBytes(bytes, from, end, needle, hits)
static Napi::Value findBytes(const Napi::CallbackInfo& info) {
  auto hits = info[4].As<Napi::Uint32Array>();
  const Finder finder(bytesOf(info[3]), info[3].As<Napi::Uint8Array>().ByteLength());
  size_t count = 0;
  finder.find(bytesOf(info[0]), u64(info[1]), u64(info[2]), hits.Data(), hits.ElementLength(), &count);
  return number(info.Env(), static_cast<int64_t>(count));
}

// searchBlocks(plan, itemCount, needle, out, hits): the numbers of an item are listed in addon.d.ts.
class SearchJob : public Napi::AsyncWorker {
 public:
  explicit SearchJob(const Napi::CallbackInfo& info)
      : Napi::AsyncWorker(info.Env()),
        deferred_(Napi::Promise::Deferred::New(info.Env())),
        plan_(info[0].As<Napi::Float64Array>().Data()),
        itemCount_(u64(info[1])),
        finder_(bytesOf(info[2]), info[2].As<Napi::Uint8Array>().ByteLength()),
        out_(bytesOf(info[3])),
        hits_(info[4].As<Napi::Uint32Array>().Data()),
        capacity_(info[4].As<Napi::Uint32Array>().ElementLength()) {
    for (size_t i : {0, 2, 3, 4}) kept_.push_back(Napi::Persistent(info[i].As<Napi::Object>()));
  }
  Napi::Promise promise() { return deferred_.Promise(); }

 protected:
  void Execute() override {
    size_t end = 0;
    size_t spanStart = 0;
    size_t count = 0;
    bool room = true;
    for (size_t i = 0; i < itemCount_; i++) {
      const double* item = plan_ + i * kItemNumbers;
      const size_t length = static_cast<size_t>(item[7]) * kPageBytes;
      const int status = load(item, out_ + end, length);
      if (status < 0) {
        hits_[0] = static_cast<uint32_t>(i);
        result_ = status;
        return;
      }
      if (item[8] == 0) spanStart = end;
      // A needle that began in the block before may end in this one.
      const size_t behind = finder_.length() == 0 ? 0 : finder_.length() - 1;
      const size_t from = end - spanStart > behind ? end - behind : spanStart;
      end += length;
      if (room) room = finder_.find(out_, from, end, hits_, capacity_, &count);
    }
    result_ = static_cast<int64_t>(count);
  }
  void OnOK() override { deferred_.Resolve(number(Env(), result_)); }
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  static constexpr size_t kItemNumbers = 9;

  int load(const double* item, uint8_t* into, size_t length) {
    const int fd = static_cast<int>(item[0]);
    const int codec = static_cast<int>(item[1]);
    const uint64_t offset = static_cast<uint64_t>(item[2]);
    const size_t stored = static_cast<size_t>(item[3]);
    const int64_t checksum = static_cast<int64_t>(item[4]);
    const size_t blockBytes = static_cast<size_t>(item[5]) * kPageBytes;
    const size_t skip = static_cast<size_t>(item[6]) * kPageBytes;
    if (codec == kBlockZero) {
      std::memset(into, 0, length);
      return 0;
    }
    if (codec == kBlockRaw && checksum < 0) return preadFully(fd, into, length, offset + skip);
    if (stored_.size() < stored) stored_.resize(stored);
    int status = preadFully(fd, stored_.data(), stored, offset);
    if (status < 0) return status;
    if (length == blockBytes) return decodeBlock(codec, stored_.data(), stored, checksum, into, length);
    if (block_.size() < blockBytes) block_.resize(blockBytes);
    status = decodeBlock(codec, stored_.data(), stored, checksum, block_.data(), blockBytes);
    if (status == 0) std::memcpy(into, block_.data() + skip, length);
    return status;
  }

  Napi::Promise::Deferred deferred_;
  const double* plan_;
  size_t itemCount_;
  Finder finder_;
  uint8_t* out_;
  uint32_t* hits_;
  size_t capacity_;
  int64_t result_ = 0;
  std::vector<Napi::ObjectReference> kept_;
  std::vector<uint8_t> stored_;
  std::vector<uint8_t> block_;
};

static Napi::Value searchBlocks(const Napi::CallbackInfo& info) {
  SearchJob* job = new SearchJob(info);  // Deletes itself when done, as AsyncWorker does.
  Napi::Promise promise = job->promise();
  job->Queue();
  return promise;
}

// seekExtent(fd, offset, hole): lseek(2) with SEEK_HOLE or SEEK_DATA. The file position that it moves is used by nobody.
static Napi::Value seekExtent(const Napi::CallbackInfo& info) {
  const int whence = i32(info[2]) != 0 ? SEEK_HOLE : SEEK_DATA;
  return number(info.Env(), result(lseek(i32(info[0]), static_cast<off_t>(u64(info[1])), whence)));
}

void registerSearch(Napi::Env env, Napi::Object exports) {
  exports.Set("findBytes", Napi::Function::New(env, findBytes));
  exports.Set("searchBlocks", Napi::Function::New(env, searchBlocks));
  exports.Set("seekExtent", Napi::Function::New(env, seekExtent));
}

}  // namespace faultline
