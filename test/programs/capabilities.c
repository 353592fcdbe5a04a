// Capability sets (effective, permitted, inheritable, bounding, ambient) and securebits.
#include "check.h"
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>

static void get(struct __user_cap_data_struct *data) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  MUST(syscall(SYS_capget, &header, data));
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2], after[2];
  MUST(prctl(PR_CAPBSET_DROP, CAP_SYS_TIME));
  MUST(prctl(PR_CAPBSET_DROP, CAP_NET_RAW));
  MUST(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_NOROOT | SECBIT_NOROOT_LOCKED));
  get(data);
  data[0].inheritable = 1u << CAP_CHOWN | 1u << CAP_KILL;
  data[0].permitted &= ~(1u << CAP_SYS_TIME);
  data[0].effective = data[0].permitted & ~(1u << CAP_SYS_CHROOT | 1u << CAP_FOWNER);
  MUST(syscall(SYS_capset, &header, data));
  MUST(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
  get(data);
  test_ready();
  test_wait();
  get(after);
  for (int i = 0; i < 2; i++) {
    CHECK(after[i].effective == data[i].effective, "effective set: %x, was %x", after[i].effective, data[i].effective);
    CHECK(after[i].permitted == data[i].permitted, "permitted set: %x, was %x", after[i].permitted, data[i].permitted);
    CHECK(after[i].inheritable == data[i].inheritable, "inheritable set: %x, was %x", after[i].inheritable, data[i].inheritable);
  }
  CHECK(prctl(PR_CAPBSET_READ, CAP_SYS_TIME) == 0 && prctl(PR_CAPBSET_READ, CAP_NET_RAW) == 0, "a dropped bounding capability is back");
  CHECK(prctl(PR_CAPBSET_READ, CAP_CHOWN) == 1, "a bounding capability is lost");
  CHECK(prctl(PR_GET_SECUREBITS) == (SECBIT_NO_SETUID_FIXUP | SECBIT_NOROOT | SECBIT_NOROOT_LOCKED), "securebits 0x%x", prctl(PR_GET_SECUREBITS));
  CHECK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0) == 1, "the ambient capability is lost");
  CHECK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0) == 0, "an ambient capability came from nowhere");
  test_pass();
}
