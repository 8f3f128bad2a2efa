#define _GNU_SOURCE
#include "check.h"

#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

unsigned long check_count;
static char context[300];

void
check_context(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(context, sizeof(context), format, args);
    va_end(args);
}

void
check_fail(const char *file, int line, const char *what)
{
    fflush(stdout);
    fprintf(stderr, "\n%s:%d: %s\n    in: %s\n", file, line, what, context);
    abort();
}

static size_t
guard_round(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (size + page - 1) / page * page;
}

uint8_t *
guard_new(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = guard_round(size);
    uint8_t *base = mmap(NULL, room + 2 * page, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base, page, PROT_NONE) != 0 ||
        mprotect(base + page + room, page, PROT_NONE) != 0) {
        perror("guard page");
        abort();
    }
    return base + page + room - size;
}

void
guard_free(uint8_t *p, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = guard_round(size);
    munmap(p + size - room - page, room + 2 * page);
}

uint8_t *
guard_copy(const void *src, size_t size)
{
    uint8_t *p = guard_new(size);
    if (size != 0)
        memcpy(p, src, size);
    return p;
}

static int
failing_mem_fails(struct failing_mem *fm, size_t size)
{
    fm->asked += size;
    fm->largest = size > fm->largest ? size : fm->largest;
    return fm->calls++ == fm->fail_at;
}

static void *
failing_alloc(size_t size, void *user)
{
    struct failing_mem *fm = user;
    if (failing_mem_fails(fm, size))
        return NULL;
    void *p = malloc(size);
    if (p != NULL)
        fm->alive++;
    return p;
}

static void *
failing_resize(void *ptr, size_t size, void *user)
{
    struct failing_mem *fm = user;
    fm->resized += size;
    if (failing_mem_fails(fm, size))
        return NULL;
    if (ptr == NULL)
        fm->alive++;
    return realloc(ptr, size);
}

static void
failing_release(void *ptr, void *user)
{
    struct failing_mem *fm = user;
    if (ptr != NULL)
        fm->alive--;
    free(ptr);
}

void
failing_mem_init(struct failing_mem *fm, long fail_at)
{
    memset(fm, 0, sizeof(*fm));
    fm->mem.alloc = failing_alloc;
    fm->mem.resize = failing_resize;
    fm->mem.release = failing_release;
    fm->mem.user = fm;
    fm->fail_at = fail_at;
}

static uint32_t random_state = 1;

void
check_random_seed(uint32_t seed)
{
    random_state = seed ? seed : 1;
}

uint32_t
check_random(void)
{
    uint32_t x = random_state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return random_state = x;
}
