// ptrace(2), waitpid(2), process_vm_readv(2), pidfds and PAGEMAP_SCAN: what src/task needs of another process.
// One function per kernel call. All ptrace calls of one tracee must come from one OS thread (ptrace(2)).
#include "addon.h"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

extern "C" {
extern const uint8_t faultline_agent_start[];
extern const uint8_t faultline_agent_leave[];
extern const uint8_t faultline_agent_end[];
extern const uint8_t faultline_bridge_start[];
extern const uint8_t faultline_bridge_back[];
extern const uint8_t faultline_bridge_state[];
extern const uint8_t faultline_bridge_end[];
}

namespace faultline {
namespace {

// linux/ptrace.h, linux/fs.h: newer than Debian's headers or clashing with sys/ptrace.h.
constexpr int kGetSigmask = 0x420a, kSetSigmask = 0x420b, kGetRseq = 0x420f, kGetSyscallInfo = 0x420e;
constexpr int kSeccompGetFilter = 0x420c, kSeccompGetMetadata = 0x420d;
struct PageRegion {
  uint64_t start, end, categories;
};
struct PmScanArg {
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
static_assert(sizeof(PageRegion) == 24 && sizeof(PmScanArg) == 96, "linux/fs.h");
constexpr unsigned long kPagemapScan = _IOWR('f', 16, PmScanArg);
struct PeekSiginfoArgs {
  uint64_t off;
  uint32_t flags;
  int32_t nr;
};

using Info = const Napi::CallbackInfo&;

struct Bytes {
  uint8_t* data;
  size_t length;
};
// The bytes of any typed array or DataView.
Bytes bytes(const Napi::Value& value) {
  napi_env env = value.Env();
  bool typed = false;
  napi_is_typedarray(env, value, &typed);
  void* data = nullptr;
  size_t length = 0;
  if (typed) {
    napi_typedarray_type type;
    napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr);
    return {static_cast<uint8_t*>(data), value.As<Napi::TypedArray>().ByteLength()};
  }
  napi_get_dataview_info(env, value, &length, &data, nullptr, nullptr);
  return {static_cast<uint8_t*>(data), length};
}

Napi::Value request(Info info, long what, pid_t tid, uintptr_t address, uintptr_t data) {
  return number(info.Env(), result(syscall(SYS_ptrace, what, tid, address, data)));
}

Napi::Value seize(Info info) { return request(info, PTRACE_SEIZE, i32(info[0]), 0, u64(info[1])); }
Napi::Value interrupt(Info info) { return request(info, PTRACE_INTERRUPT, i32(info[0]), 0, 0); }
Napi::Value proceed(Info info) { return request(info, PTRACE_CONT, i32(info[0]), 0, u64(info[1])); }
Napi::Value toSyscall(Info info) { return request(info, PTRACE_SYSCALL, i32(info[0]), 0, u64(info[1])); }
Napi::Value listen(Info info) { return request(info, PTRACE_LISTEN, i32(info[0]), 0, 0); }
Napi::Value detach(Info info) { return request(info, PTRACE_DETACH, i32(info[0]), 0, u64(info[1])); }
Napi::Value setOptions(Info info) { return request(info, PTRACE_SETOPTIONS, i32(info[0]), 0, u64(info[1])); }

Napi::Value regset(Info info, long what) {
  Bytes buffer = bytes(info[2]);
  iovec io{buffer.data, buffer.length};
  long done = syscall(SYS_ptrace, what, i32(info[0]), u64(info[1]), &io);
  return number(info.Env(), done < 0 ? -errno : static_cast<int64_t>(io.iov_len));
}
Napi::Value getRegset(Info info) { return regset(info, PTRACE_GETREGSET); }
Napi::Value setRegset(Info info) { return regset(info, PTRACE_SETREGSET); }

Napi::Value getSigmask(Info info) {
  return request(info, kGetSigmask, i32(info[0]), 8, reinterpret_cast<uintptr_t>(bytes(info[1]).data));
}
Napi::Value setSigmask(Info info) {
  return request(info, kSetSigmask, i32(info[0]), 8, reinterpret_cast<uintptr_t>(bytes(info[1]).data));
}
Napi::Value getSiginfo(Info info) {
  return request(info, PTRACE_GETSIGINFO, i32(info[0]), 0, reinterpret_cast<uintptr_t>(bytes(info[1]).data));
}
// tid, 1 for the process's queue, offset in the queue, buffer of 128-byte siginfo_t: the number of signals read.
Napi::Value peekSiginfo(Info info) {
  Bytes buffer = bytes(info[3]);
  PeekSiginfoArgs args{u64(info[2]), static_cast<uint32_t>(i32(info[1])), static_cast<int32_t>(buffer.length / 128)};
  return request(info, PTRACE_PEEKSIGINFO, i32(info[0]), reinterpret_cast<uintptr_t>(&args),
                 reinterpret_cast<uintptr_t>(buffer.data));
}
// struct ptrace_rseq_configuration: u64 pointer, u32 size, u32 signature, u32 flags, u32 pad.
Napi::Value getRseq(Info info) {
  Bytes buffer = bytes(info[1]);
  return request(info, kGetRseq, i32(info[0]), buffer.length, reinterpret_cast<uintptr_t>(buffer.data));
}
Napi::Value getSyscallInfo(Info info) {
  Bytes buffer = bytes(info[1]);
  return request(info, kGetSyscallInfo, i32(info[0]), buffer.length, reinterpret_cast<uintptr_t>(buffer.data));
}
Napi::Value getEventMessage(Info info) {
  unsigned long message = 0;
  long done = syscall(SYS_ptrace, PTRACE_GETEVENTMSG, i32(info[0]), 0, &message);
  return number(info.Env(), done < 0 ? -errno : static_cast<int64_t>(message));
}
// tid, index, buffer (of struct sock_filter, or empty to ask for the count): the number of instructions.
Napi::Value seccompFilter(Info info) {
  Bytes buffer = bytes(info[2]);
  return request(info, kSeccompGetFilter, i32(info[0]), u64(info[1]),
                 buffer.length == 0 ? 0 : reinterpret_cast<uintptr_t>(buffer.data));
}
// struct seccomp_metadata: u64 index, u64 flags.
Napi::Value seccompMetadata(Info info) {
  Bytes buffer = bytes(info[1]);
  return request(info, kSeccompGetMetadata, i32(info[0]), buffer.length, reinterpret_cast<uintptr_t>(buffer.data));
}

// A wait that cannot last: a repeating timer interrupts waitpid with a signal whose handler does nothing. It repeats
// because a single shot could fire just before waitpid sleeps.
class WaitTimer {
 public:
  WaitTimer() {
    struct sigaction action {};
    action.sa_handler = [](int) {};
    sigaction(kSignal(), &action, nullptr);
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = kSignal();
    event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
    made_ = timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0;
  }
  ~WaitTimer() {
    if (made_) timer_delete(timer_);
  }
  void set(int64_t firstNs) {
    itimerspec spec{};
    spec.it_value = {static_cast<time_t>(firstNs / 1000000000), static_cast<long>(firstNs % 1000000000)};
    if (firstNs != 0) spec.it_interval.tv_nsec = 10000000;
    if (made_) timer_settime(timer_, 0, &spec, nullptr);
  }
  bool made() const { return made_; }

