// Threads frozen in more calls without a time limit: recv on a Unix socket, accept on one, flock, a record lock.
// options: --file-locks
#include "check.h"
#include <pthread.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { count = 4 };
static volatile int returned[count], state[count];
static int pair[2], listener;
static char *locked_path;

static void *thread(void *argument) {
  int n = (int)(uintptr_t)argument;
  char buffer[64];
  long result = -1;
  state[n] = 1;
  switch (n) {
    case 0: result = recv(pair[0], buffer, sizeof buffer, 0) == 1 ? 0 : -1; break;
    case 1: result = accept(listener, NULL, NULL) >= 0 ? 0 : -1; break;
    case 2: result = flock(MUST(open(locked_path, O_RDWR)), LOCK_EX); break;
    case 3: {
      struct flock lock = {.l_type = F_WRLCK, .l_start = 10, .l_len = 10};
      result = fcntl(MUST(open(locked_path, O_RDWR)), F_OFD_SETLKW, &lock);
      break;
    }
  }
  CHECK(result == 0, "blocked call %d gave %ld: %s", n, result, strerror(errno));
  returned[n] = 1;
  return NULL;
}

int main(int argc, char **argv) {
  test_init(argc, argv);
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  MUST(chdir(test_path(".")));
  strcpy(address.sun_path, "listener");
  listener = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
  MUST(bind(listener, (struct sockaddr *)&address, sizeof address));
  MUST(listen(listener, 5));
  locked_path = strdup(test_path("locked"));
  int lock_file = MUST(open(locked_path, O_CREAT | O_RDWR, 0644));
  MUST(flock(lock_file, LOCK_EX));
  struct flock lock = {.l_type = F_WRLCK, .l_start = 0, .l_len = 100};
  MUST(fcntl(lock_file, F_OFD_SETLK, &lock));
  pthread_t threads[count];
  for (uintptr_t i = 0; i < count; i++) pthread_create(&threads[i], NULL, thread, (void *)i);
  for (int i = 0; i < count; i++) while (!state[i]) test_sleep_ms(1);
  test_sleep_ms(100);
  test_ready();
  test_wait();
  test_sleep_ms(30);
  for (int i = 0; i < count; i++) CHECK(!returned[i], "blocked call %d returned early", i);
  MUST(send(pair[1], "x", 1, 0));
  MUST(connect(MUST(socket(AF_UNIX, SOCK_STREAM, 0)), (struct sockaddr *)&address, sizeof address));
  MUST(flock(lock_file, LOCK_UN));
  lock.l_type = F_UNLCK;
  MUST(fcntl(lock_file, F_OFD_SETLK, &lock));
  for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
  test_pass();
}
