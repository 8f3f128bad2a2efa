#include "state.h"

static void *
mem_alloc(size_t size, void *user)
{
    (void)user;
    return PyMem_RawMalloc(size);
}

static void *
mem_resize(void *ptr, size_t size, void *user)
{
    (void)user;
    return PyMem_RawRealloc(ptr, size);
}

static void
mem_release(void *ptr, void *user)
{
    (void)user;
    PyMem_RawFree(ptr);
}

const struct ws_mem pyws_mem = {
    .alloc = mem_alloc,
    .resize = mem_resize,
    .release = mem_release,
    .user = NULL,
};
