// A System V shared memory segment attached by two processes, its id and key kept.
// criu: it dumps System V segments only inside an IPC namespace
#include "check.h"
#include <sys/ipc.h>
#include <sys/shm.h>

enum { size = 40960 };

int main(int argc, char **argv) {
  test_init(argc, argv);
  key_t key = (key_t)(0x46000000 | getpid());
  int id = MUST(shmget(key, size, IPC_CREAT | IPC_EXCL | 0640));
  char *memory = MUST(shmat(id, NULL, 0));
  char *reader = MUST(shmat(id, NULL, SHM_RDONLY));
  test_fill(1, memory, size);
  pid_t child = MUST(fork());
  if (child == 0) {
    test_child_ready(0);
    test_wait();
    memory[5] = 77;
    _exit(0);
  }
  test_await_child(0);
  MUST(shmctl(id, IPC_RMID, NULL)); // goes away with the last user, so that no test leaves one behind
  test_ready();
  test_wait();
  test_reap(child);
  CHECK(memory[5] == 77 && reader[5] == 77, "the child's write is not seen");
  memory[5] = (char)test_byte(1, 5);
  CHECK(test_differs(1, memory, size) < 0 && test_differs(1, reader, size) < 0, "content");
  struct shmid_ds now;
  MUST(shmctl(id, IPC_STAT, &now));
  CHECK(now.shm_segsz == size && (now.shm_perm.mode & 0777) == 0640 && now.shm_nattch == 2, "attributes: %lu attached", now.shm_nattch);
  MUST(shmdt(reader));
  MUST(shmdt(memory));
  test_pass();
}