 private:
  static int kSignal() { return SIGRTMAX - 3; }
  timer_t timer_{};
  bool made_ = false;
};

int64_t nowNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000ll + now.tv_nsec;
}

// waitpid(2), and with WNOWAIT among the options what it would have said: the state stays to be waited for.
long waitFor(pid_t tid, int* status, int options) {
  if ((options & WNOWAIT) == 0) return waitpid(tid, status, options);
  siginfo_t info{};
  int result = waitid(tid < 0 ? P_ALL : P_PID, tid < 0 ? 0 : tid, &info, options | WEXITED | WSTOPPED);
  if (result < 0) return result;
  if (info.si_pid == 0) return 0;
  *status = info.si_code == CLD_EXITED ? info.si_status << 8
          : info.si_code == CLD_KILLED ? info.si_status
          : info.si_code == CLD_DUMPED ? info.si_status | 0x80
                                       : info.si_status << 8 | 0x7f;
  return info.si_pid;
}

// tid (-1: any), options of waitpid or WNOWAIT, timeout in milliseconds (0 polls), Int32Array(1) for the status:
// the task that changed, 0 when the time is up, or -errno.
Napi::Value wait(Info info) {
  pid_t tid = i32(info[0]);
  int options = i32(info[1]) | __WALL;
  int64_t timeoutNs = i32(info[2]) * 1000000ll;
  int* status = reinterpret_cast<int*>(bytes(info[3]).data);
  long got = 0;
  for (int spins = timeoutNs == 0 ? 1 : 40; spins > 0; spins--) {
    got = waitFor(tid, status, options | WNOHANG);
    if (got != 0) return number(info.Env(), result(got));
    if (timeoutNs != 0) __builtin_ia32_pause();
  }
  if (timeoutNs == 0) return number(info.Env(), 0);
  thread_local WaitTimer timer;
  if (!timer.made()) return number(info.Env(), -EAGAIN);
  int64_t deadline = nowNs() + timeoutNs;
  timer.set(timeoutNs);
  for (;;) {
    got = waitFor(tid, status, options);
    if (got >= 0 || errno != EINTR) break;
    if (nowNs() < deadline) continue;
    got = waitFor(tid, status, options | WNOHANG);
    break;
  }
  int64_t value = result(got);
  timer.set(0);
  return number(info.Env(), value);
}

Napi::Value vmTransfer(Info info, long call) {
  Bytes buffer = bytes(info[2]);
  iovec local{buffer.data, buffer.length};
  iovec remote{reinterpret_cast<void*>(u64(info[1])), buffer.length};
  return number(info.Env(), result(syscall(call, i32(info[0]), &local, 1, &remote, 1, 0)));
}
Napi::Value vmRead(Info info) { return vmTransfer(info, SYS_process_vm_readv); }
Napi::Value vmWrite(Info info) { return vmTransfer(info, SYS_process_vm_writev); }

// Descriptor (of /proc/pid/mem or any file), offset, buffer: pread(2) and pwrite(2).
Napi::Value readAt(Info info) {
  Bytes buffer = bytes(info[2]);
  return number(info.Env(), result(pread(i32(info[0]), buffer.data, buffer.length, u64(info[1]))));
}
Napi::Value writeAt(Info info) {
  Bytes buffer = bytes(info[2]);
  return number(info.Env(), result(pwrite(i32(info[0]), buffer.data, buffer.length, u64(info[1]))));
}

// Descriptor, Float64Array of (offset, length) pairs, the bytes of all of them in order: how many were written. Stops at
// the first byte that cannot be.
Napi::Value writeRanges(Info info) {
  const int fd = i32(info[0]);
  auto ranges = info[1].As<Napi::Float64Array>();
  Bytes buffer = bytes(info[2]);
  size_t done = 0;
  for (size_t i = 0; i + 1 < ranges.ElementLength(); i += 2) {
    const uint64_t offset = static_cast<uint64_t>(ranges[i]);
    const size_t length = static_cast<size_t>(ranges[i + 1]);
    if (length > buffer.length - done) return number(info.Env(), -EOVERFLOW);
    for (size_t written = 0; written < length;) {
      const ssize_t got = pwrite(fd, buffer.data + done + written, length - written, offset + written);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return number(info.Env(), -errno);
      if (got == 0) return number(info.Env(), done + written);
      written += got;
    }
    done += length;
  }
  return number(info.Env(), done);
}

Napi::Value pidfdGetfd(Info info) {
  return number(info.Env(), result(syscall(SYS_pidfd_getfd, i32(info[0]), i32(info[1]), 0)));
}
Napi::Value tgkill(Info info) {
  return number(info.Env(), result(syscall(SYS_tgkill, i32(info[0]), i32(info[1]), i32(info[2]))));
}
// pid, pid, type (linux/kcmp.h), index, index: 0 equal, 1 less, 2 greater, 3 different.
Napi::Value compare(Info info) {
  return number(info.Env(), result(syscall(SYS_kcmp, i32(info[0]), i32(info[1]), i32(info[2]), u64(info[3]), u64(info[4]))));
}

// pid, descriptor; the epoll set's pid and descriptor; target as the set knows it, and which of those: KCMP_EPOLL_TFD.
Napi::Value epollTarget(Info info) {
  auto word = [&](int at) { return static_cast<uint32_t>(i32(info[at])); };
  kcmp_epoll_slot slot{word(3), word(4), word(5)};
  long got = syscall(SYS_kcmp, i32(info[0]), i32(info[2]), KCMP_EPOLL_TFD, u64(info[1]), &slot);
  return number(info.Env(), result(got));
}

// Descriptor of /proc/pid/pagemap, start, end, Float64Array(4) of masks (inverted, all of, any of, returned),
// BigUint64Array for (start, end, categories) triples, Float64Array(1) for where the walk ended: the regions found.
Napi::Value pagemapScan(Info info) {
  auto masks = info[3].As<Napi::Float64Array>();
  Bytes regions = bytes(info[4]);
  auto walkEnd = info[5].As<Napi::Float64Array>();
  PmScanArg scan{};
  scan.size = sizeof scan;
  scan.start = u64(info[1]);
  scan.end = u64(info[2]);
  scan.vec = reinterpret_cast<uintptr_t>(regions.data);
  scan.vec_len = regions.length / sizeof(PageRegion);
  scan.category_inverted = static_cast<uint64_t>(masks[0]);
  scan.category_mask = static_cast<uint64_t>(masks[1]);
  scan.category_anyof_mask = static_cast<uint64_t>(masks[2]);
  scan.return_mask = static_cast<uint64_t>(masks[3]);
  long found = ioctl(i32(info[0]), kPagemapScan, &scan);
  if (found < 0) return number(info.Env(), -errno);
  walkEnd[0] = static_cast<double>(scan.walk_end);
  return number(info.Env(), found);
}

Napi::Value code(Info info, const uint8_t* start, const uint8_t* end) {
  Bytes buffer = bytes(info[0]);
  size_t length = end - start;
  if (buffer.length < length) return number(info.Env(), -EOVERFLOW);
  memcpy(buffer.data, start, length);
  return number(info.Env(), length);
}
// Copies machine code into the buffer, and where it has its entries into an Int32Array: its length, or -EOVERFLOW.
// The agent: [leave]. The bridge: [way back, state].
Napi::Value agentCode(Info info) {
  reinterpret_cast<int32_t*>(bytes(info[1]).data)[0] = faultline_agent_leave - faultline_agent_start;
  return code(info, faultline_agent_start, faultline_agent_end);
}
Napi::Value bridgeCode(Info info) {
  auto entries = reinterpret_cast<int32_t*>(bytes(info[1]).data);
  entries[0] = faultline_bridge_back - faultline_bridge_start;
  entries[1] = faultline_bridge_state - faultline_bridge_start;
  return code(info, faultline_bridge_start, faultline_bridge_end);
}

}  // namespace

