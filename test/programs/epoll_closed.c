// An epoll set whose targets were closed or replaced under their numbers, while other descriptors hold the files.
#include "check.h"
#include <sys/epoll.h>

enum { pipes = 5 };

int main(int argc, char **argv) {
  test_init(argc, argv);
  static const struct {
    int number;
    bool closed;
  } plan[pipes] = {{702, true}, {702, true}, {702, false}, {701, true}, {701, false}};
  int set = MUST(epoll_create1(0)), ends[pipes][2];
  for (int i = 0; i < pipes; i++) {
    MUST(pipe(ends[i]));
    MUST(dup2(ends[i][0], plan[i].number));
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)i};
    MUST(epoll_ctl(set, EPOLL_CTL_ADD, plan[i].number, &event));
    if (plan[i].closed) MUST(close(plan[i].number));
  }
  test_ready();
  test_wait();
  for (int i = 0; i < pipes; i++) {
    struct epoll_event event;
    MUST(write(ends[i][1], "x", 1));
    CHECK(epoll_wait(set, &event, 1, 2000) == 1, "pipe %d is not watched", i);
    CHECK(event.data.u64 == (uint64_t)i, "pipe %d is known as %d", i, (int)event.data.u64);
    char byte;
    MUST(read(ends[i][0], &byte, 1));
  }
  test_pass();
}
