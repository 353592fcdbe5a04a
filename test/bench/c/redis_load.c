// A closed loop of GETs against a redis on 127.0.0.1 for some time, from as soon as it answers: several connections, one
// request at a time each; the end of stdin ends it early. Prints "FIRST_ANSWER_US COUNT P50_NS P90_NS P99_NS MAX_NS"; the first from the program's start.
//   redis_load PORT CONNECTIONS MILLISECONDS KEYS
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { connections_max = 32, samples_max = 400000 };
static int port, keys;
static uint64_t start_ns;
static volatile uint64_t length_ns;
struct client {
  pthread_t id;
  uint64_t seed, *samples, count, first;
};

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int dial(void) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (;;) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) {
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      return fd;
    }
    close(fd);
    if (now_ns() - start_ns > 30000000000ull) exit(1);
    usleep(200);
  }
}

// One answer to GET: "$LENGTH\r\n" and the bytes and "\r\n", or "$-1\r\n".
static void answer(int fd) {
  char buffer[65536];
  size_t have = 0;
  for (;;) {
    ssize_t got = read(fd, buffer + have, sizeof buffer - have);
    if (got <= 0) exit(1);
    have += (size_t)got;
    char *end = memchr(buffer, '\n', have);
    if (end == NULL) continue;
    long length = strtol(buffer + 1, NULL, 10);
    if (length < 0 || have >= (size_t)(end - buffer) + 1 + (size_t)length + 2) return;
  }
}

static void *ask(void *argument) {
  struct client *c = argument;
  int fd = dial();
  while (c->count < samples_max) {
    c->seed = c->seed * 6364136223846793005ull + 1442695040888963407ull;
    char line[64];
    int length = snprintf(line, sizeof line, "GET key:%lu\r\n", (unsigned long)((c->seed >> 33) % (uint64_t)keys));
    uint64_t before = now_ns();
    if (before - start_ns > length_ns && c->count > 0) break;
    if (write(fd, line, (size_t)length) != length) exit(1);
    answer(fd);
    uint64_t after = now_ns();
    if (c->count == 0) c->first = after;
    c->samples[c->count++] = after - before;
  }
  close(fd);
  return NULL;
}

static void *end_with_stdin(void *argument) {
  char byte;
  while (read(0, &byte, 1) > 0) continue;
  length_ns = 0;
  return argument;
}

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  port = atoi(argv[1]), keys = atoi(argv[4]);
  int connections = atoi(argv[2]);
  if (connections < 1 || connections > connections_max) return 2;
  length_ns = strtoull(argv[3], NULL, 10) * 1000000u;
  pthread_t ender;
  pthread_create(&ender, NULL, end_with_stdin, NULL);
  start_ns = now_ns();
  static struct client clients[connections_max];
  for (int i = 0; i < connections; i++) {
    clients[i].seed = (uint64_t)i * 7919 + 1;
    clients[i].samples = malloc(samples_max * 8);
    pthread_create(&clients[i].id, NULL, ask, &clients[i]);
  }
  uint64_t *all = malloc((size_t)connections * samples_max * 8), count = 0, first = UINT64_MAX;
  for (int i = 0; i < connections; i++) {
    pthread_join(clients[i].id, NULL);
    memcpy(all + count, clients[i].samples, clients[i].count * 8);
    count += clients[i].count;
    if (clients[i].first < first) first = clients[i].first;
  }
  qsort(all, count, 8, compare);
#define AT(q) (unsigned long)all[(uint64_t)((double)(count - 1) * (q))]
  printf("%lu %lu %lu %lu %lu %lu\n", (unsigned long)((first - start_ns) / 1000), (unsigned long)count, AT(0.5), AT(0.9),
         AT(0.99), AT(1.0));
  return 0;
}
