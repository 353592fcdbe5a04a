// Pipes: with unread content, full, empty, resized, with one end closed, with a read end dup'd.
#include "check.h"

int main(int argc, char **argv) {
  test_init(argc, argv);
  int some[2], full[2], large[2], ended[2], broken[2], many[2];
  char bytes[300000], got[300000];
  test_fill(2, bytes, sizeof bytes);
  signal(SIGPIPE, SIG_IGN);
  MUST(pipe(some));
  MUST(write(some[1], bytes, 5000));
  MUST(pipe2(full, O_NONBLOCK));
  long filled = 0;
  while (write(full[1], bytes + filled, 4096) > 0) filled += 4096;
  MUST(pipe(large));
  int size = MUST(fcntl(large[1], F_SETPIPE_SZ, 512 * 1024));
  MUST(write(large[1], bytes, 300000));
  MUST(pipe(ended));
  MUST(write(ended[1], "last", 4));
  close(ended[1]);
  MUST(pipe(broken));
  close(broken[0]);
  MUST(pipe(many));
  for (int i = 0; i < 16; i++) MUST(write(many[1], bytes + i * 10, 10));
  int again = MUST(dup(some[0]));

  test_ready();
  test_wait();

  CHECK(read(again, got, sizeof got) == 5000 && memcmp(got, bytes, 5000) == 0, "content of a pipe");
  MUST(write(some[1], "more", 4));
  CHECK(read(some[0], got, sizeof got) == 4 && memcmp(got, "more", 4) == 0, "the pipe's ends are not connected");
  CHECK(write(full[1], bytes, 1) == -1 && errno == EAGAIN, "the full pipe is not full");
  long total = 0;
  for (ssize_t n; (n = read(full[0], got + total, 4096)) > 0;) total += n;
  CHECK(total == filled && memcmp(got, bytes, (size_t)total) == 0, "the full pipe held %ld bytes, not %ld", total, filled);
  CHECK(fcntl(large[0], F_GETPIPE_SZ) == size, "pipe size %d, was %d", fcntl(large[0], F_GETPIPE_SZ), size);
  for (total = 0; total < 300000;) total += MUST(read(large[0], got + total, 300000 - (size_t)total));
  CHECK(memcmp(got, bytes, 300000) == 0, "content of the large pipe");
  CHECK(read(ended[0], got, 100) == 4 && memcmp(got, "last", 4) == 0 && read(ended[0], got, 100) == 0, "the ended pipe");
  CHECK(write(broken[1], "x", 1) == -1 && errno == EPIPE, "the broken pipe");
  CHECK(read(many[0], got, sizeof got) == 160 && memcmp(got, bytes, 160) == 0, "the pipe of many small writes");
  test_pass();
}
