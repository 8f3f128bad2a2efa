/* fuzz.h - what all fuzz targets share: MUST(), the entry point's declaration,
 * copies whose ends AddressSanitizer guards, and an allocator that knows what
 * is alive and may fail.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ws_mem.h"

/* MUST says where |cond| did not hold, and ends the process. */
#define MUST(cond)                                               \
  do {                                                           \
    if (!(cond)) {                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); \
      abort();                                                   \
    }                                                            \
  } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* fuzz_new returns |n| bytes with nothing behind them; free() frees them. */
static inline uint8_t *
fuzz_new(size_t n)
{
    uint8_t *p = malloc(n != 0 ? n : 1);
    MUST(p != NULL);
    return p;
}

/* fuzz_copy returns a copy of the |n| bytes at |from|, so that reading past
 * its end is seen. */
static inline uint8_t *
fuzz_copy(const uint8_t *from, size_t n)
{
    uint8_t *p = fuzz_new(n);
    if (n != 0) {
        memcpy(p, from, n);
    }
    return p;
}

/* ---- the allocator ---- */

struct fuzz_memory {
    /* Every nth allocation fails; 0: none. */
    unsigned fail_every;
    /* More than this must not be asked for at once. */
    size_t most;
    unsigned long allocations;
    long alive;
};

static inline int
fuzz_memory_fails(struct fuzz_memory *m, size_t size)
{
    MUST(size > 0 && size < m->most);
    m->allocations++;
    return m->fail_every != 0 && m->allocations % m->fail_every == 0;
}

static inline void *
fuzz_memory_alloc(size_t size, void *user)
{
    struct fuzz_memory *m = user;
    if (fuzz_memory_fails(m, size)) {
        return NULL;
    }
    m->alive++;
    return malloc(size);
}

static inline void *
fuzz_memory_resize(void *ptr, size_t size, void *user)
{
    return fuzz_memory_fails(user, size) ? NULL : realloc(ptr, size);
}

static inline void
fuzz_memory_release(void *ptr, void *user)
{
    struct fuzz_memory *m = user;
    m->alive -= ptr != NULL;
    free(ptr);
}

/* fuzz_mem makes |m| the allocator of the core. */
static inline struct ws_mem
fuzz_mem(struct fuzz_memory *m)
{
    struct ws_mem mem = {fuzz_memory_alloc, fuzz_memory_resize,
                         fuzz_memory_release, m};
    return mem;
}

#endif /* FUZZ_H */
