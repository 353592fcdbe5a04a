// The addon's few shared helpers. Each .cc file owns one concern and exports one register function;
// addon.cc lists them. The native layer is positional: numbers and buffers in, a number out, a
// negative errno for failure. It never throws and never decides policy; src/ checks every argument
// before it crosses. The whole surface is written down in addon.d.ts.
#pragma once

#include <napi.h>

#include <cerrno>
#include <cstdint>

namespace faultline {

// 64-bit addresses and lengths cross as doubles that are exact integers below 2^53.
inline uint64_t u64(const Napi::Value& value) {
  return static_cast<uint64_t>(value.As<Napi::Number>().Int64Value());
}
inline int32_t i32(const Napi::Value& value) {
  return value.As<Napi::Number>().Int32Value();
}
inline Napi::Number number(Napi::Env env, int64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}
// The result of a system call as the native layer returns it: its value, or -errno.
inline int64_t result(int64_t value) {
  return value < 0 ? -static_cast<int64_t>(errno) : value;
}

void registerAhead(Napi::Env env, Napi::Object exports);
void registerAnalyze(Napi::Env env, Napi::Object exports);
void registerCodec(Napi::Env env, Napi::Object exports);
void registerCopy(Napi::Env env, Napi::Object exports);
void registerLock(Napi::Env env, Napi::Object exports);
void registerSegment(Napi::Env env, Napi::Object exports);
void registerCpu(Napi::Env env, Napi::Object exports);
void registerServe(Napi::Env env, Napi::Object exports);
void registerSearch(Napi::Env env, Napi::Object exports);
void registerSpawn(Napi::Env env, Napi::Object exports);
void registerSocket(Napi::Env env, Napi::Object exports);
void registerUffd(Napi::Env env, Napi::Object exports);
void registerWait(Napi::Env env, Napi::Object exports);
void registerPtrace(Napi::Env env, Napi::Object exports);
void registerReadAhead(Napi::Env env, Napi::Object exports);
void registerFiles(Napi::Env env, Napi::Object exports);
void registerFdState(Napi::Env env, Napi::Object exports);
void registerPopulate(Napi::Env env, Napi::Object exports);

}  // namespace faultline
