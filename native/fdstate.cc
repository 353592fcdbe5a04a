// What a dump asks about descriptors that it duplicated out of the target.
// One function per kernel call; constants and layouts are the callers' business (src/task).
#include "addon.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>

namespace faultline {
namespace {

using Info = const Napi::CallbackInfo&;

struct Bytes {
  uint8_t* data;
  size_t length;
};
Bytes bytes(const Napi::Value& value) {
  auto array = value.As<Napi::TypedArray>();
  void* data = nullptr;
  napi_get_typedarray_info(value.Env(), value, nullptr, nullptr, &data, nullptr, nullptr);
  return {static_cast<uint8_t*>(data), array.ByteLength()};
}

Napi::Value fcntlNumber(Info info) {
  return number(info.Env(), result(fcntl(i32(info[0]), i32(info[1]), static_cast<long>(u64(info[2])))));
}
Napi::Value fcntlBuffer(Info info) {
  return number(info.Env(), result(fcntl(i32(info[0]), i32(info[1]), bytes(info[2]).data)));
}
Napi::Value ioctlNumber(Info info) {
  return number(info.Env(), result(ioctl(i32(info[0]), u64(info[1]), u64(info[2]))));
}
Napi::Value ioctlBuffer(Info info) {
  return number(info.Env(), result(ioctl(i32(info[0]), u64(info[1]), bytes(info[2]).data)));
}
Napi::Value seekTo(Info info) {
  return number(info.Env(), result(lseek(i32(info[0]), static_cast<off_t>(u64(info[1])), i32(info[2]))));
}
Napi::Value linkFile(Info info) {
  const std::string from = info[0].As<Napi::String>().Utf8Value();
  const std::string to = info[1].As<Napi::String>().Utf8Value();
  return number(info.Env(), result(linkat(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), AT_SYMLINK_FOLLOW)));
}
Napi::Value getSocketOption(Info info) {
  Bytes buffer = bytes(info[3]);
  socklen_t length = buffer.length;
  int done = getsockopt(i32(info[0]), i32(info[1]), i32(info[2]), buffer.data, &length);
  return number(info.Env(), done < 0 ? -errno : static_cast<int64_t>(length));
}
Napi::Value setSocketOption(Info info) {
  Bytes buffer = bytes(info[3]);
  return number(info.Env(), result(setsockopt(i32(info[0]), i32(info[1]), i32(info[2]), buffer.data, buffer.length)));
}
Napi::Value socketName(Info info) {
  Bytes buffer = bytes(info[2]);
  socklen_t length = buffer.length;
  auto* address = reinterpret_cast<sockaddr*>(buffer.data);
  int done = i32(info[1]) ? getpeername(i32(info[0]), address, &length) : getsockname(i32(info[0]), address, &length);
  return number(info.Env(), done < 0 ? -errno : static_cast<int64_t>(length));
}

// The unread bytes of a pipe, left in it: tee(2) into a pipe of our own. The Int32Array gets how many reads that took and
// the length of each: of a pipe in packet mode (O_DIRECT of pipe(2)), its packets.
Napi::Value pipePeek(Info info) {
  int source = i32(info[0]);
  Bytes buffer = bytes(info[1]);
  Bytes reads = bytes(info[2]);
  auto* lengths = reinterpret_cast<int32_t*>(reads.data);
  const int32_t lengths_max = static_cast<int32_t>(reads.length / 4) - 1;
  lengths[0] = 0;
  int copy[2];
  if (pipe2(copy, O_CLOEXEC | O_NONBLOCK) < 0) return number(info.Env(), -errno);
  int size = fcntl(source, F_GETPIPE_SZ);
  int64_t value = 0;
  if (size > 0 && fcntl(copy[1], F_SETPIPE_SZ, size) < 0) {
    value = -errno;
  } else {
    ssize_t got = tee(source, copy[1], buffer.length, SPLICE_F_NONBLOCK);
    if (got < 0 && errno != EAGAIN) value = -errno;
    while (value >= 0 && got > 0 && value < got) {
      ssize_t part = read(copy[0], buffer.data + value, got - value);
      if (part <= 0) break;
      value += part;
      if (lengths[0] < lengths_max) lengths[++lengths[0]] = static_cast<int32_t>(part);
    }
  }
  close(copy[0]);
  close(copy[1]);
  return number(info.Env(), value);
}

// fd, buffer, Int32Array for descriptors, Int32Array(3) for (descriptors, name length, flags), name buffer:
// one queued packet at the socket's peek offset (SO_PEEK_OFF), left in the queue. Descriptors arrive as duplicates.
Napi::Value packetPeek(Info info) {
  Bytes buffer = bytes(info[1]), fds = bytes(info[2]), out = bytes(info[3]), name = bytes(info[4]);
  iovec io{buffer.data, buffer.length};
  alignas(cmsghdr) char control[4096];
  msghdr message{};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  message.msg_name = name.data;
  message.msg_namelen = name.length;
  ssize_t got = recvmsg(i32(info[0]), &message, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
  if (got < 0) return number(info.Env(), -errno);
  int32_t count = 0;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    size_t length = part->cmsg_len - CMSG_LEN(0);
    memcpy(fds.data + count * 4, CMSG_DATA(part), std::min(length, fds.length - count * 4));
    count += length / 4;
  }
  int32_t facts[3] = {count, static_cast<int32_t>(message.msg_namelen), message.msg_flags};
  memcpy(out.data, facts, sizeof facts);
  return number(info.Env(), got);
}

// socket(2), close-on-exec.
Napi::Value openSocket(Info info) {
  return number(info.Env(), result(socket(i32(info[0]), i32(info[1]) | SOCK_CLOEXEC, i32(info[2]))));
}

// What the symbolic link says that an O_PATH descriptor stands for, also where it has no name any more (readlinkat(2)).
Napi::Value linkTarget(Info info) {
  Bytes buffer = bytes(info[1]);
  return number(info.Env(), result(readlinkat(i32(info[0]), "", reinterpret_cast<char*>(buffer.data), buffer.length)));
}

// The bytes of a stream socket's queue, left in it: the receive queue, or in repair mode the one that was chosen.
Napi::Value streamPeek(Info info) {
  Bytes buffer = bytes(info[1]);
  return number(info.Env(), result(recv(i32(info[0]), buffer.data, buffer.length, MSG_PEEK | MSG_DONTWAIT)));
}

// Attaches a filter that drops every packet before the socket sees it; SO_DETACH_FILTER takes it off.
Napi::Value dropIncoming(Info info) {
  sock_filter drop{BPF_RET | BPF_K, 0, 0, 0};
  sock_fprog program{1, &drop};
  return number(info.Env(), result(setsockopt(i32(info[0]), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program)));
}

// Sends one netlink request of the given protocol and gathers the answer until NLMSG_DONE: its bytes, or -EOVERFLOW.
Napi::Value netlinkDump(Info info) {
  Bytes request = bytes(info[1]), answer = bytes(info[2]);
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, i32(info[0]));
  if (fd < 0) return number(info.Env(), -errno);
  timeval limit{5, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  int64_t value = 0;
  if (send(fd, request.data, request.length, 0) < 0) value = -errno;
  for (bool done = value < 0; !done;) {
    if (answer.length - value < 65536) {
      value = -EOVERFLOW;
      break;
    }
    ssize_t got = recv(fd, answer.data + value, answer.length - value, 0);
    if (got < 0) {
      value = -errno;
      break;
    }
    auto* header = reinterpret_cast<nlmsghdr*>(answer.data + value);
    for (size_t left = got; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_type == NLMSG_DONE) done = true;
      if (header->nlmsg_type == NLMSG_ERROR) {
        int error = reinterpret_cast<nlmsgerr*>(NLMSG_DATA(header))->error;
        value = error == 0 ? value : error;
        done = true;
      }
    }
    if (value < 0) break;
    value += got;
  }
  close(fd);
  return number(info.Env(), value);
}

