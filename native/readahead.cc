// Advice about files that will be read soon.
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

}  // namespace

void registerReadAhead(Napi::Env env, Napi::Object exports) {
  exports.Set("readAhead", Napi::Function::New(env, readAhead));
}

}  // namespace faultline
