// What bytes look like: entropy per page and how well LZ4 would do, for the questions of src/inspect. No file access.
#include <lz4.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "addon.h"

namespace faultline {

static constexpr size_t kPageBytes = 4096;
static constexpr uint16_t kZeroPage = 0xffff;

// -count * log2(count / 4096) for every count that a byte value can have in a page.
struct EntropyTable {
  double share[kPageBytes + 1];
  EntropyTable() {
    share[0] = 0;
    for (size_t count = 1; count <= kPageBytes; count++) {
      const double p = static_cast<double>(count) / kPageBytes;
      share[count] = -p * std::log2(p);
    }
  }
};

static bool allZero(const uint8_t* page) {
  return page[0] == 0 && std::memcmp(page, page + 1, kPageBytes - 1) == 0;
}

static uint16_t entropyHundredths(const uint8_t* page) {
  static const EntropyTable table;
  if (allZero(page)) return kZeroPage;
  // Four histograms, so that runs of one value do not wait on one counter.
  uint16_t counts[4][256] = {};
  for (size_t i = 0; i < kPageBytes; i += 4) {
    counts[0][page[i]]++;
    counts[1][page[i + 1]]++;
    counts[2][page[i + 2]]++;
    counts[3][page[i + 3]]++;
  }
  double bits = 0;
  for (size_t value = 0; value < 256; value++) {
    bits += table.share[counts[0][value] + counts[1][value] + counts[2][value] + counts[3][value]];
  }
  return static_cast<uint16_t>(std::lround(bits * 100));
}

// pageEntropies(bytes, pageCount, out)
static Napi::Value pageEntropies(const Napi::CallbackInfo& info) {
  const auto bytes = info[0].As<Napi::Uint8Array>();
  const size_t pageCount = u64(info[1]);
  auto out = info[2].As<Napi::Uint16Array>();
  if (pageCount * kPageBytes > bytes.ByteLength() || pageCount > out.ElementLength()) return number(info.Env(), -EINVAL);
  for (size_t page = 0; page < pageCount; page++) {
    out.Data()[page] = entropyHundredths(bytes.Data() + page * kPageBytes);
  }
  return number(info.Env(), static_cast<int64_t>(pageCount));
}

// compressedBytes(bytes, offset, length)
static Napi::Value compressedBytes(const Napi::CallbackInfo& info) {
  static thread_local std::vector<char> scratch;
  const auto bytes = info[0].As<Napi::Uint8Array>();
  const size_t offset = u64(info[1]);
  const size_t length = u64(info[2]);
  if (offset > bytes.ByteLength() || length > bytes.ByteLength() - offset || length > LZ4_MAX_INPUT_SIZE) {
    return number(info.Env(), -EINVAL);
  }
  const size_t bound = static_cast<size_t>(LZ4_compressBound(static_cast<int>(length)));
  if (scratch.size() < bound) scratch.resize(bound);
  const char* source = reinterpret_cast<const char*>(bytes.Data() + offset);
  const int stored = LZ4_compress_default(source, scratch.data(), static_cast<int>(length), static_cast<int>(bound));
  return number(info.Env(), stored > 0 ? stored : -EIO);
}

void registerAnalyze(Napi::Env env, Napi::Object exports) {
  exports.Set("pageEntropies", Napi::Function::New(env, pageEntropies));
  exports.Set("compressedBytes", Napi::Function::New(env, compressedBytes));
}

}  // namespace faultline
