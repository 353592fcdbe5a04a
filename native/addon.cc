// The addon's entry point: one register function per concern.
#include "addon.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  faultline::registerAnalyze(env, exports);
  faultline::registerCodec(env, exports);
  faultline::registerCopy(env, exports);
  faultline::registerAhead(env, exports);
  faultline::registerLock(env, exports);
  faultline::registerSegment(env, exports);
  faultline::registerReadAhead(env, exports);
  faultline::registerCpu(env, exports);
  faultline::registerSearch(env, exports);
  faultline::registerServe(env, exports);
  faultline::registerSpawn(env, exports);
  faultline::registerSocket(env, exports);
  faultline::registerUffd(env, exports);
  faultline::registerWait(env, exports);
  faultline::registerPtrace(env, exports);
  faultline::registerFiles(env, exports);
  faultline::registerFdState(env, exports);
  faultline::registerPopulate(env, exports);
  return exports;
}

NODE_API_MODULE(NODE_GYP_MODULE_NAME, init)
