// userfaultfd(2): its ioctls and messages, and the fused "read a block, check, decode, install". No policy:
// every function answers what the kernel said.
//
// The constants are our own because Debian's linux/userfaultfd.h stops at feature bit 12; the asserts below hold
// them to the kernel's ABI (include/uapi/linux/userfaultfd.h).
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "addon.h"
#include "codec.h"
#include "install.h"

namespace faultline {

namespace {

// struct uffdio_range and its uses.
struct Range {
  uint64_t start;
  uint64_t len;
};
struct Api {
  uint64_t api;
  uint64_t features;
  uint64_t ioctls;
};
struct Register {
  Range range;
  uint64_t mode;
  uint64_t ioctls;
};
struct Copy {
  uint64_t dst;
  uint64_t src;
  uint64_t len;
  uint64_t mode;
  int64_t copy;
};
// struct uffdio_zeropage, uffdio_continue and uffdio_poison have one shape.
struct Fill {
  Range range;
  uint64_t mode;
  int64_t done;
};
struct WriteProtect {
  Range range;
  uint64_t mode;
};
constexpr unsigned long kApi = _IOWR(0xAA, 0x3F, Api);
constexpr unsigned long kRegister = _IOWR(0xAA, 0x00, Register);
constexpr unsigned long kUnregister = _IOR(0xAA, 0x01, Range);
constexpr unsigned long kWake = _IOR(0xAA, 0x02, Range);
constexpr unsigned long kCopy = _IOWR(0xAA, 0x03, Copy);
constexpr unsigned long kZeroPage = _IOWR(0xAA, 0x04, Fill);
constexpr unsigned long kWriteProtect = _IOWR(0xAA, 0x06, WriteProtect);
constexpr unsigned long kContinue = _IOWR(0xAA, 0x07, Fill);
constexpr unsigned long kPoison = _IOWR(0xAA, 0x08, Fill);

static_assert(sizeof(Range) == 16 && sizeof(Api) == 24 && sizeof(Register) == 32);
static_assert(sizeof(Copy) == 40 && offsetof(Copy, copy) == 32);
static_assert(sizeof(Fill) == 32 && offsetof(Fill, done) == 24);
static_assert(sizeof(WriteProtect) == 24);
static_assert(kApi == 0xc018aa3f && kRegister == 0xc020aa00 && kUnregister == 0x8010aa01 && kWake == 0x8010aa02);
static_assert(kCopy == 0xc028aa03 && kZeroPage == 0xc020aa04 && kWriteProtect == 0xc018aa06);
static_assert(kContinue == 0xc020aa07 && kPoison == 0xc020aa08);

// Results of a failed block, below every -errno. See addon.d.ts.
constexpr int64_t kBlockTruncated = -10001;
constexpr int64_t kBlockChecksum = -10002;
constexpr int64_t kBlockDecode = -10003;
constexpr int64_t kBlockReadErrno = -20000;

// A partial result counts as success: its bytes. `done` keeps its preset 0 where an old kernel leaves it untouched.
int64_t installed(int status, int64_t done, uint64_t length) {
  if (status == 0) return static_cast<int64_t>(length);
  if (done > 0) return done;
  return -static_cast<int64_t>(errno);
}

int64_t fill(int fd, unsigned long request, uint64_t address, uint64_t length, uint64_t mode) {
  Fill argument{{address, length}, mode, 0};
  const int status = ioctl(fd, request, &argument);
  return installed(status, argument.done, length);
}

// What a failed decode or read of a block is called here (codec.h), so that it cannot be taken for an errno of the install.
int64_t blockStatus(int status) {
  switch (status) {
    case 0:
      return 0;
    case -ENODATA:
      return kBlockTruncated;
    case -EBADMSG:
      return kBlockChecksum;
    case -EILSEQ:
      return kBlockDecode;
    default:
      return kBlockReadErrno + status;
  }
}

uint8_t* bytes(const Napi::Value& value) {
  return value.As<Napi::Uint8Array>().Data();
}

}  // namespace

int64_t copyPages(int fd, uint64_t address, const uint8_t* bytes, uint64_t length) {
  Copy copy{address, reinterpret_cast<uint64_t>(bytes), length, 0, 0};
  const int status = ioctl(fd, kCopy, &copy);
  return installed(status, copy.copy, length);
}

int64_t wakePages(int fd, uint64_t address, uint64_t length) {
  Range range{address, length};
  return result(ioctl(fd, kWake, &range));
}

int64_t readMessages(int fd, Message* into, size_t most) {
  for (;;) {
    const ssize_t got = read(fd, into, most * sizeof(Message));
    if (got >= 0) return static_cast<int64_t>(static_cast<size_t>(got) / sizeof(Message));
    if (errno != EINTR) return errno == EAGAIN ? 0 : -static_cast<int64_t>(errno);
  }
}

int64_t loadBlock(const StoredBlock& block, uint64_t skip, uint64_t count, uint8_t* scratch, uint8_t* into) {
  const uint64_t from = skip * kPageBytes;
  const uint64_t length = count * kPageBytes;
  const uint64_t whole = block.pageCount * kPageBytes;
  if (block.codec == kBlockZero) {
    memset(into + from, 0, length);
    return 0;
  }
  if (block.codec == kBlockRaw && block.checksum < 0) {
    return blockStatus(preadWithNeighbours(block.fd, into + from, length, block.offset + from));
  }
  uint8_t* stored = block.codec == kBlockRaw ? into : scratch;
  int status = preadWithNeighbours(block.fd, stored, block.storedBytes, block.offset);
  if (status == 0) status = decodeBlock(block.codec, stored, block.storedBytes, block.checksum, into, whole);
  return blockStatus(status);
}

static Napi::Value uffdCreate(const Napi::CallbackInfo& info) {
  return number(info.Env(), result(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | i32(info[0]))));
}

