/* ws_mem.h - the allocator, handed in by the caller, so that a test can make
 * any allocation fail and the binding can use CPython's.
 *
 * Ownership: whoever hands a ws_mem in keeps it alive and unchanged for as long
 * as anything allocated through it exists.
 */
#ifndef WS_MEM_H
#define WS_MEM_H

#include <stddef.h>

struct ws_mem {
    /* alloc returns |size| bytes (never called with 0), or NULL. */
    void *(*alloc)(size_t size, void *user);
    /* resize returns |ptr|'s bytes in |size| bytes, or NULL with |ptr| as it
     * was. */
    void *(*resize)(void *ptr, size_t size, void *user);
    /* release frees |ptr|; NULL does nothing.  May run on any thread. */
    void (*release)(void *ptr, void *user);
    /* user is passed to each call. */
    void *user;
};

static inline void *
ws_mem_alloc(const struct ws_mem *mem, size_t size)
{
    return mem->alloc(size, mem->user);
}

static inline void *
ws_mem_resize(const struct ws_mem *mem, void *ptr, size_t size)
{
    return mem->resize(ptr, size, mem->user);
}

static inline void
ws_mem_release(const struct ws_mem *mem, void *ptr)
{
    mem->release(ptr, mem->user);
}

#endif /* WS_MEM_H */
