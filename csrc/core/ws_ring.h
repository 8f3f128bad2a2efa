/* ws_ring.h - the receive ring: where bytes wait between the socket and the
 * parser.
 *
 * Public API: reserve -> (somebody writes) -> commit -> peek -> consume ->
 * settle.  The readable bytes are always contiguous.
 *
 * How it stays cheap: when everything was consumed the next reserve() starts
 * at 0 again, without a copy, which is the usual case.  Bytes are moved
 * only when the room behind them is short, storage grows geometrically with
 * what has arrived for a frame (never by the length that a peer only claims),
 * and settle() gives the storage of an empty ring back: an idle connection
 * holds none.
 *
 * Ownership: the ring owns one reference of its block.  Whoever keeps a pointer
 * from ws_ring_peek() or ws_ring_reserve() past the next call on the ring takes
 * a reference of ws_ring_block() first; the bytes handed out then stay as they
 * are, because the ring only appends to a block that somebody else holds.
 */
#ifndef WS_RING_H
#define WS_RING_H

#include "ws_base.h"
#include "ws_block.h"

struct ws_ring {
    /* block holds the bytes; NULL while the ring has none. */
    struct ws_block *block;
    /* block->data[r..w) are readable. */
    size_t r, w;
    /* block_size is the size of an ordinary block. */
    size_t block_size;
    /* proven is the size of the largest frame that this peer really
     * delivered: up to it, a claimed length is believed. */
    size_t proven;
    /* large is the size of the last frame, where an ordinary block could not
     * hold it; 0 otherwise. */
    size_t large;
    /* slack is how much may come behind the end of a large frame in the same
     * read: there is room for it, so that the frame is not moved. */
    size_t slack;
    const struct ws_mem *mem;
    /* spare is where storage comes from first and goes to last; borrowed. */
    struct ws_spare *spare;
};

/* ws_ring_init makes an empty ring without storage.  |block_size| is taken into
 * WS_RING_BLOCK_MIN..WS_BLOCK_SIZE_MAX. */
#define WS_RING_BLOCK_MIN 256
void ws_ring_init(struct ws_ring *ring, const struct ws_mem *mem,
                  struct ws_spare *spare, size_t block_size);

/* ws_ring_free drops the storage and what is in it; the ring is empty then
 * and may be used again. */
void ws_ring_free(struct ws_ring *ring);

/* ws_ring_expects returns how many bytes the next frame may have, where the
 * ring is empty and the last frame was larger than an ordinary block; 0
 * otherwise.  Whoever knows that so many have come asks reserve() for them:
 * they are not moved then. */
static inline size_t
ws_ring_expects(const struct ws_ring *ring)
{
    return ring->r == ring->w ? ring->large : 0;
}

/* ws_ring_reserve gives room for the next read: |*len| > 0 bytes at |*ptr|.
 * |need| is how many readable bytes, in all, are waited for (0: not known
 * yet).  One read takes at most a block, more only for a frame that
 * needs it, and a large frame is not read past its end but for the slack.
 * Returns 0 or WS_ERR_NOMEM (the readable bytes are unchanged). */
int ws_ring_reserve(struct ws_ring *ring, size_t need, uint8_t **ptr,
                    size_t *len);

/* ws_ring_commit makes |n| bytes, written where reserve() said, readable. */
void ws_ring_commit(struct ws_ring *ring, size_t n);

/* ws_ring_append copies |n| bytes in, behind the readable ones.  Returns 0 or
 * WS_ERR_NOMEM. */
int ws_ring_append(struct ws_ring *ring, const void *p, size_t n);

/* ws_ring_len returns how many bytes are readable. */
static inline size_t
ws_ring_len(const struct ws_ring *ring)
{
    return ring->w - ring->r;
}

/* ws_ring_peek returns the first readable byte; NULL while there is no
 * storage. */
static inline uint8_t *
ws_ring_peek(const struct ws_ring *ring)
{
    return ring->block == NULL ? NULL : ring->block->data + ring->r;
}

/* ws_ring_block returns the block of the readable bytes; borrowed. */
static inline struct ws_block *
ws_ring_block(const struct ws_ring *ring)
{
    return ring->block;
}

/* ws_ring_consume drops |n| readable bytes, a whole frame of them. */
void ws_ring_consume(struct ws_ring *ring, size_t n);

/* ws_ring_settle is called when no more can be parsed: an empty ring gives its
 * storage back. */
void ws_ring_settle(struct ws_ring *ring);

/* ws_ring_check returns whether the invariants hold. */
int ws_ring_check(const struct ws_ring *ring);

#endif /* WS_RING_H */
