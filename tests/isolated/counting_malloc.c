/* counting_malloc.c - malloc and its relatives, counted; it is preloaded, so
 * that they are everybody's.  counting.c reads the numbers. */
#include <errno.h>
#include <stddef.h>

/* glibc's own, under the names that do not lead back here. */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t count, size_t n);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t alignment, size_t n);

__thread int counting_on;
unsigned long counting_found[2];

enum { MALLOC, REALLOC };

static void
count(int kind)
{
    if (counting_on) {
        counting_found[kind]++;
    }
}

void *
malloc(size_t n)
{
    count(MALLOC);
    return __libc_malloc(n);
}

void *
calloc(size_t times, size_t n)
{
    count(MALLOC);
    return __libc_calloc(times, n);
}

void *
realloc(void *p, size_t n)
{
    count(REALLOC);
    return __libc_realloc(p, n);
}

void *
aligned_alloc(size_t alignment, size_t n)
{
    count(MALLOC);
    return __libc_memalign(alignment, n);
}

int
posix_memalign(void **p, size_t alignment, size_t n)
{
    count(MALLOC);
    *p = __libc_memalign(alignment, n);
    return *p == NULL ? ENOMEM : 0;
}
