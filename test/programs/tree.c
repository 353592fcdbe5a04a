// A tree of 20 processes with a ring of pipes between them: a token counts its way round afterwards.
#include "check.h"

enum { count = 20, rounds = 50 };

static void pass_tokens(int n, int in, int out, unsigned expected) {
  unsigned token;
  for (int round = 0; round < rounds; round++) {
    if (read(in, &token, sizeof token) != sizeof token) test_fail("process %d: the ring broke in round %d", n, round);
    CHECK(token == expected + (unsigned)round * count, "process %d: token %u in round %d", n, token, round);
    token++;
    if (n == 0 && round == rounds - 1) return;
    MUST(write(out, &token, sizeof token));
  }
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  int pipes[count][2];
  pid_t children[count] = {0};
  for (int i = 0; i < count; i++) MUST(pipe(pipes[i]));
  // Process n is the child of process (n - 1) / 2.
  int self = 0;
  for (bool forked = true; forked;) {
    forked = false;
    for (int child = 2 * self + 1; child <= 2 * self + 2 && child < count; child++) {
      children[child] = MUST(fork());
      if (children[child] == 0) {
        memset(children, 0, sizeof children);
        self = child;
        forked = true;
        break;
      }
    }
  }
  for (int i = 0; i < count; i++) { // keep: read end of own pipe, write end of the next one's
    if (i != self) close(pipes[i][0]);
    if (i != (self + 1) % count) close(pipes[i][1]);
  }
  int in = pipes[self][0], out = pipes[(self + 1) % count][1];
  if (self == 0) {
    for (int i = 1; i < count; i++) test_await_child(i);
    test_ready();
    test_wait();
    unsigned token = 1;
    MUST(write(out, &token, sizeof token));
    pass_tokens(0, in, out, count);
  } else {
    test_child_ready(self);
    pass_tokens(self, in, out, (unsigned)self); // blocked in read when frozen
  }
  for (int i = 0; i < count; i++)
    if (children[i] > 0) test_reap(children[i]);
  if (self == 0) test_pass();
  return 0;
}
