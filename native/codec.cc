// LZ4 block codec and checksums: single blocks on the calling thread, segments of many blocks on libuv's pool, with
// their file reads and writes fused in. No policy: callers choose the blocks and check every argument.
#include "codec.h"

#include <fcntl.h>
#include <lz4.h>
#include <lz4hc.h>
#include <sys/uio.h>
#include <unistd.h>
#include <xxhash.h>

#include <cstring>
#include <memory>
#include <vector>

#include "addon.h"

namespace faultline {

bool allZero(const uint8_t* bytes, size_t length) {
  // The first differing byte ends most calls; what is left compares against itself one byte on, at memcmp's speed.
  if (length == 0) return true;
  return bytes[0] == 0 && std::memcmp(bytes, bytes + 1, length - 1) == 0;
}

int preadFully(int fd, uint8_t* into, size_t length, uint64_t offset) {
  while (length > 0) {
    ssize_t got = pread(fd, into, length, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    if (got == 0) return -ENODATA;
    into += got;
    offset += static_cast<uint64_t>(got);
    length -= static_cast<size_t>(got);
  }
  return 0;
}

int preadWithNeighbours(int fd, uint8_t* into, size_t length, uint64_t offset) {
  iovec part{into, length};
  ssize_t got = preadv2(fd, &part, 1, static_cast<off_t>(offset), RWF_NOWAIT);
  if (got == static_cast<ssize_t>(length)) return 0;
  if (got < 0 && errno == EAGAIN) got = 0;
  if (got >= 0) {
    uint64_t first = offset & ~(kNeighbourBytes - 1);
    uint64_t end = (offset + length + kNeighbourBytes - 1) & ~(kNeighbourBytes - 1);
    readahead(fd, static_cast<off64_t>(first), end - first);
  } else {
    got = 0;  // the file system cannot tell what is cached
  }
  return preadFully(fd, into + got, length - static_cast<size_t>(got), offset + static_cast<uint64_t>(got));
}

static int pwriteFully(int fd, const uint8_t* from, size_t length, uint64_t offset) {
  while (length > 0) {
    ssize_t put = pwrite(fd, from, length, static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return -errno;
    from += put;
    offset += static_cast<uint64_t>(put);
    length -= static_cast<size_t>(put);
  }
  return 0;
}

int decodeBlock(int codec, const uint8_t* stored, size_t storedBytes, int64_t checksum, uint8_t* out, size_t outBytes) {
  if (codec == kBlockZero) {
    if (storedBytes != 0) return -EILSEQ;
    std::memset(out, 0, outBytes);
    return 0;
  }
  if (!checksumHolds(stored, storedBytes, checksum)) return -EBADMSG;
  if (codec == kBlockRaw) {
    if (storedBytes != outBytes) return -EILSEQ;
    if (stored != out) std::memcpy(out, stored, outBytes);
    return 0;
  }
  if (codec != kBlockLz4) return -EINVAL;
  if (storedBytes > INT32_MAX || outBytes > INT32_MAX) return -EINVAL;
  int got = LZ4_decompress_safe(reinterpret_cast<const char*>(stored), reinterpret_cast<char*>(out),
                                static_cast<int>(storedBytes), static_cast<int>(outBytes));
  return got == static_cast<int>(outBytes) ? 0 : -EILSEQ;
}

bool checksumHolds(const uint8_t* stored, size_t storedBytes, int64_t checksum) {
  return checksum < 0 || XXH32(stored, storedBytes, 0) == static_cast<uint32_t>(checksum);
}

int decodePrefix(int codec, const uint8_t* stored, size_t storedBytes, uint8_t* out, size_t wantedBytes, size_t outBytes) {
  if (codec != kBlockLz4 || wantedBytes == outBytes) return decodeBlock(codec, stored, storedBytes, -1, out, outBytes);
  if (storedBytes > INT32_MAX || outBytes > INT32_MAX) return -EILSEQ;
  const int got = LZ4_decompress_safe_partial(reinterpret_cast<const char*>(stored), reinterpret_cast<char*>(out),
                                              static_cast<int>(storedBytes), static_cast<int>(wantedBytes),
                                              static_cast<int>(outBytes));
  return got >= static_cast<int>(wantedBytes) ? 0 : -EILSEQ;
}

// Encodes a block into `out`, which has room for inBytes. Returns the stored bytes: 0 for all zero, inBytes for raw
// (LZ4 saves less than an eighth), else the length of an LZ4 block. level 0 is LZ4, above it LZ4-HC of that level.
static size_t encodeBlock(const uint8_t* in, size_t inBytes, int level, void* state, uint8_t* out) {
  if (allZero(in, inBytes)) return 0;
  const int room = static_cast<int>(inBytes - inBytes / 8);
  const char* source = reinterpret_cast<const char*>(in);
  char* target = reinterpret_cast<char*>(out);
  const int length = static_cast<int>(inBytes);
  const int got = level == 0 ? LZ4_compress_fast_extState(state, source, target, length, room, 1)
                             : LZ4_compress_HC_extStateHC(state, source, target, length, room, level);
  if (got > 0) return static_cast<size_t>(got);
  std::memcpy(out, in, inBytes);
  return inBytes;
}

static Napi::Value lz4Version(const Napi::CallbackInfo& info) {
  return number(info.Env(), LZ4_versionNumber());
}

static uint8_t* bytesOf(const Napi::Value& value) {
  return value.As<Napi::Uint8Array>().Data();
}

// xxh32(bytes, offset, length)
static Napi::Value xxh32(const Napi::CallbackInfo& info) {
  return number(info.Env(), XXH32(bytesOf(info[0]) + u64(info[1]), u64(info[2]), 0));
}

// isZero(bytes, offset, length)
static Napi::Value isZero(const Napi::CallbackInfo& info) {
  return number(info.Env(), allZero(bytesOf(info[0]) + u64(info[1]), u64(info[2])) ? 1 : 0);
}

// encodeBlock(source, offset, length, level, out, outOffset)
static Napi::Value encodeOne(const Napi::CallbackInfo& info) {
  const int level = i32(info[3]);
  std::unique_ptr<uint64_t[]> state(
      new uint64_t[static_cast<size_t>(level == 0 ? LZ4_sizeofState() : LZ4_sizeofStateHC()) / 8 + 1]);
  return number(info.Env(), static_cast<int64_t>(encodeBlock(bytesOf(info[0]) + u64(info[1]), u64(info[2]), level,
                                                             state.get(), bytesOf(info[4]) + u64(info[5]))));
}

// decodeBlock(stored, storedOffset, storedBytes, codec, checksum, out, outOffset, outBytes)
static Napi::Value decodeOne(const Napi::CallbackInfo& info) {
  return number(info.Env(), decodeBlock(i32(info[3]), bytesOf(info[0]) + u64(info[1]), u64(info[2]),
                                        info[4].As<Napi::Number>().Int64Value(), bytesOf(info[5]) + u64(info[6]),
                                        u64(info[7])));
}

// readBlock(fd, offset, storedBytes, codec, checksum, out, outOffset, outBytes)
static Napi::Value readOne(const Napi::CallbackInfo& info) {
  thread_local std::vector<uint8_t> scratch;
  const uint64_t storedBytes = u64(info[2]);
  const int codec = i32(info[3]);
  uint8_t* out = bytesOf(info[5]) + u64(info[6]);
  const uint64_t outBytes = u64(info[7]);
  const int64_t checksum = info[4].As<Napi::Number>().Int64Value();
  if (codec == kBlockRaw && checksum < 0 && storedBytes == outBytes) {
    return number(info.Env(), preadFully(i32(info[0]), out, outBytes, u64(info[1])));
  }
  if (scratch.size() < storedBytes) scratch.resize(storedBytes);
  int status = preadFully(i32(info[0]), scratch.data(), storedBytes, u64(info[1]));
  if (status == 0) status = decodeBlock(codec, scratch.data(), storedBytes, checksum, out, outBytes);
  return number(info.Env(), status);
}

// Work on libuv's pool that settles a promise with a number. The buffers it uses are kept alive until then.
class PoolJob : public Napi::AsyncWorker {
 public:
  explicit PoolJob(Napi::Env env) : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)) {}
  Napi::Promise promise() { return deferred_.Promise(); }

 protected:
  template <typename T>
  T* keep(const Napi::Value& value) {
    kept_.push_back(Napi::Persistent(value.As<Napi::Object>()));
    return reinterpret_cast<T*>(static_cast<uint8_t*>(value.As<Napi::TypedArray>().ArrayBuffer().Data()) +
                                value.As<Napi::TypedArray>().ByteOffset());
  }
  void OnOK() override { deferred_.Resolve(number(Env(), status_)); }
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }
  int64_t status_ = 0;

