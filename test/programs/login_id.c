// The login id of a process (audit(8)): as it was.
#include "check.h"

static unsigned long login_id(void) {
  char *text = test_read_file("/proc/self/loginuid");
  unsigned long id = strtoul(text, NULL, 10);
  free(text);
  return id;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  int fd = open("/proc/self/loginuid", O_WRONLY);
  bool can = fd >= 0 && write(fd, "4711", 4) == 4; // not without CAP_AUDIT_CONTROL, or where the kernel has no such ids
  if (fd >= 0) close(fd);
  test_ready();
  test_wait();
  if (can) CHECK(login_id() == 4711, "the login id is %lu", login_id());
  test_pass();
}
