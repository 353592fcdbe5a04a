// Creates the empty process that a restore fills: clone3(2) with a chosen pid, then execve of a stub, in
// one native call, because no JavaScript may run between the two. Also reaps and watches such processes.
// What goes into the process afterwards is not decided here.
//
// The stub is a complete ELF program that sleeps (`pause` in a loop), and has a few instructions more for the restorer to lead
// it to: see kStubCode. It is built in memory and run
// from a sealed memfd, so there is no file to find or to trust. It has no libc, no rseq and no descriptors.
#include <elf.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <spawn.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include <cstring>
#include <string>

#include "addon.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

namespace faultline {
namespace {

// Below every address that a program may map by default (vm.mmap_min_addr), above the null page.
constexpr uint64_t kStubAddress = 0x10000;

struct StubImage {
  Elf64_Ehdr header;
  Elf64_Phdr load;
  Elf64_Phdr stack;
  uint8_t code[40];
};

constexpr uint8_t kStubCode[40] = {
    0xb8, 0x22, 0x00, 0x00, 0x00,  // mov $34,%eax
    0x0f, 0x05,                    // syscall: pause
    0xeb, 0xf7,                    // jmp back
    0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90,
    // At 16 (agentHost.ts): any system call, its result into r12, then mmap with r13, r14 and r15 as address, length and
    // protection and the other arguments as they were, then a trap.
    0x0f, 0x05,                    // syscall
    0x49, 0x89, 0xc4,              // mov %rax,%r12
    0x4c, 0x89, 0xef,              // mov %r13,%rdi
    0x4c, 0x89, 0xf6,              // mov %r14,%rsi
    0x4c, 0x89, 0xfa,              // mov %r15,%rdx
    0xb8, 0x09, 0x00, 0x00, 0x00,  // mov $9,%eax
    0x0f, 0x05,                    // syscall: mmap
    0xcc,                          // int3
    0x90, 0x90,
};

int makeStub() {
  StubImage image = {};
  memcpy(image.header.e_ident, ELFMAG, SELFMAG);
  image.header.e_ident[EI_CLASS] = ELFCLASS64;
  image.header.e_ident[EI_DATA] = ELFDATA2LSB;
  image.header.e_ident[EI_VERSION] = EV_CURRENT;
  image.header.e_type = ET_EXEC;
  image.header.e_machine = EM_X86_64;
  image.header.e_version = EV_CURRENT;
  image.header.e_entry = kStubAddress + offsetof(StubImage, code);
  image.header.e_phoff = offsetof(StubImage, load);
  image.header.e_ehsize = sizeof(Elf64_Ehdr);
  image.header.e_phentsize = sizeof(Elf64_Phdr);
  image.header.e_phnum = 2;
  image.load.p_type = PT_LOAD;
  image.load.p_flags = PF_R | PF_X;
  image.load.p_vaddr = image.load.p_paddr = kStubAddress;
  image.load.p_filesz = image.load.p_memsz = sizeof(StubImage);
  image.load.p_align = 0x1000;
  image.stack.p_type = PT_GNU_STACK;
  image.stack.p_flags = PF_R | PF_W;
  image.stack.p_align = 16;
  memcpy(image.code, kStubCode, sizeof(kStubCode));

  int fd = memfd_create("faultline-stub", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
  if (fd < 0 && errno == EINVAL) fd = memfd_create("faultline-stub", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return -errno;
  if (write(fd, &image, sizeof(image)) != static_cast<ssize_t>(sizeof(image)) || fchmod(fd, 0555) != 0 ||
      fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
    const int error = errno;
    close(fd);
    return -error;
  }
  return fd;
}

struct SpawnRequest {
  int stub;
  bool newSession;
  char* arguments[2];
  char* environment[1];
  int error;  // written by the child, which shares this memory until execve
};

// The child shares the parent's memory (CLONE_VM), its parent thread waits (CLONE_VFORK), and all signals are
// blocked: nothing here may touch errno, locks or the heap, so the calls are made by hand.
inline long rawCall(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0) {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
  return result;
}

extern "C" __attribute__((noreturn, used, visibility("hidden"))) void faultlineSpawnChild(SpawnRequest* request) {
  long failed = 0;
  if (request->newSession) failed = rawCall(SYS_setsid);
  // The stub is closed by its close-on-exec flag; everything else goes now.
  if (failed >= 0 && request->stub > 0) failed = rawCall(SYS_close_range, 0, request->stub - 1, 0);
  if (failed >= 0) failed = rawCall(SYS_close_range, request->stub + 1, ~0U, 0);
  if (failed >= 0) {
    failed = rawCall(SYS_execveat, request->stub, reinterpret_cast<long>(""), reinterpret_cast<long>(request->arguments),
                     reinterpret_cast<long>(request->environment), AT_EMPTY_PATH);
  }
  request->error = static_cast<int>(failed);
  for (;;) rawCall(SYS_exit_group, 127);
}

long cloneStub(clone_args* arguments, SpawnRequest* request) {
  // As glibc does for clone3: the child starts on its own stack, so it must not return through this frame.
  long result;
  asm volatile(
      "mov %[request], %%r12\n\t"
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "mov %%r12, %%rdi\n\t"
      "call faultlineSpawnChild\n\t"
      "hlt\n"
      "1:"
      : "=a"(result)
      : "a"(SYS_clone3), "D"(arguments), "S"(sizeof(clone_args)), [request] "r"(request)
      : "rcx", "r11", "r12", "memory");
  return result;
}

// stubOpen(): the stub as a descriptor, or -errno.
Napi::Value stubOpen(const Napi::CallbackInfo& info) {
  return number(info.Env(), makeStub());
}

// spawnStub(stub, pid, newSession): the pid, or -errno. pid 0 lets the kernel choose.
Napi::Value spawnStub(const Napi::CallbackInfo& info) {
  constexpr size_t kStackLength = 16384;
  static char name[] = "faultline";
  SpawnRequest request = {};
  request.stub = i32(info[0]);
  request.newSession = info[2].As<Napi::Boolean>().Value();
  request.arguments[0] = name;
  pid_t pid = i32(info[1]);

  void* stack = mmap(nullptr, kStackLength, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (stack == MAP_FAILED) return number(info.Env(), -errno);
  clone_args arguments = {};
  arguments.flags = CLONE_VM | CLONE_VFORK;
  arguments.exit_signal = SIGCHLD;
  arguments.stack = reinterpret_cast<uint64_t>(stack);
  arguments.stack_size = kStackLength;
  if (pid > 0) {
    arguments.set_tid = reinterpret_cast<uint64_t>(&pid);
    arguments.set_tid_size = 1;
  }
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  long child = cloneStub(&arguments, &request);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  munmap(stack, kStackLength);
  if (child > 0 && request.error < 0) {
    waitpid(static_cast<pid_t>(child), nullptr, 0);
    child = request.error;
  }
  return number(info.Env(), child);
}

// reap(pid, block): the wait(2) status of an ended child, -EAGAIN while it runs, or -errno.
Napi::Value reap(const Napi::CallbackInfo& info) {
  int status = 0;
  const pid_t pid = i32(info[0]);
  const int options = info[1].As<Napi::Boolean>().Value() ? __WALL : WNOHANG | __WALL;
  pid_t got;
  do got = waitpid(pid, &status, options);
  while (got < 0 && errno == EINTR);
  if (got < 0) return number(info.Env(), -errno);
  return number(info.Env(), got == 0 ? -EAGAIN : status);
}

// A pidfd in the event loop: calls back once, when the process has ended.
struct ExitWatch {
  uv_poll_t poll;
  Napi::FunctionReference callback;
};

void exitWatchReady(uv_poll_t* poll, int, int) {
  auto* watch = static_cast<ExitWatch*>(poll->data);
  uv_poll_stop(poll);
  Napi::Env env = watch->callback.Env();
  Napi::HandleScope scope(env);
  Napi::Function callback = watch->callback.Value();
  uv_close(reinterpret_cast<uv_handle_t*>(poll), [](uv_handle_t* handle) {
    delete static_cast<ExitWatch*>(handle->data);
  });
  callback.MakeCallback(env.Global(), {});
}

// onReadable(fd, callback): calls back once when the descriptor (a pidfd) is readable. 0 or -errno.
Napi::Value onReadable(const Napi::CallbackInfo& info) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(info.Env(), &loop) != napi_ok) return number(info.Env(), -EINVAL);
  auto* watch = new ExitWatch();
  watch->poll.data = watch;
  const int initialised = uv_poll_init(loop, &watch->poll, i32(info[0]));
  if (initialised != 0) {
    delete watch;
    return number(info.Env(), initialised);
  }
  watch->callback = Napi::Persistent(info[1].As<Napi::Function>());
  // Whoever waits for it keeps the loop alive by other means.
  uv_unref(reinterpret_cast<uv_handle_t*>(&watch->poll));
  return number(info.Env(), uv_poll_start(&watch->poll, UV_READABLE, exitWatchReady));
}

// pidfdOpen(pid, flags), pidfdSignal(pidfd, signal): pidfd_open(2) and its companions.
Napi::Value pidfdOpen(const Napi::CallbackInfo& info) {
  return number(info.Env(), result(syscall(SYS_pidfd_open, i32(info[0]), info.Length() > 1 ? i32(info[1]) : 0)));
}
Napi::Value pidfdSignal(const Napi::CallbackInfo& info) {
  return number(info.Env(), result(syscall(SYS_pidfd_send_signal, i32(info[0]), i32(info[1]), nullptr, 0)));
}

// prlimitSet(pid, resource, soft, hard): prlimit(2). The limits are BigInts, since RLIM_INFINITY is 2^64-1.
Napi::Value prlimitSet(const Napi::CallbackInfo& info) {
  bool lossless = true;
  rlimit limit = {};
  limit.rlim_cur = info[2].As<Napi::BigInt>().Uint64Value(&lossless);
  limit.rlim_max = info[3].As<Napi::BigInt>().Uint64Value(&lossless);
  return number(info.Env(), result(prlimit(i32(info[0]), static_cast<__rlimit_resource>(i32(info[1])), &limit, nullptr)));
}

// prlimitSetAll(pid, limits, errors): as many as there are pairs; see addon.d.ts.
Napi::Value prlimitSetAll(const Napi::CallbackInfo& info) {
  auto limits = info[1].As<Napi::BigUint64Array>();
  auto errors = info[2].As<Napi::Int32Array>();
  int failed = 0;
  for (size_t i = 0; i * 2 + 1 < limits.ElementLength() && i < errors.ElementLength(); i++) {
    const rlimit limit = {limits[i * 2], limits[i * 2 + 1]};
    const bool done = prlimit(i32(info[0]), static_cast<__rlimit_resource>(i), &limit, nullptr) == 0;
    errors[i] = done ? 0 : errno;
    if (!done) failed++;
  }
  return number(info.Env(), failed);
}

// hardLimit(resource): of this process.
Napi::Value hardLimit(const Napi::CallbackInfo& info) {
  rlimit limit = {};
  getrlimit(static_cast<__rlimit_resource>(i32(info[0])), &limit);
  return Napi::BigInt::New(info.Env(), static_cast<uint64_t>(limit.rlim_max));
}

// becomeBackground(path): setsid(2) where possible, then the standard descriptors onto `path`. 0 or -errno.
Napi::Value becomeBackground(const Napi::CallbackInfo& info) {
  const int fd = open(info[0].As<Napi::String>().Utf8Value().c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return number(info.Env(), -errno);
  setsid();
  int failed = 0;
  for (int standard = 0; standard <= 2; standard++) {
    if (dup2(fd, standard) < 0) failed = -errno;
  }
  close(fd);
  return number(info.Env(), failed);
}

// Starts a program with one argument, without an environment or blocked signals, in a session of its own; of the descriptors
// it has what `actions` say. The pid or -errno. Ends `actions`.
int spawnAlone(std::string path, std::string argument, posix_spawn_file_actions_t* actions) {
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
  char* arguments[] = {path.data(), argument.data(), nullptr};
  char* environment[] = {nullptr};
  pid_t pid = 0;
  const int failed = posix_spawn(&pid, path.c_str(), actions, &attributes, arguments, environment);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(actions);
  return failed == 0 ? pid : -failed;
}

// spawnAside(path, argument): the program with /dev/null as descriptors 0 to 2 and nothing else. The pid or -errno.
Napi::Value spawnAside(const Napi::CallbackInfo& info) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (int fd = 0; fd <= 2; fd++) posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  return number(info.Env(), spawnAlone(info[0].As<Napi::String>(), info[1].As<Napi::String>(), &actions));
}

// spawnWatchdog(path, policy): starts the program with one end of a socket pair as descriptor 3 and nothing else but
// stderr. out = [the other end, the pid]; 0 or -errno.
Napi::Value spawnWatchdog(const Napi::CallbackInfo& info) {
  auto out = info[2].As<Napi::Int32Array>();
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return number(info.Env(), -errno);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  // If the end is descriptor 3 already, dup2 would leave its close-on-exec flag; posix_spawn clears it in that case.
  posix_spawn_file_actions_adddup2(&actions, pair[1], 3);
  posix_spawn_file_actions_addclosefrom_np(&actions, 4);
  const int pid = spawnAlone(info[0].As<Napi::String>(), info[1].As<Napi::String>(), &actions);
  close(pair[1]);
  if (pid < 0) {
    close(pair[0]);
    return number(info.Env(), pid);
  }
  out[0] = pair[0];
  out[1] = pid;
  return number(info.Env(), 0);
}

// sendDescriptors(socket, message, fds): one message with SCM_RIGHTS over a Unix socket; bytes sent or -errno.
Napi::Value sendDescriptors(const Napi::CallbackInfo& info) {
  constexpr size_t kMost = 64;
  auto message = info[1].As<Napi::Uint8Array>();
  auto list = info[2].As<Napi::Int32Array>();
  if (list.ElementLength() > kMost) return number(info.Env(), -EINVAL);
  alignas(cmsghdr) char control[CMSG_SPACE(kMost * sizeof(int))] = {};
  iovec part = {message.Data(), message.ByteLength()};
  msghdr header = {};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (list.ElementLength() > 0) {
    const size_t length = list.ElementLength() * sizeof(int);
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(length);
    cmsghdr* first = CMSG_FIRSTHDR(&header);
    first->cmsg_level = SOL_SOCKET;
    first->cmsg_type = SCM_RIGHTS;
    first->cmsg_len = CMSG_LEN(length);
    memcpy(CMSG_DATA(first), list.Data(), length);
  }
  ssize_t sent;
  do sent = sendmsg(i32(info[0]), &header, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return number(info.Env(), result(sent));
}

}  // namespace

void registerSpawn(Napi::Env env, Napi::Object exports) {
  exports.Set("stubOpen", Napi::Function::New(env, stubOpen));
  exports.Set("spawnStub", Napi::Function::New(env, spawnStub));
  exports.Set("reap", Napi::Function::New(env, reap));
  exports.Set("onReadable", Napi::Function::New(env, onReadable));
  exports.Set("pidfdOpen", Napi::Function::New(env, pidfdOpen));
  exports.Set("pidfdSignal", Napi::Function::New(env, pidfdSignal));
  exports.Set("prlimitSetAll", Napi::Function::New(env, prlimitSetAll));
  exports.Set("hardLimit", Napi::Function::New(env, hardLimit));
  exports.Set("prlimitSet", Napi::Function::New(env, prlimitSet));
  exports.Set("becomeBackground", Napi::Function::New(env, becomeBackground));
  exports.Set("spawnAside", Napi::Function::New(env, spawnAside));
  exports.Set("spawnWatchdog", Napi::Function::New(env, spawnWatchdog));
  exports.Set("sendDescriptors", Napi::Function::New(env, sendDescriptors));
}

}  // namespace faultline