 private:
  Napi::Promise::Deferred deferred_;
  std::vector<Napi::ObjectReference> kept_;
};

// packBlocks(fd, offset, source, starts, blockPages, blockCount, level, out, sizes, sums): with fd >= 0 first fills `source`
// from the file at `offset`; encodes the blocks at starts[i] of it one behind the other into `out`. Resolves to the bytes
// in `out`.
class PackJob : public PoolJob {
 public:
  explicit PackJob(const Napi::CallbackInfo& info)
      : PoolJob(info.Env()),
        fd_(i32(info[0])),
        offset_(u64(info[1])),
        source_(keep<uint8_t>(info[2])),
        starts_(keep<double>(info[3])),
        blockPages_(keep<uint32_t>(info[4])),
        blockCount_(u64(info[5])),
        level_(i32(info[6])),
        out_(keep<uint8_t>(info[7])),
        sizes_(keep<uint32_t>(info[8])),
        sums_(keep<uint32_t>(info[9])) {}

 protected:
  void Execute() override {
    if (fd_ >= 0) {
      size_t length = 0;
      for (size_t i = 0; i < blockCount_; i++) length += blockPages_[i] * kPageBytes;
      const int status = preadFully(fd_, source_, length, offset_);
      if (status < 0) {
        status_ = status;
        return;
      }
    }
    std::unique_ptr<uint64_t[]> state(
        new uint64_t[static_cast<size_t>(level_ == 0 ? LZ4_sizeofState() : LZ4_sizeofStateHC()) / 8 + 1]);
    uint8_t* out = out_;
    for (size_t i = 0; i < blockCount_; i++) {
      const size_t inBytes = blockPages_[i] * kPageBytes;
      const uint8_t* in = source_ + static_cast<uint64_t>(starts_[i]);
      const size_t stored = encodeBlock(in, inBytes, level_, state.get(), out);
      sizes_[i] = static_cast<uint32_t>(stored);
      sums_[i] = XXH32(out, stored, 0);
      out += stored;
    }
    status_ = out - out_;
  }

