// User and group ids, real, effective, saved and for files, and supplementary groups, of a process that left root.
// criu: without CAP_SYS_RESOURCE it cannot read the limits of another user's process
#include "check.h"
#include <grp.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  pid_t child = MUST(fork());
  if (child == 0) {
    gid_t groups[40], now[64];
    for (int i = 0; i < 40; i++) groups[i] = (gid_t)(3000 + i * 7);
    MUST(setgroups(40, groups));
    MUST(setresgid(1001, 1002, 1003));
    setfsgid(1001);
    MUST(setresuid(2001, 2002, 2003));
    setfsuid(2001);
    MUST(prctl(PR_SET_DUMPABLE, 1));
    test_child_ready(0);
    test_wait();
    uid_t r, e, s;
    MUST(getresuid(&r, &e, &s));
    CHECK(r == 2001 && e == 2002 && s == 2003, "user ids %u %u %u", r, e, s);
    CHECK(setfsuid((uid_t)-1) == 2001, "file system user id %d", setfsuid((uid_t)-1));
    MUST(getresgid(&r, &e, &s));
    CHECK(r == 1001 && e == 1002 && s == 1003, "group ids %u %u %u", r, e, s);
    CHECK(setfsgid((gid_t)-1) == 1001, "file system group id %d", setfsgid((gid_t)-1));
    int count = MUST(getgroups(64, now));
    CHECK(count == 40, "%d groups", count);
    for (int i = 0; i < 40; i++) {
      bool found = false;
      for (int j = 0; j < 40; j++) found |= now[j] == groups[i];
      CHECK(found, "group %u is lost", groups[i]);
    }
    _exit(0);
  }
  test_await_child(0);
  test_ready();
  test_wait();
  CHECK(getuid() == 0 && geteuid() == 0, "the parent is no longer root");
  test_reap(child);
  test_pass();
}
