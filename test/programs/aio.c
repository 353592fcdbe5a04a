// An asynchronous I/O context (io_setup) without requests in flight: its id and that it still works.
#include "check.h"
#include <linux/aio_abi.h>

int main(int argc, char **argv) {
  test_init(argc, argv);
  aio_context_t context = 0;
  MUST(syscall(SYS_io_setup, 16, &context));
  int fd = MUST(open(test_path("file"), O_CREAT | O_RDWR, 0600));
  char text[16] = "asynchronous";
  struct iocb request = {.aio_fildes = (unsigned)fd, .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_buf = (uint64_t)(uintptr_t)text, .aio_nbytes = 12};
  struct iocb *list[] = {&request};
  struct io_event event;
  CHECK(syscall(SYS_io_submit, context, 1, list) == 1, "submit before");
  CHECK(syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1 && event.res == 12, "event before");
  test_ready();
  test_wait();
  request.aio_offset = 12;
  CHECK(syscall(SYS_io_submit, context, 1, list) == 1, "submit: %s", strerror(errno));
  CHECK(syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1 && event.res == 12, "event");
  CHECK(lseek(fd, 0, SEEK_END) == 24, "size");
  MUST(syscall(SYS_io_destroy, context));
  test_pass();
}
