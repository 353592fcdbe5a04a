// LZ4 block codec and checksums over buffers. No file access and no policy: callers choose blocks.
#include <lz4.h>

#include "addon.h"

namespace faultline {

static Napi::Value lz4Version(const Napi::CallbackInfo& info) {
  return number(info.Env(), LZ4_versionNumber());
}

void registerCodec(Napi::Env env, Napi::Object exports) {
  exports.Set("lz4Version", Napi::Function::New(env, lz4Version));
}

}  // namespace faultline