void registerPtrace(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*call)(Info)) {
    exports.Set(name, Napi::Function::New(env, call, name));
  };
  add("ptraceSeize", seize);
  add("ptraceInterrupt", interrupt);
  add("ptraceContinue", proceed);
  add("ptraceSyscall", toSyscall);
  add("ptraceListen", listen);
  add("ptraceDetach", detach);
  add("ptraceSetOptions", setOptions);
  add("ptraceGetRegset", getRegset);
  add("ptraceSetRegset", setRegset);
  add("ptraceGetSigmask", getSigmask);
  add("ptraceSetSigmask", setSigmask);
  add("ptraceGetSiginfo", getSiginfo);
  add("ptracePeekSiginfo", peekSiginfo);
  add("ptraceGetRseq", getRseq);
  add("ptraceGetSyscallInfo", getSyscallInfo);
  add("ptraceGetEventMessage", getEventMessage);
  add("ptraceSeccompFilter", seccompFilter);
  add("ptraceSeccompMetadata", seccompMetadata);
  add("waitTask", wait);
  add("vmRead", vmRead);
  add("vmWrite", vmWrite);
  add("readAt", readAt);
  add("writeAt", writeAt);
  add("writeRanges", writeRanges);
  add("pidfdGetfd", pidfdGetfd);
  add("tgkill", tgkill);
  add("kcmp", compare);
  add("epollTarget", epollTarget);
  add("pagemapScan", pagemapScan);
  add("agentCode", agentCode);
  add("bridgeCode", bridgeCode);
}

}  // namespace faultline
