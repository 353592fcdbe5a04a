// The watchdog: holds duplicates of the pager's userfaultfds, so that the pager's death is not their last close, which
// would turn every missing page into zeros in silence. When its socket closes while contexts are left, it applies the
// policy. A process of its own, small and without a runtime; it reads no image and serves no page.
//
//   faultline-watchdog POLICY     with a SOCK_SEQPACKET socket as descriptor 3
//
// POLICY is what happens to the tasks when the pager is gone: "kill" ends them and all their descendants; "wait" leaves
// them parked at the next missing page. A message is one struct message; an `add` carries the uffd.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { socket_fd = 3, add = 1, drop = 2 };

struct message {
  uint32_t kind;
  uint32_t context;
  int32_t pid;  // 0 where unknown: a copy made by fork(2)
  uint32_t reserved;
};

struct context {
  uint32_t id;
  int uffd;
  pid_t pid;
  int pidfd;
};

static struct context *contexts;
static size_t count, capacity;

static void remember(const struct message *message, int uffd) {
  if (count == capacity) {
    capacity = capacity == 0 ? 64 : capacity * 2;
    struct context *more = realloc(contexts, capacity * sizeof *contexts);
    if (more == NULL) abort();
    contexts = more;
  }
  int pidfd = message->pid > 0 ? (int)syscall(SYS_pidfd_open, message->pid, 0) : -1;
  contexts[count++] = (struct context){message->context, uffd, message->pid, pidfd};
}

static void forget(size_t index) {
  close(contexts[index].uffd);
  if (contexts[index].pidfd >= 0) close(contexts[index].pidfd);
  contexts[index] = contexts[--count];
}

static void forget_context(uint32_t id) {
  for (size_t index = 0; index < count; index++) {
    if (contexts[index].id == id) {
      forget(index);
      return;
    }
  }
}

// One message; false when the other end is gone.
static bool receive(void) {
  struct message message;
  _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  struct iovec part = {&message, sizeof message};
  struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  ssize_t got = recvmsg(socket_fd, &header, MSG_CMSG_CLOEXEC);
  if (got < 0 && errno == EINTR) return true;
  if (got != (ssize_t)sizeof message) return false;
  int fd = -1;
  struct cmsghdr *first = CMSG_FIRSTHDR(&header);
  if (first != NULL && first->cmsg_type == SCM_RIGHTS) memcpy(&fd, CMSG_DATA(first), sizeof fd);
  if (message.kind == add && fd >= 0) remember(&message, fd);
  else if (fd >= 0) close(fd);
  if (message.kind == drop) forget_context(message.context);
  return true;
}

// Ends the descendants before their parent, so that none is handed to init and lost sight of.
static unsigned kill_below(pid_t pid, unsigned depth) {
  unsigned killed = 0;
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR *tasks = depth < 256 ? opendir(path) : NULL;
  if (tasks != NULL) {
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
      if (entry->d_name[0] == '.') continue;
      char children[128];
      snprintf(children, sizeof children, "/proc/%d/task/%.16s/children", pid, entry->d_name);
      FILE *list = fopen(children, "re");
      if (list == NULL) continue;
      for (int child; fscanf(list, "%d", &child) == 1;) killed += kill_below(child, depth + 1);
      fclose(list);
    }
    closedir(tasks);
  }
  if (kill(pid, SIGKILL) == 0) killed++;
  return killed;
}

static bool lives(const struct context *context) {
  return context->pidfd >= 0 && syscall(SYS_pidfd_send_signal, context->pidfd, 0, NULL, 0) == 0;
}

static void kill_all(void) {
  unsigned killed = 0;
  for (size_t index = 0; index < count; index++) {
    // The pidfd says that the number is still the task's.
    if (!lives(&contexts[index])) continue;
    syscall(SYS_pidfd_send_signal, contexts[index].pidfd, SIGSTOP, NULL, 0);
    killed += kill_below(contexts[index].pid, 0);
  }
  fprintf(stderr, "faultline: the pager is gone with pages missing; killed %u tasks rather than give them zeros\n", killed);
}

// Keeps the contexts open until their address spaces are gone: whatever the policy could not reach stays parked.
static void hold(void) {
  const struct timespec pause = {0, 200000000};
  while (count > 0) {
    for (size_t index = count; index-- > 0;) {
      struct uffdio_range range = {0, 4096};
      // ENOMEM is how UFFDIO_UNREGISTER says that the address space is gone (fs/userfaultfd.c).
      if (ioctl(contexts[index].uffd, UFFDIO_UNREGISTER, &range) < 0 && (errno == ENOMEM || errno == ESRCH)) forget(index);
    }
    if (count > 0) nanosleep(&pause, NULL);
  }
}

int main(int argc, char **argv) {
  const bool kills = argc < 2 || strcmp(argv[1], "wait") != 0;
  signal(SIGPIPE, SIG_IGN);
  while (receive()) continue;
  if (count == 0) return 0;
  if (kills) kill_all();
  else fprintf(stderr, "faultline: the pager is gone with pages missing; its tasks wait at the next missing page\n");
  hold();
  return 1;
}
