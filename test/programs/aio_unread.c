// Two contexts of asynchronous I/O: one with events that nobody has read, at the turn of its ring, and one that is larger.
#include "check.h"
#include <linux/aio_abi.h>

static int fd;

static void submit(aio_context_t context, unsigned number) {
  static char byte = 'x';
  struct iocb request = {.aio_data = number, .aio_fildes = (unsigned)fd, .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_buf = (uint64_t)(uintptr_t)&byte, .aio_nbytes = 1, .aio_offset = number};
  struct iocb *list[] = {&request};
  CHECK(syscall(SYS_io_submit, context, 1, list) == 1, "submit %u: %s", number, strerror(errno));
}

static void take(aio_context_t context, unsigned number) {
  struct io_event event;
  CHECK(syscall(SYS_io_getevents, context, 1, 1, &event, &(struct timespec){5, 0}) == 1, "event %u", number);
  CHECK(event.data == number && event.res == 1, "event %u is %llu, %lld", number, (unsigned long long)event.data, (long long)event.res);
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  fd = MUST(open(test_path("file"), O_CREAT | O_RDWR, 0600));
  aio_context_t small = 0, large = 0;
  MUST(syscall(SYS_io_setup, 16, &small));
  MUST(syscall(SYS_io_setup, 600, &large));
  unsigned size = ((unsigned *)small)[1], turned = size - 3;
  for (unsigned i = 0; i < turned; i++) {
    submit(small, i);
    take(small, i);
  }
  for (unsigned i = 0; i < 8; i++) submit(small, 1000 + i);
  submit(large, 7);
  test_ready();
  test_wait();
  submit(small, 2000);
  submit(large, 8);
  for (unsigned i = 0; i < 8; i++) take(small, 1000 + i);
  take(small, 2000);
  take(large, 7);
  take(large, 8);
  for (unsigned i = 0; i < size; i++) {
    submit(small, i);
    take(small, i);
  }
  MUST(syscall(SYS_io_destroy, small));
  MUST(syscall(SYS_io_destroy, large));
  test_pass();
}
