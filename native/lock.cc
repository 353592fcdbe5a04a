// Advisory locks on open files.
#include "addon.h"

#include <sys/file.h>

namespace faultline {
namespace {

// (fd): flock(2), exclusive, without waiting. -EAGAIN: somebody else has it. Closing the descriptor gives it back.
Napi::Value lockExclusive(const Napi::CallbackInfo& info) {
  return number(info.Env(), result(flock(i32(info[0]), LOCK_EX | LOCK_NB)));
}

}  // namespace

void registerLock(Napi::Env env, Napi::Object exports) {
  exports.Set("lockExclusive", Napi::Function::New(env, lockExclusive));
}

}  // namespace faultline
