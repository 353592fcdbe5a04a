// Where the processor keeps each part of the extended state: CPUID leaf 0xD. One instruction, no policy.
#include <cpuid.h>

#include "addon.h"

namespace faultline {

// xstateLayout(Uint32Array of offset, size pairs, one per component): the number of components written.
static Napi::Value xstateLayout(const Napi::CallbackInfo& info) {
  auto pairs = info[0].As<Napi::Uint32Array>();
  const size_t count = pairs.ElementLength() / 2;
  for (size_t component = 0; component < count; component++) {
    unsigned size = 0, offset = 0, flags = 0, unused = 0;
    if (!__get_cpuid_count(0xd, static_cast<unsigned>(component), &size, &offset, &flags, &unused)) size = offset = 0;
    pairs[component * 2] = offset;
    pairs[component * 2 + 1] = size;
  }
  return number(info.Env(), static_cast<int64_t>(count));
}

void registerCpu(Napi::Env env, Napi::Object exports) {
  exports.Set("xstateLayout", Napi::Function::New(env, xstateLayout));
}

}  // namespace faultline
