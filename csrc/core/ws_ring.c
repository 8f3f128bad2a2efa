#include "ws_ring.h"

#include "ws_err.h"

/* Less room than this behind the readable bytes is not worth a read. */
static size_t
ring_min_room(const struct ws_ring *ring)
{
    return ring->block_size / 16;
}

static void
ring_drop(struct ws_ring *ring)
{
    if (ring->block != NULL) {
        ring->block->used = ring->w;
        ws_block_decref(ring->block);
    }
    ring->block = NULL;
    ring->r = ring->w = 0;
}

int
ws_ring_check(const struct ws_ring *ring)
{
    if (ring->block_size < WS_RING_BLOCK_MIN ||
        ring->block_size > WS_BLOCK_SIZE_MAX) {
        return 0;
    }
    if (ring->block == NULL) {
        return ring->r == 0 && ring->w == 0;
    }
    return ring->r <= ring->w && ring->w <= ring->block->cap &&
           ring->block->cap >= ring->block_size;
}

void
ws_ring_init(struct ws_ring *ring, const struct ws_mem *mem,
             struct ws_spare *spare, size_t block_size)
{
    if (block_size < WS_RING_BLOCK_MIN) {
        block_size = WS_RING_BLOCK_MIN;
    }
    if (block_size > WS_BLOCK_SIZE_MAX) {
        block_size = WS_BLOCK_SIZE_MAX;
    }
    ring->block = NULL;
    ring->r = ring->w = 0;
    ring->block_size = block_size;
    ring->proven = 0;
    ring->large = 0;
    ring->slack = 0;
    ring->mem = mem;
    ring->spare = spare;
    WS_ASSERT(ws_ring_check(ring));
}

void
ws_ring_free(struct ws_ring *ring)
{
    ring_drop(ring);
    WS_ASSERT(ws_ring_check(ring));
}

/* Gets an ordinary block, behind what the frames of others hold of it; one for
 * |need| bytes where the peer has sent as many before. */
static int
ring_open(struct ws_ring *ring, size_t need)
{
    size_t size = ring->block_size;
    struct ws_block *b;

    if (need > size && need <= ring->proven) {
        size = need + ring->slack;
        b = ws_spare_take_large(ring->spare, size);
    }
    else {
        b = ws_spare_take(ring->spare, size);
    }
    if (b != NULL && ws_block_is_unique(b)) {
        b->used = 0;
    }
    if (b != NULL && b->cap - b->used < ring_min_room(ring)) {
        ws_block_decref(b);
        b = NULL;
    }
    if (b == NULL) {
        b = ws_block_new(ring->mem, size);
        if (b == NULL) {
            return WS_ERR_NOMEM;
        }
    }
    ring->block = b;
    ring->r = ring->w = b->used;
    return 0;
}

/* How many bytes, from the first readable one on, the storage must have room
 * for before the next read: as much as a read is worth, but no more than a
 * frame that waits for its end, and at once what is believed of its length. */
static size_t
ring_target(const struct ws_ring *ring, size_t need)
{
    size_t avail = ws_ring_len(ring);
    size_t target = avail + ring_min_room(ring);

    if (need > avail) {
        size_t enough = need > ring->block_size ? need : ring->block_size;
        size_t believed = need > ring->proven && need > ring->block_size
                              ? ring->block_size
                              : need;
        if (target > enough) {
            target = enough;
        }
        if (target < believed) {
            target = believed;
        }
    }
    return target;
}

/* How large storage becomes where |target| bytes do not fit: twice what has
 * arrived, so that growing costs each byte one copy, since the peer only
 * claims the rest; and not past the end of the frame that waits. */
static size_t
ring_grown(const struct ws_ring *ring, size_t need, size_t target)
{
    size_t avail = ws_ring_len(ring);
    size_t cap = 2 * avail;

    if (need > avail && cap > need) {
        cap = need;
    }
    if (cap < target) {
        cap = target;
    }
    if (cap == need && need > ring->block_size) {
        cap += ring->slack;
    }
    return cap > ring->block_size ? cap : ring->block_size;
}

/* Gives back |b|, whose bytes up to |used| others may hold. */
static void
ring_give(const struct ws_ring *ring, struct ws_block *b, size_t used)
{
    if (b->cap != ring->block_size) {
        ws_spare_give_large(ring->spare, b);
        return;
    }
    b->used = used;
    if (ws_block_is_lent(b)) {
        ws_block_decref(b); /* somebody may still write to it */
        return;
    }
    ws_spare_give(ring->spare, b);
}

