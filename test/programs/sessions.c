// Sessions and process groups: a group led by a child, a session led by a grandchild, members placed in each.
#include "check.h"

static void await(int number, pid_t sid, pid_t pgid, pid_t parent) {
  test_child_ready(number);
  test_wait();
  CHECK(getsid(0) == sid, "task %d: session %d, not %d", number, getsid(0), sid);
  CHECK(getpgrp() == pgid, "task %d: group %d, not %d", number, getpgrp(), pgid);
  CHECK(getppid() == parent, "task %d: parent %d, not %d", number, getppid(), parent);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  pid_t root = getpid(), session = getsid(0);
  pid_t leader = MUST(fork());
  if (leader == 0) { // leads a group in the old session; its child leads a session with a member of its own
    MUST(setpgid(0, 0));
    pid_t self = getpid();
    pid_t grandchild = MUST(fork());
    if (grandchild == 0) {
      pid_t sid = MUST(setsid());
      pid_t member = MUST(fork());
      if (member == 0) {
        await(3, sid, sid, sid);
        _exit(0);
      }
      pid_t other = MUST(fork());
      if (other == 0) {
        MUST(setpgid(0, 0));
        await(4, sid, getpid(), sid);
        _exit(0);
      }
      await(2, sid, sid, self);
      test_reap(member);
      test_reap(other);
      _exit(0);
    }
    await(1, session, self, root);
    test_reap(grandchild);
    _exit(0);
  }
  while (getpgid(leader) != leader) test_sleep_ms(1);
  pid_t follower = MUST(fork());
  if (follower == 0) {
    MUST(setpgid(0, leader));
    await(5, session, leader, root);
    _exit(0);
  }
  for (int i = 1; i <= 5; i++) test_await_child(i);
  test_ready();
  test_wait();
  CHECK(getsid(0) == session && getpgrp() == root, "the root's session or group changed");
  test_reap(follower);
  test_reap(leader);
  test_pass();
}
