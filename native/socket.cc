// Unix stream sockets that carry descriptors (SCM_RIGHTS, unix(7)), which Node's own sockets cannot receive.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "addon.h"

namespace faultline {

namespace {

// Fills `address`; returns its length, or -ENAMETOOLONG.
int64_t unixAddress(const std::string& path, sockaddr_un* address) {
  memset(address, 0, sizeof(*address));
  address->sun_family = AF_UNIX;
  if (path.size() >= sizeof(address->sun_path)) return -ENAMETOOLONG;
  memcpy(address->sun_path, path.data(), path.size());
  return static_cast<int64_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
}

int64_t closeAfter(int fd, int64_t failure) {
  close(fd);
  return failure;
}

}  // namespace

// (path, backlog): a listening, non-blocking socket bound to the path.
static Napi::Value unixListen(const Napi::CallbackInfo& info) {
  sockaddr_un address;
  const int64_t length = unixAddress(info[0].As<Napi::String>().Utf8Value(), &address);
  if (length < 0) return number(info.Env(), length);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return number(info.Env(), result(fd));
  int64_t status = result(bind(fd, reinterpret_cast<sockaddr*>(&address), static_cast<socklen_t>(length)));
  if (status == 0) status = result(listen(fd, i32(info[1])));
  return number(info.Env(), status < 0 ? closeAfter(fd, status) : fd);
}

// (path): a connected, blocking socket.
static Napi::Value unixConnect(const Napi::CallbackInfo& info) {
  sockaddr_un address;
  const int64_t length = unixAddress(info[0].As<Napi::String>().Utf8Value(), &address);
  if (length < 0) return number(info.Env(), length);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return number(info.Env(), result(fd));
  const int64_t status =
      result(connect(fd, reinterpret_cast<sockaddr*>(&address), static_cast<socklen_t>(length)));
  return number(info.Env(), status < 0 ? closeAfter(fd, status) : fd);
}

static Napi::Value socketAccept(const Napi::CallbackInfo& info) {
  return number(info.Env(), result(accept4(i32(info[0]), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)));
}

// (fd, bytes: Uint8Array, offset, length): receives at most length bytes without waiting; 0 = the peer hung up.
static Napi::Value socketReceive(const Napi::CallbackInfo& info) {
  uint8_t* into = info[1].As<Napi::Uint8Array>().Data() + u64(info[2]);
  return number(info.Env(), result(recv(i32(info[0]), into, u64(info[3]), MSG_DONTWAIT)));
}

// (fd): one data byte and the one descriptor that came with it; -ENODATA: the byte came without a descriptor,
// -EPIPE: the peer hung up. Descriptors beyond the first are closed.
static Napi::Value socketReceiveDescriptor(const Napi::CallbackInfo& info) {
  uint8_t byte;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))];
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t got = recvmsg(i32(info[0]), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0) return number(info.Env(), result(got));
  int64_t found = got == 0 ? -EPIPE : -ENODATA;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      if (found < 0) found = fd;
      else close(fd);
    }
  }
  return number(info.Env(), found);
}

// (fd, bytes: Uint8Array, offset, length): sends without SIGPIPE.
static Napi::Value socketSend(const Napi::CallbackInfo& info) {
  const uint8_t* from = info[1].As<Napi::Uint8Array>().Data() + u64(info[2]);
  return number(info.Env(), result(send(i32(info[0]), from, u64(info[3]), MSG_NOSIGNAL)));
}

// (fd): nothing more comes in (SHUT_RD): a peer that sends, or connects where this listens, fails from now on. What has
// arrived can still be received.
static Napi::Value socketEndReading(const Napi::CallbackInfo& info) {
  return number(info.Env(), result(shutdown(i32(info[0]), SHUT_RD)));
}

// (fd): the pid of the process that connected (SO_PEERCRED).
static Napi::Value socketPeerPid(const Napi::CallbackInfo& info) {
  ucred peer{};
  socklen_t length = sizeof(peer);
  const int64_t status = result(getsockopt(i32(info[0]), SOL_SOCKET, SO_PEERCRED, &peer, &length));
  return number(info.Env(), status < 0 ? status : peer.pid);
}

// (fd): the user of the process that connected (SO_PEERCRED).
static Napi::Value socketPeerUid(const Napi::CallbackInfo& info) {
  ucred peer{};
  socklen_t length = sizeof(peer);
  const int64_t status = result(getsockopt(i32(info[0]), SOL_SOCKET, SO_PEERCRED, &peer, &length));
  return number(info.Env(), status < 0 ? status : static_cast<int64_t>(peer.uid));
}

void registerSocket(Napi::Env env, Napi::Object exports) {
  exports.Set("unixListen", Napi::Function::New(env, unixListen));
  exports.Set("unixConnect", Napi::Function::New(env, unixConnect));
  exports.Set("socketAccept", Napi::Function::New(env, socketAccept));
  exports.Set("socketReceive", Napi::Function::New(env, socketReceive));
  exports.Set("socketReceiveDescriptor", Napi::Function::New(env, socketReceiveDescriptor));
  exports.Set("socketSend", Napi::Function::New(env, socketSend));
  exports.Set("socketEndReading", Napi::Function::New(env, socketEndReading));
  exports.Set("socketPeerPid", Napi::Function::New(env, socketPeerPid));
  exports.Set("socketPeerUid", Napi::Function::New(env, socketPeerUid));
}

}  // namespace faultline
