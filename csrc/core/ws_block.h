/* ws_block.h - reference-counted storage for received bytes.
 *
 * Purpose: what a frame shows stays as it is for as long as anybody holds the
 * frame.  A block is held by the ring that fills it and by each frame, buffer
 * or message whose bytes lie in it.
 *
 * Ownership: ws_block_new() returns the first reference; each ws_block_incref()
 * needs one ws_block_decref(), which may run on any thread where
 * WS_ATOMIC_REFS is 1 (free-threaded builds) and under one lock otherwise (the
 * GIL).  Only a holder can make another reference, so a holder that sees
 * ws_block_is_unique() stays the only one until it shares the block itself.
 *
 * The rule that protects kept frames: bytes of data[0..used) may be changed
 * only while the reference of whoever fills the block is the only one.
 */
#ifndef WS_BLOCK_H
#define WS_BLOCK_H

#include "ws_base.h"
#include "ws_mem.h"

#ifndef WS_ATOMIC_REFS
#  define WS_ATOMIC_REFS 0
#endif

#ifndef _MSC_VER
#  include <stdatomic.h>
#endif

#if WS_ATOMIC_REFS && !defined(_MSC_VER)
typedef atomic_size_t ws_refs;
#elif WS_ATOMIC_REFS
typedef volatile __int64 ws_refs;
#else
typedef size_t ws_refs;
#endif

/* The most that a block for ordinary reads holds, so that a kept frame pins
 * little.  Only a frame that needs it gets a larger block.  It is 64 KiB of
 * payload and the heads that come with it: of frames whose payload is a power
 * of two, from 4 KiB on, a full read ends with a frame but for the beginning of
 * the next one. */
#define WS_BLOCK_SIZE_MAX (65536 + 128)

struct ws_block {
    ws_refs refs;
    /* lent counts who may write behind what is used, for as long as they like
     * (ws_block_lend). */
    ws_refs lent;
    /* mem frees the block, whoever drops the last reference. */
    const struct ws_mem *mem;
    /* cap is the size of data. */
    size_t cap;
    /* used is how much of data others may hold; the filler goes on behind. It
     * is meaningful while no ring has the block. */
    size_t used;
    uint8_t data[];
};

/* ws_block_new returns a block of |cap| bytes (at least 1) with one reference,
 * or NULL: out of memory. */
struct ws_block *ws_block_new(const struct ws_mem *mem, size_t cap);

/* ws_block_resize returns |b| with room for |cap| bytes, its first
 * min(b->cap, cap) bytes unchanged, or NULL with |b| as it was.  The caller's
 * reference is the only one. */
struct ws_block *ws_block_resize(struct ws_block *b, size_t cap);

/* ws_block_incref adds a reference. */
void ws_block_incref(struct ws_block *b);

/* ws_block_decref drops a reference and frees the block with the last one.
 * NULL does nothing. */
void ws_block_decref(struct ws_block *b);

/* ws_block_is_unique returns whether the caller's reference is the only one. */
int ws_block_is_unique(const struct ws_block *b);

/* ws_block_lend adds a reference of somebody who may write to the block behind
 * what is used; ws_block_unlend says that they cannot any more, and leaves the
 * reference.  While a block is lent nobody else fills it: a ring goes on in
 * another one, and no spare keeps it. */
void ws_block_lend(struct ws_block *b);
void ws_block_unlend(struct ws_block *b);
int ws_block_is_lent(const struct ws_block *b);

/* ws_spare keeps one block that no connection fills at the moment, for the next
 * one that reads: an idle connection then owns no read buffer, and a busy loop
 * allocates none.  A block that frames still hold may be kept too: the next
 * reader goes on behind what they hold.  Beside it lies one that has grown for
 * a frame, up to WS_SPARE_LARGE_MAX bytes and held by nobody, for the next
 * such frame.
 *
 * Ownership: each slot owns its reference.  Taking and giving are safe from
 * several threads in every build: OpenSSL fills rings in calls that are made
 * without the GIL.  (Where WS_ATOMIC_REFS is 0 such rings hold blocks that
 * nobody else has a reference of.) */
#define WS_SPARE_LARGE_MAX ((size_t)256 * 1024)
#ifndef _MSC_VER
typedef _Atomic(struct ws_block *) ws_spare_slot;
#else
typedef struct ws_block *volatile ws_spare_slot;
#endif
struct ws_spare {
    ws_spare_slot slot;
    ws_spare_slot large;
};

/* ws_spare_take moves the block out of |s| to the caller where it has exactly
 * |cap| bytes; NULL otherwise (a block of another size is dropped). */
struct ws_block *ws_spare_take(struct ws_spare *s, size_t cap);

/* ws_spare_give moves the caller's reference of |b|, which is not lent, into
 * |s|; a block that lay there is dropped: the newer one is warm. */
void ws_spare_give(struct ws_spare *s, struct ws_block *b);

/* ws_spare_take_large moves the large block to the caller where it has |cap|
 * bytes, and not more than twice as many: frames may be kept.  NULL otherwise
 * (a smaller one is dropped). */
struct ws_block *ws_spare_take_large(struct ws_spare *s, size_t cap);

/* ws_spare_give_large takes over the caller's reference: keeps the block, or
 * drops it where it is too large or somebody else holds it, too. */
void ws_spare_give_large(struct ws_spare *s, struct ws_block *b);

/* ws_spare_clear drops what |s| keeps. */
void ws_spare_clear(struct ws_spare *s);

#endif /* WS_BLOCK_H */
