#include "ws_block.h"

#ifdef _MSC_VER
#  include <intrin.h>
#endif

/* ---- references: the only code that differs between the builds ---- */

static void
refs_init(ws_refs *refs, unsigned count)
{
#if WS_ATOMIC_REFS && !defined(_MSC_VER)
    atomic_init(refs, count);
#else
    *refs = count;
#endif
}

static void
refs_add(ws_refs *refs)
{
#if WS_ATOMIC_REFS && !defined(_MSC_VER)
    atomic_fetch_add_explicit(refs, 1, memory_order_relaxed);
#elif WS_ATOMIC_REFS
    _InterlockedIncrement64(refs);
#else
    ++*refs;
#endif
}

/* Returns whether that was the last one.  Releases what this holder read, and
 * acquires what the others did before the memory is used again. */
static int
refs_drop(ws_refs *refs)
{
#if WS_ATOMIC_REFS && !defined(_MSC_VER)
    return atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel) == 1;
#elif WS_ATOMIC_REFS
    return _InterlockedDecrement64(refs) == 0;
#else
    return --*refs == 0;
#endif
}

static size_t
refs_get(const ws_refs *refs)
{
#if WS_ATOMIC_REFS && !defined(_MSC_VER)
    return atomic_load_explicit(refs, memory_order_acquire);
#elif WS_ATOMIC_REFS
    return (size_t)_InterlockedOr64((ws_refs *)refs, 0);
#else
    return *refs;
#endif
}

/* Atomic in every build: see ws_spare. */
static struct ws_block *
spare_swap(ws_spare_slot *slot, struct ws_block *b)
{
#ifndef _MSC_VER
    return atomic_exchange_explicit(slot, b, memory_order_acq_rel);
#else
    return _InterlockedExchangePointer((void *volatile *)slot, b);
#endif
}

/* ---- blocks ---- */

struct ws_block *
ws_block_new(const struct ws_mem *mem, size_t cap)
{
    WS_ASSERT(cap > 0);
    if (cap > SIZE_MAX - sizeof(struct ws_block)) {
        return NULL;
    }
    struct ws_block *b = ws_mem_alloc(mem, sizeof(*b) + cap);
    if (b == NULL) {
        return NULL;
    }
    refs_init(&b->refs, 1);
    refs_init(&b->lent, 0);
    b->mem = mem;
    b->cap = cap;
    b->used = 0;
    return b;
}

struct ws_block *
ws_block_resize(struct ws_block *b, size_t cap)
{
    WS_ASSERT(ws_block_is_unique(b));
    if (cap > SIZE_MAX - sizeof(struct ws_block)) {
        return NULL;
    }
    struct ws_block *moved = ws_mem_resize(b->mem, b, sizeof(*b) + cap);
    if (moved != NULL) {
        moved->cap = cap;
    }
    return moved;
}

void
ws_block_incref(struct ws_block *b)
{
    refs_add(&b->refs);
}

void
ws_block_decref(struct ws_block *b)
{
    if (b != NULL && refs_drop(&b->refs)) {
        ws_mem_release(b->mem, b);
    }
}

int
ws_block_is_unique(const struct ws_block *b)
{
    return refs_get(&b->refs) == 1;
}

void
ws_block_lend(struct ws_block *b)
{
    refs_add(&b->refs);
    refs_add(&b->lent);
}

void
ws_block_unlend(struct ws_block *b)
{
    WS_ASSERT(ws_block_is_lent(b));
    (void)refs_drop(&b->lent);
}

int
ws_block_is_lent(const struct ws_block *b)
{
    return refs_get(&b->lent) > 0;
}

/* ---- the spare block ---- */

struct ws_block *
ws_spare_take(struct ws_spare *s, size_t cap)
{
    struct ws_block *b = spare_swap(&s->slot, NULL);
    if (b != NULL && b->cap != cap) {
        ws_block_decref(b);
        return NULL;
    }
    return b;
}

void
ws_spare_give(struct ws_spare *s, struct ws_block *b)
{
    WS_ASSERT(!ws_block_is_lent(b));
    /* Whoever lies in the slot has waited longest; the newest is warm. */
    ws_block_decref(spare_swap(&s->slot, b));
}

void
ws_spare_give_large(struct ws_spare *s, struct ws_block *b)
{
    if (b->cap > WS_SPARE_LARGE_MAX || !ws_block_is_unique(b)) {
        ws_block_decref(b);
        return;
    }
    ws_block_decref(spare_swap(&s->large, b));
}

struct ws_block *
ws_spare_take_large(struct ws_spare *s, size_t cap)
{
    struct ws_block *b = spare_swap(&s->large, NULL);
    if (b == NULL || (b->cap >= cap && b->cap / 2 <= cap)) {
        return b;
    }
    if (b->cap < cap) {
        ws_block_decref(b);
    }
    else {
        ws_spare_give_large(s, b);
    }
    return NULL;
}

void
ws_spare_clear(struct ws_spare *s)
{
    ws_block_decref(spare_swap(&s->slot, NULL));
    ws_block_decref(spare_swap(&s->large, NULL));
}
