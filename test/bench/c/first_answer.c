// When a server on 127.0.0.1 first answers: connects until it can, sends TEXT (with \r\n written as ^), waits for one byte.
// Prints a line when it begins, and the time of that byte on CLOCK_REALTIME, nanoseconds.
//   first_answer PORT TEXT
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int main(int argc, char **argv) {
  if (argc != 3 || strlen(argv[2]) > 1000) return 2;
  char text[2048];
  size_t length = 0;
  for (const char *at = argv[2]; *at != 0; at++) {
    if (*at == '^') text[length++] = '\r';
    text[length++] = *at == '^' ? '\n' : *at;
  }
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  printf("asking\n");
  fflush(stdout);
  for (uint64_t end = now_ns() + 60000000000ull; now_ns() < end; usleep(300)) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char byte;
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0 && write(fd, text, length) == (ssize_t)length &&
        read(fd, &byte, 1) == 1) {
      printf("%lu\n", (unsigned long)now_ns());
      return 0;
    }
    close(fd);
  }
  return 1;
}
