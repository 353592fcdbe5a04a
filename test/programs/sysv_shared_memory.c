// A System V shared memory segment attached by two processes, its id and key kept.
// criu: it dumps System V segments only inside an IPC namespace
#include "check.h"
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>

enum { size = 40000, page = 4096 };

// With a further argument the segment is not marked to be removed before the check, and outlives the processes.
int main(int argc, char **argv) {
  test_init(argc, argv);
  int kept = argc > 2;
  key_t key = (key_t)(0x46000000 | getpid());
  int id = MUST(shmget(key, size, IPC_CREAT | IPC_EXCL | 0640));
  char text[16];
  snprintf(text, sizeof text, "%d", id);
  test_publish("segment", text);
  char *memory = MUST(shmat(id, NULL, 0));
  char *reader = MUST(shmat(id, NULL, SHM_RDONLY));
  test_fill(1, memory, size);
  MUST(munmap(reader + 3 * page, page));
  MUST(mprotect(memory + 5 * page, page, PROT_READ));
  pid_t child = MUST(fork());
  if (child == 0) {
    test_child_ready(0);
    test_wait();
    memory[5] = 77;
    _exit(0);
  }
  test_await_child(0);
  if (!kept) MUST(shmctl(id, IPC_RMID, NULL)); // goes away with the last user, so that no test leaves one behind
  test_ready();
  test_wait();
  test_reap(child);
  CHECK(memory[5] == 77 && reader[5] == 77, "the child's write is not seen");
  memory[5] = (char)test_byte(1, 5);
  CHECK(test_differs(1, memory, size) < 0 && test_differs(1, reader, 3 * page) < 0, "content");
  CHECK(memcmp(reader + 4 * page, memory + 4 * page, size - 4 * page) == 0, "content behind a detached page");
  CHECK(mincore(reader + 3 * page, page, (unsigned char[1]){0}) == -1, "the detached page is back");
  struct shmid_ds now;
  MUST(shmctl(id, IPC_STAT, &now));
  CHECK(now.shm_segsz == size && (now.shm_perm.mode & 0777) == 0640, "size or permissions");
  CHECK(now.shm_nattch == 5, "%lu attached", now.shm_nattch); // each part counts
  CHECK(now.shm_perm.__key == (kept ? key : IPC_PRIVATE), "key %x", now.shm_perm.__key);
  CHECK(((now.shm_perm.mode & SHM_DEST) == 0) == kept, "whether it is removed at the end");
  if (kept) CHECK(shmget(key, 0, 0) == id, "its key leads elsewhere");
  if (kept) MUST(shmctl(id, IPC_RMID, NULL));
  MUST(shmdt(reader));
  MUST(shmdt(memory));
  test_pass();
}