// (fd, features in, out: Float64Array(2) = features, ioctls)
static Napi::Value uffdApi(const Napi::CallbackInfo& info) {
  Api api{0xAA, u64(info[1]), 0};
  const int64_t status = result(ioctl(i32(info[0]), kApi, &api));
  double* out = info[2].As<Napi::Float64Array>().Data();
  out[0] = static_cast<double>(api.features);
  out[1] = static_cast<double>(api.ioctls & ((uint64_t{1} << 52) - 1));
  return number(info.Env(), status);
}

static Napi::Value uffdRegister(const Napi::CallbackInfo& info) {
  Register argument{{u64(info[1]), u64(info[2])}, u64(info[3]), 0};
  const int64_t status = result(ioctl(i32(info[0]), kRegister, &argument));
  return number(info.Env(), status < 0 ? status : static_cast<int64_t>(argument.ioctls & 0xffffffff));
}

static Napi::Value uffdUnregister(const Napi::CallbackInfo& info) {
  Range range{u64(info[1]), u64(info[2])};
  return number(info.Env(), result(ioctl(i32(info[0]), kUnregister, &range)));
}

static Napi::Value uffdWake(const Napi::CallbackInfo& info) {
  return number(info.Env(), wakePages(i32(info[0]), u64(info[1]), u64(info[2])));
}

static Napi::Value uffdZero(const Napi::CallbackInfo& info) {
  return number(info.Env(), fill(i32(info[0]), kZeroPage, u64(info[1]), u64(info[2]), 0));
}

static Napi::Value uffdContinue(const Napi::CallbackInfo& info) {
  return number(info.Env(), fill(i32(info[0]), kContinue, u64(info[1]), u64(info[2]), 0));
}

static Napi::Value uffdPoison(const Napi::CallbackInfo& info) {
  return number(info.Env(), fill(i32(info[0]), kPoison, u64(info[1]), u64(info[2]), 0));
}

static Napi::Value uffdWriteProtect(const Napi::CallbackInfo& info) {
  WriteProtect argument{{u64(info[1]), u64(info[2])}, u64(info[3])};
  return number(info.Env(), result(ioctl(i32(info[0]), kWriteProtect, &argument)));
}