/* The same where the readable bytes have been copied. */
static void
ring_give_copied(const struct ws_ring *ring, struct ws_block *b)
{
    size_t used = ws_block_is_unique(b) ? 0 : ring->r;
    if (b->cap == ring->block_size && b->cap - used < ring_min_room(ring)) {
        ws_block_decref(b); /* it is full, and goes with its holders */
        return;
    }
    ring_give(ring, b, used);
}

/* Moves the readable bytes to the front of storage for |target| bytes. */
static int
ring_make_room(struct ws_ring *ring, size_t need, size_t target)
{
    struct ws_block *b = ring->block;
    size_t avail = ws_ring_len(ring);

    if (ws_block_is_unique(b)) {
        if (ring->r > 0 && (avail == 0 || b->cap >= target)) {
            memmove(b->data, b->data + ring->r, avail);
            ring->r = 0;
            ring->w = avail;
        }
        if (b->cap - ring->r >= target) {
            return 0;
        }
    }
    /* Somebody else holds bytes of the block, or room in it, or it is too
     * small: go on in another one. */
    size_t cap = ring_grown(ring, need, target);
    struct ws_block *fresh =
        cap > ring->block_size ? ws_spare_take_large(ring->spare, cap) : NULL;
    if (fresh == NULL && ring->r == 0 && ws_block_is_unique(b)) {
        fresh = ws_block_resize(b, cap);
        ring->block = fresh != NULL ? fresh : b;
        return fresh != NULL ? 0 : WS_ERR_NOMEM;
    }
    if (fresh == NULL) {
        fresh = ws_block_new(ring->mem, cap);
    }
    if (fresh == NULL) {
        return WS_ERR_NOMEM;
    }
    memcpy(fresh->data, b->data + ring->r, avail);
    ring_give_copied(ring, b);
    ring->block = fresh;
    ring->r = 0;
    ring->w = avail;
    return 0;
}

int
ws_ring_reserve(struct ws_ring *ring, size_t need, uint8_t **ptr, size_t *len)
{
    if (ring->block == NULL) {
        int err = ring_open(ring, need);
        if (err != 0) {
            return err;
        }
    }
    else if (ring->r == ring->w && ws_block_is_unique(ring->block)) {
        ring->r = ring->w = 0;
    }

    size_t target = ring_target(ring, need);
    if (ring->block->cap - ring->r < target || ws_block_is_lent(ring->block)) {
        int err = ring_make_room(ring, need, target);
        if (err != 0) {
            return err;
        }
    }

    size_t avail = ws_ring_len(ring);
    size_t room = ring->block->cap - ring->w;
    if (need > ring->block_size && need > avail) {
        /* A large frame: up to its end and not further, so that its block
         * ends with it and the next frame is not moved. */
        if (room > need - avail + ring->slack) {
            room = need - avail + ring->slack;
        }
    }
    else if (room > ring->block_size) {
        room = ring->block_size;
    }
    *ptr = ring->block->data + ring->w;
    *len = room;
    WS_ASSERT(room > 0);
    WS_ASSERT(ws_ring_check(ring));
    return 0;
}

void
ws_ring_commit(struct ws_ring *ring, size_t n)
{
    WS_ASSERT(ring->block != NULL && n <= ring->block->cap - ring->w);
    ring->w += n;
    WS_ASSERT(ws_ring_check(ring));
}

int
ws_ring_append(struct ws_ring *ring, const void *p, size_t n)
{
    const uint8_t *from = p;

    while (n > 0) {
        uint8_t *room;
        size_t len;
        int err = ws_ring_reserve(ring, ws_ring_len(ring) + n, &room, &len);
        if (err != 0) {
            return err;
        }
        if (len > n) {
            len = n;
        }
        memcpy(room, from, len);
        ws_ring_commit(ring, len);
        from += len;
        n -= len;
    }
    return 0;
}

void
ws_ring_consume(struct ws_ring *ring, size_t n)
{
    WS_ASSERT(n <= ws_ring_len(ring));
    ring->r += n;
    if (n > ring->proven) {
        ring->proven = n;
    }
    ring->large = n > ring->block_size ? n : 0;
    WS_ASSERT(ws_ring_check(ring));
}

void
ws_ring_settle(struct ws_ring *ring)
{
    struct ws_block *b = ring->block;

    if (b == NULL || ring->r != ring->w) {
        return;
    }
    size_t used = ring->w;
    ring->block = NULL;
    ring->r = ring->w = 0;
    /* (One that grew for a frame is larger than ordinary reads need.) */
    ring_give(ring, b, used);
    WS_ASSERT(ws_ring_check(ring));
}
