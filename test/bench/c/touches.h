// The touches of one run, timed one by one: what a faulting program sees. Shared by the program that is dumped and
// restored (faulting.c) and the C yardsticks (uffd_handler.c), so that both are measured by the same code.
#ifndef FAULTLINE_BENCH_TOUCHES_H
#define FAULTLINE_BENCH_TOUCHES_H
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { page = 4096, threads_max = 64 };

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t mix(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdull;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ull;
  return x ^ (x >> 33);
}

// Half of each page is noise, half repeats: it compresses by about two, as program memory does.
static void fill_page(uint64_t *words, uint64_t number) {
  for (unsigned i = 0; i < page / 8; i++) words[i] = i < page / 16 ? mix(number * 512 + i) : number;
}

struct touches {
  unsigned char *map;
  uint64_t pages, touches, first, step;
  int random;
  uint64_t *latencies;
  int wrong;
};

static void *touch_all(void *argument) {
  struct touches *t = argument;
  for (uint64_t i = t->first; i < t->touches; i += t->step) {
    uint64_t number = t->random ? mix(i + 1) % t->pages : i % t->pages;
    volatile uint64_t *word = (volatile uint64_t *)(t->map + number * page) + page / 16;
    uint64_t before = now_ns();
    uint64_t value = *word;
    t->latencies[i] = now_ns() - before;
    if (value != number) t->wrong = 1;
  }
  return NULL;
}

// Touches by `threads` threads at once; returns the nanoseconds of all together, 0 where a page held wrong bytes.
static uint64_t timed_touches(unsigned char *map, uint64_t pages, uint64_t touches, int random, unsigned threads,
                              uint64_t *latencies) {
  pthread_t ids[threads_max];
  struct touches parts[threads_max];
  for (unsigned i = 0; i < threads; i++)
    parts[i] = (struct touches){map, pages, touches, i, threads, random, latencies, 0};
  uint64_t start = now_ns();
  if (threads == 1) touch_all(&parts[0]);
  for (unsigned i = 0; threads > 1 && i < threads; i++)
    if (pthread_create(&ids[i], NULL, touch_all, &parts[i]) != 0) abort();
  for (unsigned i = 0; threads > 1 && i < threads; i++) pthread_join(ids[i], NULL);
  uint64_t total = now_ns() - start;
  for (unsigned i = 0; i < threads; i++)
    if (parts[i].wrong) return 0;
  return total;
}

// "TOTAL LATENCY LATENCY ...", nanoseconds, in the order of the touches.
static void write_touches(FILE *out, uint64_t total, const uint64_t *latencies, uint64_t touches) {
  fprintf(out, "%lu", (unsigned long)total);
  for (uint64_t i = 0; i < touches; i++) fprintf(out, " %lu", (unsigned long)latencies[i]);
  fprintf(out, "\n");
}
#endif
