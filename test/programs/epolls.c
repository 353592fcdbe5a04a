// Epoll sets: members with their events and data, edge-triggered and one-shot, a set in a set, a member closed under its number.
#include "check.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  int set = MUST(epoll_create1(EPOLL_CLOEXEC)), outer = MUST(epoll_create1(0));
  int events[4], pipes[2];
  for (int i = 0; i < 4; i++) events[i] = MUST(eventfd(0, EFD_NONBLOCK));
  MUST(pipe(pipes));
  MUST(epoll_ctl(set, EPOLL_CTL_ADD, events[0], &(struct epoll_event){EPOLLIN, {.u64 = 0xdeadbeefcafe0000}}));
  MUST(epoll_ctl(set, EPOLL_CTL_ADD, events[1], &(struct epoll_event){EPOLLIN | EPOLLET, {.u64 = 0x1111}}));
  MUST(epoll_ctl(set, EPOLL_CTL_ADD, events[2], &(struct epoll_event){EPOLLIN | EPOLLONESHOT, {.u64 = 0x2222}}));
  MUST(epoll_ctl(set, EPOLL_CTL_ADD, pipes[0], &(struct epoll_event){EPOLLIN | EPOLLRDHUP, {.u64 = 0x3333}}));
  MUST(epoll_ctl(outer, EPOLL_CTL_ADD, set, &(struct epoll_event){EPOLLIN, {.u64 = 0x4444}}));
  test_ready();
  test_wait();
  struct epoll_event got[8];
  CHECK(epoll_wait(set, got, 8, 0) == 0, "an event came from nowhere: %lx", (unsigned long)got[0].data.u64);
  MUST(write(events[0], &(uint64_t){1}, 8));
  CHECK(epoll_wait(outer, got, 8, 1000) == 1 && got[0].data.u64 == 0x4444, "the outer set is silent");
  CHECK(epoll_wait(set, got, 8, 1000) == 1 && got[0].data.u64 == 0xdeadbeefcafe0000 && got[0].events == EPOLLIN, "member 0");
  CHECK(epoll_wait(set, got, 8, 0) == 1, "member 0 is not level-triggered");
  uint64_t value;
  MUST(read(events[0], &value, 8));
  MUST(write(events[1], &(uint64_t){1}, 8));
  CHECK(epoll_wait(set, got, 8, 1000) == 1 && got[0].data.u64 == 0x1111, "member 1");
  CHECK(epoll_wait(set, got, 8, 0) == 0, "member 1 is not edge-triggered");
  MUST(write(events[2], &(uint64_t){1}, 8));
  CHECK(epoll_wait(set, got, 8, 1000) == 1 && got[0].data.u64 == 0x2222, "member 2");
  MUST(write(events[2], &(uint64_t){1}, 8));
  CHECK(epoll_wait(set, got, 8, 0) == 0, "member 2 is not one-shot");
  MUST(write(pipes[1], "x", 1));
  CHECK(epoll_wait(set, got, 8, 1000) == 1 && got[0].data.u64 == 0x3333, "member 3");
  MUST(write(events[3], &(uint64_t){1}, 8));
  char byte;
  MUST(read(pipes[0], &byte, 1));
  CHECK(epoll_wait(set, got, 8, 0) == 0, "a descriptor that was never added is a member");
  CHECK(epoll_ctl(set, EPOLL_CTL_MOD, events[3], &(struct epoll_event){EPOLLIN, {.u64 = 1}}) == -1 && errno == ENOENT, "a stranger is a member");
  test_pass();
}
