// File leases: a read lease and a write lease, and that they are broken by an open.
// options: --file-locks
#include "check.h"

static volatile sig_atomic_t broken;
static void handler(int signal, siginfo_t *info, void *context) { (void)signal; (void)context; broken = info->si_fd; }

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(close(MUST(open(test_path("read"), O_CREAT | O_RDWR, 0600))));
  int reading = MUST(open(test_path("read"), O_RDONLY));
  int writing = MUST(open(test_path("write"), O_CREAT | O_RDWR, 0600));
  MUST(sigaction(SIGRTMIN, &(struct sigaction){.sa_sigaction = handler, .sa_flags = SA_SIGINFO}, NULL));
  MUST(fcntl(reading, F_SETSIG, SIGRTMIN));
  MUST(fcntl(writing, F_SETSIG, SIGRTMIN));
  MUST(fcntl(reading, F_SETLEASE, F_RDLCK));
  MUST(fcntl(writing, F_SETLEASE, F_WRLCK));
  test_ready();
  test_wait();
  CHECK(fcntl(reading, F_GETLEASE) == F_RDLCK, "the read lease is %d", fcntl(reading, F_GETLEASE));
  CHECK(fcntl(writing, F_GETLEASE) == F_WRLCK, "the write lease is %d", fcntl(writing, F_GETLEASE));
  CHECK(open(test_path("write"), O_RDONLY | O_NONBLOCK) == -1 && errno == EWOULDBLOCK, "the write lease breaks for nobody");
  for (int i = 0; i < 200 && broken != writing; i++) test_sleep_ms(2);
  CHECK(broken == writing, "the holder is not told");
  test_pass();
}
