/* check.h - the test harness of the C core: suites, checks, guard pages and an
 * allocator that fails on request.  One test file per core module; each owns
 * its suite and main.c lists them.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ws_mem.h"

struct test {
    const char *name;
    void (*run)(void);
};

struct suite {
    const char *name;
    const struct test *tests; /* ends with a NULL name */
};

/* check_fail prints where and what failed and ends the process. */
void check_fail(const char *file, int line, const char *what);

/* check_context names the case being run (a row, a length, a kernel); it is
 * printed with a failure.  printf-like. */
void check_context(const char *format, ...);

/* check_count counts every check that was made. */
extern unsigned long check_count;

#define CHECK(cond)                          \
  do {                                       \
    check_count++;                           \
    if (!(cond))                             \
      check_fail(__FILE__, __LINE__, #cond); \
  } while (0)

/* CHECK_INT compares two integers and prints both. */
#define CHECK_INT(got, want)                                             \
  do {                                                                   \
    long long got_ = (long long)(got), want_ = (long long)(want);        \
    check_count++;                                                       \
    if (got_ != want_) {                                                 \
      char text_[200];                                                   \
      snprintf(text_, sizeof(text_), "%s is %lld, not %lld", #got, got_, \
               want_);                                                   \
      check_fail(__FILE__, __LINE__, text_);                             \
    }                                                                    \
  } while (0)

/* CHECK_BYTES compares |n| bytes. */
#define CHECK_BYTES(got, want, n)                                  \
  do {                                                             \
    check_count++;                                                 \
    if ((n) != 0 && memcmp((got), (want), (n)) != 0)               \
      check_fail(__FILE__, __LINE__, #got " differs from " #want); \
  } while (0)

/* guard_new returns |size| writable bytes that end exactly where an unmapped
 * page begins, and follow one after rounding: reading one byte too many is a
 * crash.  guard_free unmaps them. */
uint8_t *guard_new(size_t size);
void guard_free(uint8_t *p, size_t size);

/* guard_copy is guard_new with a copy of |src| in it. */
uint8_t *guard_copy(const void *src, size_t size);

/* An allocator whose nth allocation (0-based; each resize counts) fails, and
 * that counts what is alive and what it was asked for.  fail_at < 0 never
 * fails. */
struct failing_mem {
    struct ws_mem mem;
    long fail_at;
    long calls;
    long alive;
    size_t asked, resized; /* bytes of all calls, and of resizes */
    size_t largest;        /* bytes of the largest call */
};
void failing_mem_init(struct failing_mem *fm, long fail_at);

/* A small reproducible random generator. */
uint32_t check_random(void);
void check_random_seed(uint32_t seed);

#endif /* CHECK_H */
