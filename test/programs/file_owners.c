// Who gets SIGIO of a file and which signal: a pipe, a socket pair and a terminal-free FIFO with owner, signal and O_ASYNC.
#include "check.h"
#include <sys/socket.h>

static volatile sig_atomic_t from;
static void handler(int signal, siginfo_t *info, void *context) { (void)signal; (void)context; from = info->si_fd; }

int main(int argc, char **argv) {
  test_init(argc, argv);
  int pipe_ends[2], pair[2];
  MUST(pipe(pipe_ends));
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  MUST(sigaction(SIGRTMIN + 2, &(struct sigaction){.sa_sigaction = handler, .sa_flags = SA_SIGINFO}, NULL));
  int fds[] = {pipe_ends[0], pair[0]};
  for (int i = 0; i < 2; i++) {
    MUST(fcntl(fds[i], F_SETSIG, SIGRTMIN + 2));
    MUST(fcntl(fds[i], F_SETOWN, i == 0 ? getpid() : -getpgrp()));
    MUST(fcntl(fds[i], F_SETFL, O_ASYNC | O_NONBLOCK));
  }
  test_ready();
  test_wait();
  for (int i = 0; i < 2; i++) {
    struct f_owner_ex owner;
    MUST(fcntl(fds[i], F_GETOWN_EX, &owner));
    CHECK(owner.type == (i == 0 ? F_OWNER_PID : F_OWNER_PGRP) && owner.pid == (i == 0 ? getpid() : getpgrp()), "owner %d of %d", owner.pid, i);
    CHECK(fcntl(fds[i], F_GETSIG) == SIGRTMIN + 2, "signal %d of %d", fcntl(fds[i], F_GETSIG), i);
    CHECK((fcntl(fds[i], F_GETFL) & (O_ASYNC | O_NONBLOCK)) == (O_ASYNC | O_NONBLOCK), "flags 0%o of %d", fcntl(fds[i], F_GETFL), i);
    from = -1;
    MUST(write(i == 0 ? pipe_ends[1] : pair[1], "x", 1));
    for (int n = 0; n < 200 && from != fds[i]; n++) test_sleep_ms(2);
    CHECK(from == fds[i], "no signal from %d (%d)", i, (int)from);
  }
  test_pass();
}