// Descriptor of any file of the file system, handle type, handle: an O_PATH descriptor of the file (open_by_handle_at(2)).
Napi::Value openByHandle(Info info) {
  Bytes raw = bytes(info[2]);
  alignas(file_handle) char storage[sizeof(file_handle) + MAX_HANDLE_SZ];
  auto* handle = reinterpret_cast<file_handle*>(storage);
  if (raw.length > MAX_HANDLE_SZ) return number(info.Env(), -EOVERFLOW);
  handle->handle_bytes = raw.length;
  handle->handle_type = i32(info[1]);
  memcpy(handle->f_handle, raw.data, raw.length);
  return number(info.Env(), result(open_by_handle_at(i32(info[0]), handle, O_PATH | O_CLOEXEC)));
}

}  // namespace

void registerFdState(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*call)(Info)) {
    exports.Set(name, Napi::Function::New(env, call, name));
  };
  add("fcntlNumber", fcntlNumber);
  add("fcntlBuffer", fcntlBuffer);
  add("ioctlNumber", ioctlNumber);
  add("ioctlBuffer", ioctlBuffer);
  add("seekTo", seekTo);
  add("linkFile", linkFile);
  add("getSocketOption", getSocketOption);
  add("setSocketOption", setSocketOption);
  add("socketName", socketName);
  add("pipePeek", pipePeek);
  add("packetPeek", packetPeek);
  add("openSocket", openSocket);
  add("linkTarget", linkTarget);
  add("streamPeek", streamPeek);
  add("dropIncoming", dropIncoming);
  add("netlinkDump", netlinkDump);
  add("openByHandle", openByHandle);
}

}  // namespace faultline