// (fd, address, bytes, offset in bytes, length)
static Napi::Value uffdCopy(const Napi::CallbackInfo& info) {
  const uint8_t* source = bytes(info[2]) + u64(info[3]);
  return number(info.Env(), copyPages(i32(info[0]), u64(info[1]), source, u64(info[4])));
}

// (fd, codec, offset, storedBytes, pageCount, checksum, skip, count, scratch, into)
static Napi::Value blockLoad(const Napi::CallbackInfo& info) {
  const StoredBlock block{i32(info[0]), i32(info[1]), u64(info[2]), u64(info[3]), u64(info[4]),
                    info[5].As<Napi::Number>().Int64Value()};
  return number(info.Env(), loadBlock(block, u64(info[6]), u64(info[7]), bytes(info[8]), bytes(info[9])));
}

// (uffd, address, then as blockLoad): loads and installs in one call.
static Napi::Value uffdInstall(const Napi::CallbackInfo& info) {
  const StoredBlock block{i32(info[2]), i32(info[3]), u64(info[4]), u64(info[5]), u64(info[6]),
                    info[7].As<Napi::Number>().Int64Value()};
  const uint64_t skip = u64(info[8]);
  const uint64_t count = u64(info[9]);
  uint8_t* into = bytes(info[11]);
  const int64_t status = loadBlock(block, skip, count, bytes(info[10]), into);
  if (status < 0) return number(info.Env(), status);
  return number(info.Env(), copyPages(i32(info[0]), u64(info[1]), into + skip * kPageBytes, count * kPageBytes));
}

// (fd, out: Float64Array, four numbers a message): what a wait has read and left, then the queued messages that fit; returns
// their number.
static Napi::Value uffdRead(const Napi::CallbackInfo& info) {
  const int fd = i32(info[0]);
  auto array = info[1].As<Napi::Float64Array>();
  double* out = array.Data();
  const size_t most = array.ElementLength() / 4;
  size_t total = 0;
  int64_t failure = 0;
  Message messages[64];
  bool unread = true;
  while (total < most) {
    const size_t room = most - total < 64 ? most - total : 64;
    int64_t count = unread ? static_cast<int64_t>(takeUnread(fd, messages, room)) : 0;
    if (count == 0) {
      unread = false;
      count = readMessages(fd, messages, room);
    }
    if (count <= 0) {
      failure = count;
      break;
    }
    for (int64_t i = 0; i < count; i++, out += 4) {
      const Message& message = messages[i];
      const uint64_t low = 0xffffffff;
      out[0] = message.event;
      out[1] = static_cast<double>(message.event == kEventFork ? message.first & low : message.first);
      out[2] = static_cast<double>(message.second);
      out[3] = static_cast<double>(message.event == kEventPagefault ? message.third & low : message.third);
    }
    total += static_cast<size_t>(count);
    // The kernel gives all that is queued: fewer than there was room for were all. What comes later is polled for.
    if (!unread && static_cast<size_t>(count) < room) break;
  }
  return number(info.Env(), total == 0 ? failure : static_cast<int64_t>(total));
}

void registerUffd(Napi::Env env, Napi::Object exports) {
  exports.Set("uffdCreate", Napi::Function::New(env, uffdCreate));
  exports.Set("uffdApi", Napi::Function::New(env, uffdApi));
  exports.Set("uffdRegister", Napi::Function::New(env, uffdRegister));
  exports.Set("uffdUnregister", Napi::Function::New(env, uffdUnregister));
  exports.Set("uffdWake", Napi::Function::New(env, uffdWake));
  exports.Set("uffdZero", Napi::Function::New(env, uffdZero));
  exports.Set("uffdContinue", Napi::Function::New(env, uffdContinue));
  exports.Set("uffdPoison", Napi::Function::New(env, uffdPoison));
  exports.Set("uffdWriteProtect", Napi::Function::New(env, uffdWriteProtect));
  exports.Set("uffdCopy", Napi::Function::New(env, uffdCopy));
  exports.Set("uffdInstall", Napi::Function::New(env, uffdInstall));
  exports.Set("uffdRead", Napi::Function::New(env, uffdRead));
  exports.Set("blockLoad", Napi::Function::New(env, blockLoad));
}

}  // namespace faultline
