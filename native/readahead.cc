// Advice about files: that they will be read soon, or synced.
#include "addon.h"

#include <fcntl.h>

namespace faultline {
namespace {

// (fd, offset, bytes): posix_fadvise(2), POSIX_FADV_WILLNEED: starts reading what is not in the page cache.
Napi::Value readAhead(const Napi::CallbackInfo& info) {
  int fd = i32(info[0]);
  int failed = posix_fadvise(fd, static_cast<off_t>(u64(info[1])), static_cast<off_t>(u64(info[2])), POSIX_FADV_WILLNEED);
  return number(info.Env(), -failed);
}

// (fd, offset, bytes): sync_file_range(2), SYNC_FILE_RANGE_WRITE: starts writing what is dirty. Makes nothing durable.
Napi::Value writeBehind(const Napi::CallbackInfo& info) {
  int fd = i32(info[0]);
  int got = sync_file_range(fd, static_cast<off_t>(u64(info[1])), static_cast<off_t>(u64(info[2])), SYNC_FILE_RANGE_WRITE);
  return number(info.Env(), result(got));
}

}  // namespace

void registerReadAhead(Napi::Env env, Napi::Object exports) {
  exports.Set("readAhead", Napi::Function::New(env, readAhead));
  exports.Set("writeBehind", Napi::Function::New(env, writeBehind));
}

}  // namespace faultline
