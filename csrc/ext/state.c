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

struct ws_block *
pyws_scratch_take(pyws_state *state, size_t size)
{
    int is_large = size > WS_BLOCK_SIZE_MAX;
    size_t cap = is_large ? size : WS_BLOCK_SIZE_MAX;
    struct ws_block *b = is_large ? ws_spare_take_large(&state->spare, cap)
                                  : ws_spare_take(&state->spare, cap);
    if (b != NULL && !ws_block_is_unique(b)) {
        ws_block_decref(b);
        b = NULL;
    }
    if (b == NULL) {
        b = ws_block_new(&pyws_mem, cap);
    }
    if (b != NULL) {
        b->used = 0;
    }
    return b;
}

void
pyws_scratch_give(pyws_state *state, struct ws_block *b)
{
    b->used = 0;
    if (b->cap > WS_BLOCK_SIZE_MAX) {
        ws_spare_give_large(&state->spare, b);
        return;
    }
    ws_spare_give(&state->spare, b);
}