 private:
  int fd_;
  uint64_t offset_;
  uint8_t* source_;
  const double* starts_;
  const uint32_t* blockPages_;
  size_t blockCount_;
  int level_;
  uint8_t* out_;
  uint32_t* sizes_;
  uint32_t* sums_;
};

// unpackBlocks(fd, offsets, firstPages, sums, first, end, stored, out, outFd): reads blocks [first, end), checks and
// decodes them into `out`; with outFd >= 0 writes them at their place in that file, leaving all-zero blocks as holes.
// offsets and firstPages have one more element than there are blocks. Resolves to 0 or a negative errno.
class UnpackJob : public PoolJob {
 public:
  explicit UnpackJob(const Napi::CallbackInfo& info)
      : PoolJob(info.Env()),
        fd_(i32(info[0])),
        offsets_(keep<double>(info[1])),
        firstPages_(keep<double>(info[2])),
        sums_(keep<uint32_t>(info[3])),
        first_(u64(info[4])),
        end_(u64(info[5])),
        stored_(keep<uint8_t>(info[6])),
        out_(keep<uint8_t>(info[7])),
        outFd_(i32(info[8])) {}

 protected:
  void Execute() override {
    const uint64_t base = static_cast<uint64_t>(offsets_[first_]);
    const size_t storedBytes = static_cast<size_t>(static_cast<uint64_t>(offsets_[end_]) - base);
    status_ = preadFully(fd_, stored_, storedBytes, base);
    for (size_t i = first_; i < end_ && status_ == 0; i++) status_ = decodeOne(i, base);
    if (status_ == 0 && outFd_ >= 0) status_ = writeAll();
  }

 private:
  uint64_t pagesBefore(size_t block) const { return static_cast<uint64_t>(firstPages_[block] - firstPages_[first_]); }
  size_t storedBytes(size_t block) const { return static_cast<size_t>(offsets_[block + 1] - offsets_[block]); }

  int decodeOne(size_t block, uint64_t base) {
    const size_t stored = storedBytes(block);
    const size_t outBytes = (pagesBefore(block + 1) - pagesBefore(block)) * kPageBytes;
    const int codec = stored == 0 ? kBlockZero : stored == outBytes ? kBlockRaw : kBlockLz4;
    return decodeBlock(codec, stored_ + (static_cast<uint64_t>(offsets_[block]) - base), stored, sums_[block],
                       out_ + pagesBefore(block) * kPageBytes, outBytes);
  }

  int writeAll() {
    size_t from = first_;
    while (from < end_) {
      size_t to = from + 1;
      const bool hole = storedBytes(from) == 0;
      while (to < end_ && (storedBytes(to) == 0) == hole) to++;
      if (!hole) {
        const int status =
            pwriteFully(outFd_, out_ + pagesBefore(from) * kPageBytes,
                        (pagesBefore(to) - pagesBefore(from)) * kPageBytes,
                        static_cast<uint64_t>(firstPages_[from]) * kPageBytes);
        if (status < 0) return status;
      }
      from = to;
    }
    return 0;
  }

  int fd_;
  const double* offsets_;
  const double* firstPages_;
  const uint32_t* sums_;
  size_t first_;
  size_t end_;
  uint8_t* stored_;
  uint8_t* out_;
  int outFd_;
};

template <typename Job>
static Napi::Value queue(const Napi::CallbackInfo& info) {
  Job* job = new Job(info);  // Deletes itself when done, as AsyncWorker does.
  Napi::Promise promise = job->promise();
  job->Queue();
  return promise;
}

void registerCodec(Napi::Env env, Napi::Object exports) {
  exports.Set("lz4Version", Napi::Function::New(env, lz4Version));
  exports.Set("xxh32", Napi::Function::New(env, xxh32));
  exports.Set("isZero", Napi::Function::New(env, isZero));
  exports.Set("encodeBlock", Napi::Function::New(env, encodeOne));
  exports.Set("decodeBlock", Napi::Function::New(env, decodeOne));
  exports.Set("readBlock", Napi::Function::New(env, readOne));
  exports.Set("packBlocks", Napi::Function::New(env, queue<PackJob>));
  exports.Set("unpackBlocks", Napi::Function::New(env, queue<UnpackJob>));
}

}  // namespace faultline
