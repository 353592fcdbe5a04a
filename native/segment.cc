// System V shared memory segments, by id.
#include "addon.h"

#include <sys/shm.h>

namespace faultline {
namespace {

// (id): shmctl(2), IPC_RMID: the segment goes away with its last attachment.
Napi::Value removeSegment(const Napi::CallbackInfo& info) {
  return number(info.Env(), result(shmctl(i32(info[0]), IPC_RMID, nullptr)));
}

}  // namespace

void registerSegment(Napi::Env env, Napi::Object exports) {
  exports.Set("removeSegment", Napi::Function::New(env, removeSegment));
}

}  // namespace faultline
