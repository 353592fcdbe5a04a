// Options of TCP, UDP and Unix sockets, over IPv4 and IPv6: sizes, times, priorities, marks, filters.
#include "check.h"
#include <arpa/inet.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

struct option {
  const char *name;
  int level, number, value;
};
static const struct option common[] = {
    {"SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, 1}, {"SO_PRIORITY", SOL_SOCKET, SO_PRIORITY, 3},
    {"SO_RCVLOWAT", SOL_SOCKET, SO_RCVLOWAT, 7},   {"SO_MARK", SOL_SOCKET, SO_MARK, 0x55},
    {"SO_SNDBUF", SOL_SOCKET, SO_SNDBUF, 20000},   {"SO_RCVBUF", SOL_SOCKET, SO_RCVBUF, 30000},
};
static const struct option inet[] = {
    {"SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR, 1},
    {"SO_REUSEPORT", SOL_SOCKET, SO_REUSEPORT, 1}, {"SO_DONTROUTE", SOL_SOCKET, SO_DONTROUTE, 1},
    {"SO_BROADCAST", SOL_SOCKET, SO_BROADCAST, 1}, {"SO_OOBINLINE", SOL_SOCKET, SO_OOBINLINE, 1},
};
static const struct option ip4[] = {
    {"IP_TTL", IPPROTO_IP, IP_TTL, 33},           {"IP_TOS", IPPROTO_IP, IP_TOS, 0x10},
    {"IP_FREEBIND", IPPROTO_IP, IP_FREEBIND, 1},  {"IP_PKTINFO", IPPROTO_IP, IP_PKTINFO, 1},
};
static const struct option tcp[] = {
    {"TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY, 1},     {"TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE, 100},
    {"TCP_KEEPINTVL", IPPROTO_TCP, TCP_KEEPINTVL, 9}, {"TCP_KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT, 4},
};
static const struct option passing[] = {{"SO_PASSCRED", SOL_SOCKET, SO_PASSCRED, 1}};

static void set(int fd, const struct option *options, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (setsockopt(fd, options[i].level, options[i].number, &options[i].value, sizeof(int)) < 0) test_fail("%s: %s", options[i].name, strerror(errno));
}
static int value(int fd, const struct option *option) {
  int now = -1;
  MUST(getsockopt(fd, option->level, option->number, &now, &(socklen_t){sizeof now}));
  return now;
}
static void check(const char *which, int fd, const struct option *options, size_t count) {
  for (size_t i = 0; i < count; i++) {
    int now = value(fd, &options[i]);
    int doubled = options[i].level == SOL_SOCKET && (options[i].number == SO_SNDBUF || options[i].number == SO_RCVBUF);
    CHECK(now == options[i].value * (doubled ? 2 : 1), "%s: %s is %d", which, options[i].name, now);
  }
}
#define ALL(options) options, sizeof options / sizeof *options

static void set_times(int fd) {
  MUST(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){3, 0}, sizeof(struct timeval)));
  MUST(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){5, 0}, sizeof(struct timeval)));
}
static void check_times(const char *which, int fd) {
  struct timeval in, out;
  MUST(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &in, &(socklen_t){sizeof in}));
  MUST(getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &out, &(socklen_t){sizeof out}));
  CHECK(in.tv_sec == 3 && out.tv_sec == 5, "%s: time limits %ld and %ld", which, (long)in.tv_sec, (long)out.tv_sec);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  struct { const char *name; int family, type, fd; } sockets[] = {
      {"TCP", AF_INET, SOCK_STREAM, -1},   {"TCP over IPv6", AF_INET6, SOCK_STREAM, -1}, {"UDP", AF_INET, SOCK_DGRAM, -1},
      {"UDP over IPv6", AF_INET6, SOCK_DGRAM, -1}, {"unix", AF_UNIX, SOCK_STREAM, -1},
  };
  for (int i = 0; i < 5; i++) {
    int fd = sockets[i].fd = MUST(socket(sockets[i].family, sockets[i].type, 0));
    if (sockets[i].family == AF_INET) set(fd, ALL(ip4)); // first, as IP_TOS changes SO_PRIORITY
    set(fd, ALL(common));
    set_times(fd);
    if (sockets[i].family == AF_UNIX) set(fd, ALL(passing));
    else set(fd, ALL(inet));
    if (sockets[i].family == AF_INET6) MUST(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int)));
    if (sockets[i].type == SOCK_STREAM && sockets[i].family != AF_UNIX) set(fd, ALL(tcp));
  }
  MUST(setsockopt(sockets[2].fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3));
  struct sock_filter code[] = {{BPF_RET | BPF_K, 0, 0, 4096}};
  MUST(setsockopt(sockets[0].fd, SOL_SOCKET, SO_ATTACH_FILTER, &(struct sock_fprog){1, code}, sizeof(struct sock_fprog)));
  int tuned = MUST(socket(AF_INET, SOCK_STREAM, 0)); // one whose buffers the kernel sizes
  int automatic = value(tuned, &common[4]);
  test_ready();
  test_wait();
  for (int i = 0; i < 5; i++) {
    int fd = sockets[i].fd;
    check(sockets[i].name, fd, ALL(common));
    check_times(sockets[i].name, fd);
    if (sockets[i].family == AF_UNIX) check(sockets[i].name, fd, ALL(passing));
    else check(sockets[i].name, fd, ALL(inet));
    if (sockets[i].family == AF_INET) check(sockets[i].name, fd, ALL(ip4));
    if (sockets[i].family == AF_INET6) CHECK(value(fd, &(struct option){"", IPPROTO_IPV6, IPV6_V6ONLY, 1}) == 1, "IPV6_V6ONLY");
    if (sockets[i].type == SOCK_STREAM && sockets[i].family != AF_UNIX) check(sockets[i].name, fd, ALL(tcp));
  }
  char device[16] = "";
  MUST(getsockopt(sockets[2].fd, SOL_SOCKET, SO_BINDTODEVICE, device, &(socklen_t){sizeof device}));
  CHECK(strcmp(device, "lo") == 0, "bound to device \"%s\"", device);
  struct sock_filter now[4];
  socklen_t count = 4;
  MUST(getsockopt(sockets[0].fd, SOL_SOCKET, SO_GET_FILTER, now, &count));
  CHECK(count == 1 && now[0].k == 4096, "the filter has %u instructions", count);
  CHECK(value(tuned, &common[4]) == automatic, "the send buffer is %d, was %d", value(tuned, &common[4]), automatic);
  test_pass();
}
