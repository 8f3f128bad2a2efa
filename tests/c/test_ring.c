/* test_ring.c - the receive ring: bytes come out as they went in, kept ones
 * never change, and memory and copies stay within what the header promises.
 *
 * Every test goes through the probe_* functions, which check the invariants
 * after each mutator. */
#include "check.h"

#include <stddef.h>

#include "ws_err.h"
#include "ws_ring.h"

#define MIB ((size_t)1 << 20)

static int
quick(void)
{
    return getenv("CHECK_QUICK") != NULL;
}

/* ---- an allocator that knows sizes ---- */

struct meter {
    struct ws_mem mem;
    long fail_at;      /* this call fails; -1: none does */
    long calls, alive; /* allocations asked for, and not released */
    size_t now, peak;  /* bytes in use */
};

/* Goes in front of each allocation, and keeps its alignment. */
union meter_head {
    size_t size;
    max_align_t align;
};

static void
meter_add(struct meter *m, size_t size)
{
    m->now += size;
    if (m->now > m->peak) {
        m->peak = m->now;
    }
    m->alive++;
}

static void *
meter_alloc(size_t size, void *user)
{
    struct meter *m = user;
    CHECK(size > 0);
    if (m->calls++ == m->fail_at) {
        return NULL;
    }
    union meter_head *h = malloc(sizeof(*h) + size);
    if (h == NULL) {
        return NULL;
    }
    h->size = size;
    meter_add(m, size);
    return h + 1;
}

static void
meter_release(void *ptr, void *user)
{
    struct meter *m = user;
    if (ptr != NULL) {
        union meter_head *h = (union meter_head *)ptr - 1;
        m->now -= h->size;
        m->alive--;
        free(h);
    }
}

/* Always moves, so that no test depends on a realloc that stays in place. */
static void *
meter_resize(void *ptr, size_t size, void *user)
{
    void *to = meter_alloc(size, user);
    if (to != NULL) {
        size_t old = ((union meter_head *)ptr - 1)->size;
        memcpy(to, ptr, old < size ? old : size);
        meter_release(ptr, user);
    }
    return to;
}

static void
meter_init(struct meter *m)
{
    memset(m, 0, sizeof(*m));
    m->mem.alloc = meter_alloc;
    m->mem.resize = meter_resize;
    m->mem.release = meter_release;
    m->mem.user = m;
    m->fail_at = -1;
}

/* ---- the ring, with its promises checked at each step ---- */

struct probe {
    struct ws_ring ring;
    size_t proven; /* the largest frame consumed so far */
    size_t moved;  /* bytes copied inside the ring or to a new block */
};

static void
probe_init(struct probe *p, struct meter *m, struct ws_spare *spare,
           size_t block_size)
{
    memset(p, 0, sizeof(*p));
    ws_ring_init(&p->ring, &m->mem, spare, block_size);
    CHECK(ws_ring_check(&p->ring));
    CHECK(ws_ring_peek(&p->ring) == NULL);
    CHECK(ws_ring_block(&p->ring) == NULL);
    CHECK_INT(ws_ring_len(&p->ring), 0);
}

static int
probe_reserve(struct probe *p, size_t need, uint8_t **ptr, size_t *len)
{
    struct ws_ring *ring = &p->ring;
    struct ws_ring before = *ring;
    size_t avail = ws_ring_len(ring);
    uint8_t *peek = ws_ring_peek(ring);
    int unique = before.block != NULL && ws_block_is_unique(before.block);
    size_t cap = before.block != NULL ? before.block->cap : 0;

    int err = ws_ring_reserve(ring, need, ptr, len);
    CHECK(ws_ring_check(ring));
    CHECK_INT(ws_ring_len(ring), avail);
    if (err != 0) {
        CHECK_INT(err, WS_ERR_NOMEM);
        if (before.block != NULL) {
            CHECK(ring->block == before.block);
            CHECK_INT(ring->block->cap, cap);
        }
        return err;
    }

    struct ws_block *b = ring->block;
    size_t size = ring->block_size;
    CHECK(b != NULL);
    CHECK(*ptr == b->data + ring->w);
    CHECK(*len > 0);
    CHECK(*len <= b->cap - ring->w);

    /* One read takes at most a block, more only for a frame that needs it,
     * and that one is not read past its end. */
    if (need > size && need > avail) {
        CHECK(*len <= need - avail);
    }
    else {
        CHECK(*len <= size);
    }

    /* Storage follows what has arrived and never a mere claim; it grows for a
     * frame that needs it, up to that frame's end. */
    if (b != before.block || b->cap != cap) {
        size_t limit = 2 * avail;
        if (need > limit && need <= p->proven) {
            limit = need;
        }
        if (need > avail && limit > need) {
            limit = need;
        }
        limit = limit > size ? limit : size;
        /* What has grown before may be used again. */
        int again =
            limit > size && b->cap <= WS_SPARE_LARGE_MAX && b->cap / 2 <= limit;
        CHECK(b->cap <= limit || again);
    }

    /* An empty ring starts at the front of its block, without a copy. */
    if (avail == 0 && unique) {
        CHECK(*ptr == b->data);
    }
    /* What somebody else holds is only appended to. */
    if (b == before.block && !unique) {
        CHECK_INT(ring->r, before.r);
        CHECK_INT(ring->w, before.w);
    }
    if (avail > 0 && ws_ring_peek(ring) != peek) {
        p->moved += avail;
    }
    return 0;
}

static void
probe_commit(struct probe *p, size_t n)
{
    size_t avail = ws_ring_len(&p->ring);
    ws_ring_commit(&p->ring, n);
    CHECK(ws_ring_check(&p->ring));
    CHECK_INT(ws_ring_len(&p->ring), avail + n);
}

static void
probe_consume(struct probe *p, size_t n)
{
    size_t avail = ws_ring_len(&p->ring);
    uint8_t *peek = ws_ring_peek(&p->ring);
    ws_ring_consume(&p->ring, n);
    CHECK(ws_ring_check(&p->ring));
    CHECK_INT(ws_ring_len(&p->ring), avail - n);
    CHECK(ws_ring_peek(&p->ring) == peek + n);
    if (n > p->proven) {
        p->proven = n;
    }
}

static void
probe_settle(struct probe *p)
{
    struct ws_ring before = p->ring;
    ws_ring_settle(&p->ring);
    CHECK(ws_ring_check(&p->ring));
    if (before.r == before.w) {
        CHECK(ws_ring_block(&p->ring) == NULL);
    }
    else {
        CHECK(p->ring.block == before.block && p->ring.r == before.r &&
              p->ring.w == before.w);
    }
}

static void
probe_free(struct probe *p)
{
    ws_ring_free(&p->ring);
    CHECK(ws_ring_check(&p->ring));
    CHECK(ws_ring_block(&p->ring) == NULL);
    CHECK_INT(ws_ring_len(&p->ring), 0);
}

/* The byte at |offset| of the stream |seed|: no period that a copy to a wrong
 * place could hide behind. */
static uint8_t
stream_byte(unsigned seed, size_t offset)
{
    return (uint8_t)(((uint32_t)offset * 2654435761u + seed * 40503u) >> 23);
}

static void
stream_fill(uint8_t *p, size_t n, unsigned seed, size_t offset)
{
    for (size_t i = 0; i < n; i++) {
        p[i] = stream_byte(seed, offset + i);
    }
}

static int
stream_is(const uint8_t *p, size_t n, unsigned seed, size_t offset)
{
    unsigned wrong = 0;
    for (size_t i = 0; i < n; i++) {
        wrong |= (unsigned)(p[i] ^ stream_byte(seed, offset + i));
    }
    return wrong == 0;
}

/* Reads |n| bytes of stream 0, from |offset| on, into room that is known to be
 * large enough. */
static void
probe_read(struct probe *p, size_t need, size_t n, size_t offset)
{
    uint8_t *ptr;
    size_t len;
    CHECK_INT(probe_reserve(p, need, &ptr, &len), 0);
    CHECK(n <= len);
    stream_fill(ptr, n, 0, offset);
    probe_commit(p, n);
}

/* ---- one property each ---- */

static void
test_init(void)
{
    static const size_t sizes[][2] = {
        {0, 256},       {1, 256},     {255, 256},       {256, 256},
        {257, 257},     {512, 512},   {65535, 65535},   {65664, 65664},
        {65665, 65664}, {MIB, 65664}, {SIZE_MAX, 65664}};
    struct meter m;
    struct ws_spare spare = {NULL, NULL};

    meter_init(&m);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct probe p;
        check_context("block_size %zu", sizes[i][0]);
        probe_init(&p, &m, &spare, sizes[i][0]);
        CHECK_INT(p.ring.block_size, sizes[i][1]);
        CHECK_INT(m.calls, 0);
        probe_settle(&p);
        probe_read(&p, 0, 100, 0);
        CHECK_INT(p.ring.block->cap, sizes[i][1]);
        probe_free(&p);
        probe_free(&p);
        CHECK_INT(m.alive, 0);
        m.calls = 0;
    }
}

/* The checker itself must see what is wrong. */
static void
test_check(void)
{
    struct meter m;
    struct ws_spare spare = {NULL, NULL};
    struct probe p;

    meter_init(&m);
    probe_init(&p, &m, &spare, 512);
    struct ws_ring bad = p.ring;
    bad.w = 1;
    CHECK(!ws_ring_check(&bad));
    bad.r = 1;
    CHECK(!ws_ring_check(&bad));
    bad = p.ring;
    bad.block_size = 255;
    CHECK(!ws_ring_check(&bad));
    bad.block_size = WS_BLOCK_SIZE_MAX + 1;
    CHECK(!ws_ring_check(&bad));

    probe_read(&p, 0, 10, 0);
    bad = p.ring;
    bad.r = 11;
    CHECK(!ws_ring_check(&bad));
    bad = p.ring;
    bad.w = 513;
    CHECK(!ws_ring_check(&bad));
    bad = p.ring;
    bad.block_size = 513;
    CHECK(!ws_ring_check(&bad));
    probe_free(&p);
    CHECK_INT(m.alive, 0);
}

/* A drained ring gives its storage back and gets the same again. */
static void
test_idle(void)
{
    struct meter m;
    struct ws_spare spare = {NULL, NULL};
    struct probe a, b;
    uint8_t *ptr, *first;
    size_t len;

    meter_init(&m);
    probe_init(&a, &m, &spare, 4096);
    probe_init(&b, &m, &spare, 4096);
    CHECK_INT(probe_reserve(&a, 0, &first, &len), 0);
    CHECK_INT(len, 4096);
    probe_settle(&a);
    for (int i = 0; i < 1000; i++) {
        struct probe *p = i % 3 == 0 ? &b : &a;
        CHECK_INT(probe_reserve(p, 2, &ptr, &len), 0);
        CHECK(ptr == first);
        CHECK_INT(len, 4096);
        probe_commit(p, 100);
        probe_consume(p, 100);
        probe_settle(p);
        /* A thousand connections that take turns need one block. */
        CHECK_INT(m.alive, 1);
        CHECK_INT(m.calls, 1);
    }
    /* A reserve that nobody wrote to, and a settle after it. */
    CHECK_INT(probe_reserve(&a, 0, &ptr, &len), 0);
    probe_commit(&a, 0);
    probe_settle(&a);
    CHECK_INT(m.alive, 1);

    /* Unread bytes keep their storage. */
    probe_read(&a, 2, 10, 0);
    probe_settle(&a);
    CHECK(ws_ring_block(&a.ring) != NULL);
    probe_read(&b, 2, 10, 0);
    CHECK_INT(m.alive, 2);
    probe_free(&a);
    probe_free(&b);
    ws_spare_clear(&spare);
    CHECK_INT(m.alive, 0);
}

/* Rings of different block sizes on one spare never get each other's. */
static void
test_spare_sizes(void)
{
    struct meter m;
    struct ws_spare spare = {NULL, NULL};
    struct probe a, b;

    meter_init(&m);
    probe_init(&a, &m, &spare, 4096);
    probe_init(&b, &m, &spare, 512);
    for (int i = 0; i < 10; i++) {
        struct probe *p = i % 2 != 0 ? &a : &b;
        probe_read(p, 2, 100, 0);
        CHECK_INT(p->ring.block->cap, p->ring.block_size);
        probe_consume(p, 100);
        probe_settle(p);
        CHECK_INT(m.alive, 1);
    }
    ws_spare_clear(&spare);
    CHECK_INT(m.alive, 0);
}

/* Rewinds without a copy while the block is its own, and appends while it is
 * not. */
static void
test_rewind(void)
{
    struct meter m;
    struct ws_spare spare = {NULL, NULL};
    struct probe p;
    uint8_t *ptr, *first, want[100];
    size_t len;

    meter_init(&m);
    probe_init(&p, &m, &spare, 512);
    CHECK_INT(probe_reserve(&p, 0, &first, &len), 0);
    for (int i = 0; i < 100; i++) {
        CHECK_INT(probe_reserve(&p, 2, &ptr, &len), 0);
        CHECK(ptr == first);
        probe_commit(&p, 300);
        probe_consume(&p, 200);
        probe_consume(&p, 100);
    }
    CHECK_INT(p.moved, 0);
    CHECK_INT(m.calls, 1);

    /* Somebody keeps a frame. */
    probe_read(&p, 2, 100, 7);
    uint8_t *kept = ws_ring_peek(&p.ring);
    struct ws_block *b = ws_ring_block(&p.ring);
    ws_block_incref(b);
    probe_consume(&p, 100);
    stream_fill(want, 100, 0, 7);
    for (size_t at = 100; at < 480; at += 40) {
        CHECK_INT(probe_reserve(&p, 2, &ptr, &len), 0);
        CHECK(ptr == first + at);
        CHECK_INT(len, 512 - at);
        memset(ptr, 0xDD, len);
        probe_commit(&p, 40);
        probe_consume(&p, 40);
        CHECK_BYTES(kept, want, 100);
    }
    /* The room is used up: a new block, and the old one stays with its
     * holder. */
    CHECK_INT(probe_reserve(&p, 2, &ptr, &len), 0);
    CHECK(ws_ring_block(&p.ring) != b);
    CHECK(ptr == ws_ring_block(&p.ring)->data);
    CHECK_INT(len, 512);
    CHECK(ws_block_is_unique(b));
    CHECK_BYTES(kept, want, 100);
    ws_block_decref(b);
    CHECK_INT(m.alive, 1);
    CHECK_INT(p.moved, 0);

    /* The holder lets go: the front may be used again. */
    probe_commit(&p, 100);
    b = ws_ring_block(&p.ring);
    ws_block_incref(b);
    probe_consume(&p, 100);
    CHECK_INT(probe_reserve(&p, 2, &ptr, &len), 0);
    CHECK(ptr == b->data + 100);
    ws_block_decref(b);
    CHECK_INT(probe_reserve(&p, 2, &ptr, &len), 0);
    CHECK(ptr == b->data);
    probe_free(&p);
    CHECK_INT(m.alive, 0);
}

/* The beginning of a frame at the end of the storage moves to the front, where
 * nobody holds what stands there. */
static void
test_compact(void)
{
    struct meter m;
    struct ws_spare spare = {NULL, NULL};
    struct probe p;
    uint8_t *ptr;
    size_t len;

    meter_init(&m);
    probe_init(&p, &m, &spare, 512);
    for (size_t tail = 1; tail <= 100; tail++) {
        check_context("tail %zu", tail);
        probe_read(&p, 2, 512, 0);
        uint8_t *front = ws_ring_block(&p.ring)->data;
        probe_consume(&p, 512 - tail);
        CHECK_INT(probe_reserve(&p, 200, &ptr, &len), 0);
        CHECK(ws_ring_peek(&p.ring) == front);
        CHECK(ptr == front + tail);
        CHECK_INT(len, 512 - tail);
        CHECK(stream_is(front, tail, 0, 512 - tail));
        probe_consume(&p, tail);
    }
    CHECK_INT(m.calls, 1);
    /* There is no need to move what has room behind it. */
    size_t moved = p.moved;
    probe_read(&p, 2, 300, 0);
    probe_consume(&p, 290);
    CHECK_INT(probe_reserve(&p, 100, &ptr, &len), 0);
    CHECK_INT(len, 212);
    CHECK_INT(p.moved, moved);
    probe_free(&p);
    CHECK_INT(m.alive, 0);
}

/* The block that goes to the next ring with frames in it: that one goes on
 * behind them, or takes a new block where too little is left. */
static void
test_handed_on(void)
{
    struct meter m;
    struct ws_spare spare = {NULL, NULL};

    meter_init(&m);
    for (size_t used = 1; used <= 512; used++) {
        struct probe a, b;
        uint8_t *ptr;
        size_t len;
        check_context("used %zu", used);
        probe_init(&a, &m, &spare, 512);
        probe_init(&b, &m, &spare, 512);
        probe_read(&a, 2, used, 3);
        struct ws_block *block = ws_ring_block(&a.ring);
        ws_block_incref(block);
        probe_consume(&a, used);
        probe_settle(&a);
        CHECK_INT(m.alive, 1);

        CHECK_INT(probe_reserve(&b, 2, &ptr, &len), 0);
        if (ws_ring_block(&b.ring) == block) {
            CHECK(ptr == block->data + used);
            CHECK_INT(len, 512 - used);
        }
        else {
            CHECK(ws_block_is_unique(block));
            CHECK(512 - used < 512 / 8);
            CHECK_INT(len, 512);
        }
        memset(ptr, 0xDD, len);
        CHECK(stream_is(block->data, used, 0, 3));
        ws_block_decref(block);
        probe_free(&b);
        CHECK_INT(m.alive, 0);
    }
    /* Nobody holds anything: from the front again. */
    struct probe a;
    uint8_t *ptr;
    size_t len;
    probe_init(&a, &m, &spare, 512);
    probe_read(&a, 2, 500, 3);
    struct ws_block *block = ws_ring_block(&a.ring);
    probe_consume(&a, 500);
    ws_block_incref(block);
    probe_settle(&a);
    ws_block_decref(block);
    CHECK_INT(probe_reserve(&a, 2, &ptr, &len), 0);
    CHECK(ptr == block->data);
    CHECK_INT(len, 512);
    probe_free(&a);
    CHECK_INT(m.alive, 0);
}

/* A peer that claims a large frame gets storage for what it has sent. */
static void
test_claims(void)
{
    static const size_t sizes[] = {256, 512, 65536};
    static const size_t claims[] = {10 * MIB, 1000 * MIB, SIZE_MAX / 4 + 14};

    for (size_t i = 0; i < 9; i++) {
        struct meter m;
        struct ws_spare spare = {NULL, NULL};
        struct probe p;
        size_t size = sizes[i % 3], claim = claims[i / 3];
        size_t all = quick() ? 4 * size : 40 * size, got = 0;
        uint8_t *ptr;
        size_t len;

        check_context("block_size %zu, claim %zu", size, claim);
        meter_init(&m);
        probe_init(&p, &m, &spare, size);
        CHECK_INT(probe_reserve(&p, claim, &ptr, &len), 0);
        CHECK_INT(p.ring.block->cap, size);
        CHECK_INT(m.calls, 1);
        CHECK(m.now <= size + sizeof(struct ws_block));
        while (got < all) {
            size_t n = 1 + got / 16;
            CHECK_INT(probe_reserve(&p, claim, &ptr, &len), 0);
            size_t most = 2 * got > size ? 2 * got : size;
            CHECK(m.now <= most + sizeof(struct ws_block));
            n = n < len ? n : len;
            stream_fill(ptr, n, 0, got);
            probe_commit(&p, n);
            got += n;
        }
        CHECK(stream_is(ws_ring_peek(&p.ring), got, 0, 0));
        /* Geometric: 40 blocks are 6 doublings. */
        CHECK(m.calls <= 1 + 7);
        CHECK(p.moved <= 2 * got);
        probe_free(&p);
        CHECK_INT(m.alive, 0);
    }
}

/* A frame that fits the storage never makes it grow, however little room is
 * left behind what has arrived. */
static void
test_no_needless_growth(void)
{
    static const size_t sizes[] = {256, 512, 65536};

    for (size_t i = 0; i < 3; i++) {
        size_t size = sizes[i];
        for (size_t frame = size - size / 16 - 3; frame <= size;
             frame += 1 + size / 1000) {
            struct meter m;
            struct ws_spare spare = {NULL, NULL};
            struct probe p;
            meter_init(&m);
            probe_init(&p, &m, &spare, size);
            check_context("block_size %zu, frame %zu", size, frame);
            probe_read(&p, 2, 10, 0);
            probe_read(&p, frame, frame - 11, 10);
            probe_read(&p, frame, 1, frame - 1);
            CHECK_INT(p.ring.block->cap, size);
            CHECK_INT(p.moved, 0);
            CHECK(stream_is(ws_ring_peek(&p.ring), frame, 0, 0));
            probe_consume(&p, frame);
            probe_settle(&p);
            CHECK_INT(m.calls, 1);
            ws_spare_clear(&spare);
            CHECK_INT(m.alive, 0);
        }
    }

    /* Nor does the end of a large frame: its storage ends with it. */
    struct meter m;
    struct ws_spare spare = {NULL, NULL};
    struct probe p;
    size_t frame = MIB, got = 10;
    meter_init(&m);
    probe_init(&p, &m, &spare, 65536);
    probe_read(&p, 2, 10, 0);
    while (got < frame) {
        size_t n = frame - got < 1000 ? 1 : 999;
        check_context("large frame, %zu received", got);
        probe_read(&p, frame, n, got);
        CHECK(p.ring.block->cap <= frame);
        got += n;
    }
    CHECK_INT(p.ring.block->cap, frame);
    CHECK(stream_is(ws_ring_peek(&p.ring), frame, 0, 0));
    probe_free(&p);
    CHECK_INT(m.alive, 0);
}

/* A large frame is not read past its end: its block ends with it and leaves
 * with whoever keeps it, and what follows was not copied. */
static void
test_large_frame(void)
{
    static const size_t frames[] = {65537, 65536 + 4096, 200000, 3 * MIB};

    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        struct meter m;
        struct ws_spare spare = {NULL, NULL};
        struct probe p;
        uint8_t *ptr;
        size_t len, got = 10, frame = frames[i];

        check_context("frame %zu", frame);
        meter_init(&m);
        probe_init(&p, &m, &spare, 65536);
        probe_read(&p, 2, 10, 0);
        while (got < frame) {
            CHECK_INT(probe_reserve(&p, frame, &ptr, &len), 0);
            CHECK(len <= frame - got);
            stream_fill(ptr, len, 0, got);
            probe_commit(&p, len);
            got += len;
        }
        CHECK_INT(ws_ring_len(&p.ring), frame);
        CHECK(stream_is(ws_ring_peek(&p.ring), frame, 0, 0));
        struct ws_block *b = ws_ring_block(&p.ring);
        ws_block_incref(b);
        probe_consume(&p, frame);
        probe_settle(&p);
        CHECK_INT(m.alive, 1);
        CHECK(ws_block_is_unique(b));

        /* Ordinary reads go on in an ordinary block. */
        probe_read(&p, 2, 100, 0);
        CHECK_INT(p.ring.block->cap, 65536);
        CHECK(stream_is(b->data, frame, 0, 0));
        ws_block_decref(b);
        probe_consume(&p, 100);

        /* Not settled in between, it may go on in the large one; a read is
         * no larger for that. */
        CHECK_INT(probe_reserve(&p, 0, &ptr, &len), 0);
        CHECK_INT(len, 65536);
        probe_free(&p);
        CHECK_INT(m.alive, 0);
    }
}

/* The size that a peer has proven is believed the next time: one allocation,
 * no copy of payload. */
static void
test_proven(void)
{
    struct meter m;
    struct ws_spare spare = {NULL, NULL};
    struct probe p;
    uint8_t *ptr;
    size_t len, got;

    meter_init(&m);
    probe_init(&p, &m, &spare, 65536);
    for (int round = 0; round < 3; round++) {
        long calls = m.calls;
        size_t moved = p.moved;
        check_context("round %d", round);
        probe_read(&p, 2, 10, 0);
        got = 10;
        while (got < MIB) {
            CHECK_INT(probe_reserve(&p, MIB, &ptr, &len), 0);
            if (round > 0) {
                CHECK_INT(p.ring.block->cap, MIB);
                CHECK_INT(len, MIB - got);
            }
            len = len < 50000 ? len : 50000;
            stream_fill(ptr, len, 0, got);
            probe_commit(&p, len);
            got += len;
        }
        CHECK(stream_is(ws_ring_peek(&p.ring), MIB, 0, 0));
        probe_consume(&p, MIB);
        probe_settle(&p);
        if (round > 0) {
            CHECK(m.calls - calls <= 2);
            CHECK(p.moved - moved <= 10);
        }
    }
    /* One byte more is a claim again. */
    probe_read(&p, 2, 10, 0);
    CHECK_INT(probe_reserve(&p, MIB + 1, &ptr, &len), 0);
    CHECK_INT(p.ring.block->cap, 65536);
    probe_free(&p);
    CHECK_INT(m.alive, 0);

    /* Small frames in between take nothing of that away. */
    probe_read(&p, 2, 100, 0);
    probe_consume(&p, 100);
    probe_settle(&p);

    /* Believed with nothing received, too. */
    CHECK_INT(probe_reserve(&p, MIB, &ptr, &len), 0);
    CHECK_INT(len, MIB);
    probe_free(&p);
    ws_spare_clear(&spare);
    CHECK_INT(m.alive, 0);
}

/* Behind a large frame the ring expects another one.  Whoever knows that it
 * has come receives it where it stays: nothing is moved, and the second one
 * needs no allocation. */
static void
test_expects(void)
{
    static const size_t frames[] = {65536 + 1, 100000, 256 * 1024};

    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        struct meter m;
        struct ws_spare spare = {NULL, NULL};
        struct probe p;
        size_t frame = frames[i];
        check_context("frame %zu", frame);
        meter_init(&m);
        probe_init(&p, &m, &spare, 65536);
        CHECK_INT(ws_ring_expects(&p.ring), 0);
        probe_read(&p, 2, 10, 0);
        for (size_t got = 10, n; got < frame; got += n) {
            n = frame - got < 5000 ? frame - got : 5000;
            probe_read(&p, frame, n, got);
        }
        CHECK_INT(ws_ring_expects(&p.ring), 0); /* it is not empty */
        for (int round = 0; round < 3; round++) {
            probe_consume(&p, frame);
            CHECK_INT(ws_ring_expects(&p.ring), frame);
            probe_settle(&p);
            CHECK_INT(ws_ring_expects(&p.ring), frame);
            long calls = m.calls;
            size_t moved = p.moved;
            probe_read(&p, frame, frame, 0);
            CHECK_INT(p.moved, moved);
            CHECK_INT(m.calls, calls);
            CHECK(stream_is(ws_ring_peek(&p.ring), frame, 0, 0));
        }
        /* A frame that a block holds: the next one is as small. */
        probe_consume(&p, frame);
        probe_settle(&p);
        probe_read(&p, 2, 100, 0);
        CHECK_INT(p.ring.block->cap, 65536);
        probe_consume(&p, 100);
        CHECK_INT(ws_ring_expects(&p.ring), 0);
        probe_free(&p);
        ws_spare_clear(&spare);
        CHECK_INT(m.alive, 0);
    }
}

/* ---- memory of what is kept ---- */

enum { KEPT = 10000, SPAN = 600 };

static void
keep_spans(size_t per_read, size_t partial, int rings, int settle)
{
    struct meter m;
    struct ws_spare spare = {NULL, NULL};
    struct probe p[3];
    size_t sent[3] = {0, 0, 0}, eaten[3] = {0, 0, 0};
    static struct {
        struct ws_block *block;
        uint8_t *at;
        unsigned ring;
        size_t offset;
    } kept[KEPT];
    size_t count = 0;

    check_context("%zu a read, %zu more, %d rings, settle %d", per_read,
                  partial, rings, settle);
    meter_init(&m);
    for (int i = 0; i < rings; i++) {
        probe_init(&p[i], &m, &spare, 65536);
    }
    for (unsigned turn = 0; count < KEPT; turn++) {
        unsigned k = turn % (unsigned)rings;
        struct probe *q = &p[k];
        /* What is to be there after this read: whole spans, and the beginning
         * of the next one. */
        size_t until = eaten[k] + SPAN * per_read + partial;
        while (sent[k] < until) {
            uint8_t *ptr;
            size_t len, n = until - sent[k];
            CHECK_INT(probe_reserve(q, partial > 2 ? SPAN : 2, &ptr, &len), 0);
            n = n < len ? n : len;
            stream_fill(ptr, n, k, sent[k]);
            probe_commit(q, n);
            sent[k] += n;
            while (ws_ring_len(&q->ring) >= SPAN && count < KEPT) {
                kept[count].block = ws_ring_block(&q->ring);
                kept[count].at = ws_ring_peek(&q->ring);
                kept[count].ring = k;
                kept[count].offset = eaten[k];
                ws_block_incref(kept[count].block);
                count++;
                probe_consume(q, SPAN);
                eaten[k] += SPAN;
            }
        }
        if (settle) {
            probe_settle(q);
        }
    }
    for (int i = 0; i < rings; i++) {
        probe_free(&p[i]);
    }
    ws_spare_clear(&spare);
    CHECK(m.now * 10 <= (size_t)KEPT * SPAN * 13);
    for (size_t i = 0; i < KEPT; i++) {
        CHECK(stream_is(kept[i].at, SPAN, kept[i].ring, kept[i].offset));
    }
    /* Let go of in an order of no meaning. */
    for (size_t i = 0; i < KEPT; i++) {
        ws_block_decref(kept[i * 7919 % KEPT].block);
    }
    CHECK_INT(m.alive, 0);
}

static void
test_kept_memory(void)
{
    keep_spans(1, 0, 1, 1);
    keep_spans(1, 0, 1, 0);
    keep_spans(1, 0, 3, 1);
    keep_spans(7, 0, 1, 1);
    keep_spans(1, 10, 1, 1);
    keep_spans(1, 599, 1, 1);
    keep_spans(200, 300, 1, 1);
    keep_spans(3, 1, 3, 1);
}

/* ---- copies ---- */

/* Receives |total| bytes of frames of |frame| bytes in reads of at most |most|
 * bytes (0: of random sizes up to 16 KiB), and, where |keep| is set, lets
 * somebody hold the last frame all the time.  Returns the bytes moved. */
static size_t
receive_frames(size_t block_size, size_t frame, size_t most, size_t total,
               int keep)
{
    struct meter m;
    struct ws_spare spare = {NULL, NULL};
    struct probe p;
    struct ws_block *held = NULL;
    size_t got = 0, eaten = 0;
    long reads = 0;

    check_context("block_size %zu, frames of %zu, reads of %zu, keep %d",
                  block_size, frame, most, keep);
    meter_init(&m);
    probe_init(&p, &m, &spare, block_size);
    while (got < total) {
        uint8_t *ptr;
        size_t len, n = most != 0 ? most : 1 + check_random() % 16384;
        size_t avail = ws_ring_len(&p.ring);
        CHECK_INT(probe_reserve(&p, avail < 10 ? 10 : frame, &ptr, &len), 0);
        n = n < len ? n : len;
        n = n < total - got ? n : total - got;
        stream_fill(ptr, n, 0, got);
        probe_commit(&p, n);
        got += n;
        reads++;
        while (ws_ring_len(&p.ring) >= frame) {
            CHECK(stream_is(ws_ring_peek(&p.ring), frame, 0, eaten));
            if (keep) {
                ws_block_decref(held);
                held = ws_ring_block(&p.ring);
                ws_block_incref(held);
            }
            probe_consume(&p, frame);
            eaten += frame;
        }
        probe_settle(&p);
        /* What is in use stays in proportion to what has arrived: the frame
         * that is held, the one under way, and while it moves both its
         * places. */
        size_t most_now = 3 * (2 * frame > block_size ? 2 * frame : block_size);
        CHECK(m.now <= most_now + 3 * sizeof(struct ws_block));
    }
    ws_block_decref(held);
    probe_free(&p);
    ws_spare_clear(&spare);
    CHECK_INT(m.alive, 0);
    return p.moved;
}

static void
test_linear(void)
{
    static const size_t reads[] = {1, 2, 7, 100, 1000, 4096, 16384, 0};
    size_t big = quick() ? MIB / 8 : 4 * MIB;

    /* One frame, at any size of reads: growing costs it two copies at most,
     * since each growth doubles what it has. */
    for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++) {
        size_t total = reads[i] == 1 ? big / 2 : big;
        size_t moved = receive_frames(65536, total, reads[i], total, 0);
        CHECK(moved <= 2 * total);
        total /= 16;
        moved = receive_frames(256, total, reads[i], total, 0);
        CHECK(moved <= 2 * total);
    }

    /* Many frames: each is moved about once at most, small ones hardly. */
    static const size_t frames[] = {11,    100,   1000,  4096,  16384,
                                    32768, 40000, 61440, 61441, 65000,
                                    65535, 65536, 65537, 70000, 131072};
    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        for (size_t j = 3; j < sizeof(reads) / sizeof(reads[0]); j++) {
            for (int keep = 0; keep <= 1; keep++) {
                size_t total = big / 2 / frames[i] * frames[i];
                if (total == 0 || (quick() && j % 2 == 0)) {
                    continue;
                }
                size_t moved =
                    receive_frames(65536, frames[i], reads[j], total, keep);
                CHECK(moved <= total + total / 4);
                if (frames[i] <= 1000) {
                    CHECK(moved <= total / 16 + frames[i]);
                }
            }
        }
    }
}

/* Frames whose payload is a power of two, from a peer that is always ahead: 64
 * KiB of payload a read, and of each read no more than the beginning of a frame
 * is moved. */
static void
test_full_reads(void)
{
    static const size_t payloads[] = {4096, 8192, 16384, 32768, 65536};
    enum { ROUNDS = 50, READ = 65536 };

    for (size_t i = 0; i < 2 * sizeof(payloads) / sizeof(payloads[0]); i++) {
        struct meter m;
        struct ws_spare spare = {NULL, NULL};
        struct probe p;
        size_t payload = payloads[i / 2], masked = i % 2;
        size_t frame = (payload < 65536 ? 4 : 10) + 4 * masked + payload;
        size_t got = 0, eaten = 0;

        check_context("payload %zu, masked %zu", payload, masked);
        meter_init(&m);
        probe_init(&p, &m, &spare, WS_BLOCK_SIZE_MAX);
        for (int round = 1; round <= ROUNDS; round++) {
            uint8_t *ptr;
            size_t len, avail = ws_ring_len(&p.ring);
            size_t need = avail < 14 ? 14 : frame;
            CHECK_INT(probe_reserve(&p, need, &ptr, &len), 0);
            stream_fill(ptr, len, 0, got);
            probe_commit(&p, len);
            got += len;
            while (ws_ring_len(&p.ring) >= frame) {
                CHECK(stream_is(ws_ring_peek(&p.ring), frame, 0, eaten));
                probe_consume(&p, frame);
                eaten += frame;
            }
            probe_settle(&p);
            CHECK_INT(ws_ring_expects(&p.ring), 0);
            CHECK(eaten / frame * payload >= (size_t)round * READ);
            CHECK(p.moved <= (size_t)round * (WS_BLOCK_SIZE_MAX - READ));
        }
        CHECK_INT(m.calls, 1);
        probe_free(&p);
        ws_spare_clear(&spare);
        CHECK_INT(m.alive, 0);
    }
}

/* ---- no memory ---- */

/* Each of the three ways to storage fails once; nothing that was readable is
 * lost, and the next call succeeds. */
static void
test_no_memory(void)
{
    for (int way = 0; way < 4; way++) {
        struct meter m;
        struct ws_spare spare = {NULL, NULL};
        struct probe p;
        struct ws_block *held = NULL;
        uint8_t *ptr;
        size_t len, avail = 0, need = 0;

        check_context("way %d", way);
        meter_init(&m);
        probe_init(&p, &m, &spare, 512);
        if (way == 1) { /* the block is full: it grows */
            probe_read(&p, 2, 512, 0);
            avail = 512;
            need = 1000;
        }
        else if (way == 2) { /* full, and its front is dead: a new one */
            probe_read(&p, 2, 512, 0);
            probe_consume(&p, 12);
            avail = 500;
            need = 1000;
        }
        else if (way == 3) { /* full, and held: a new one */
            probe_read(&p, 2, 512, 0);
            held = ws_ring_block(&p.ring);
            ws_block_incref(held);
            avail = 512;
            need = 513;
        }
        size_t from = way == 2 ? 12 : 0;
        for (int i = 0; i < 3; i++) {
            m.fail_at = m.calls;
            CHECK_INT(probe_reserve(&p, need, &ptr, &len), WS_ERR_NOMEM);
            CHECK_INT(m.calls, m.fail_at + 1);
            CHECK_INT(ws_ring_len(&p.ring), avail);
            CHECK(stream_is(ws_ring_peek(&p.ring), avail, 0, from));
        }
        CHECK_INT(probe_reserve(&p, need, &ptr, &len), 0);
        stream_fill(ptr, 1, 0, from + avail);
        probe_commit(&p, 1);
        CHECK(stream_is(ws_ring_peek(&p.ring), avail + 1, 0, from));
        if (held != NULL) {
            CHECK(stream_is(held->data, 512, 0, 0));
            ws_block_decref(held);
        }
        probe_free(&p);
        ws_spare_clear(&spare);
        CHECK_INT(m.alive, 0);
    }

    /* A proven size that cannot be had any more. */
    struct meter m;
    struct ws_spare spare = {NULL, NULL};
    struct probe p;
    uint8_t *ptr;
    size_t len;
    meter_init(&m);
    probe_init(&p, &m, &spare, 512);
    while (ws_ring_len(&p.ring) < 5000) {
        CHECK_INT(probe_reserve(&p, 5000, &ptr, &len), 0);
        probe_commit(&p, len);
    }
    probe_consume(&p, 5000);
    probe_settle(&p);
    ws_spare_clear(&spare);
    CHECK_INT(m.alive, 0);
    m.fail_at = m.calls;
    CHECK_INT(probe_reserve(&p, 5000, &ptr, &len), WS_ERR_NOMEM);
    CHECK_INT(probe_reserve(&p, 5000, &ptr, &len), 0);
    CHECK_INT(len, 5000);
    probe_settle(&p);
    ws_spare_clear(&spare);
    CHECK_INT(m.alive, 0);
}

/* ---- anything, against a model ----
 *
 * Three rings share one spare block.  The model of each is two numbers: how
 * much of its stream went in and came out.  Frames come in all sizes; the need
 * hints are a parser's, and now and then nonsense.  Spans are kept with a copy,
 * looked at again and let go of in any order. */

enum { RINGS = 3, KEEPS = 64 };

struct keep {
    struct ws_block *block;
    uint8_t *at, *copy;
    size_t len;
};

struct model {
    struct probe p;
    unsigned seed;
    size_t in, out; /* offsets of the stream: received, consumed */
    size_t frame;   /* size of the frame that begins at |out| */
};

static size_t
model_frame(size_t block_size)
{
    switch (check_random() % 16) {
    case 0:
        return block_size / 2 + check_random() % block_size;
    case 1:
        return block_size - 2 + check_random() % 5;
    case 2:
        return check_random() % 8 == 0
                   ? 1 + check_random() % (20 * block_size)
                   : block_size + check_random() % (2 * block_size);
    case 3:
    case 4:
        return 2 + check_random() % (block_size / 4);
    default:
        return 2 + check_random() % 130;
    }
}

/* The hint of a parser that stands before this frame. */
static size_t
model_need(const struct model *md, size_t block_size)
{
    size_t avail = md->in - md->out;

    if (check_random() % 64 == 0) {
        const size_t odd[] = {0,
                              1,
                              avail,
                              avail + 1,
                              3 * block_size,
                              10 * MIB,
                              SIZE_MAX / 4 + 14,
                              check_random() % (4 * block_size)};
        return odd[check_random() % 8];
    }
    if (avail < 2) {
        return 2;
    }
    if (md->frame > 135 && avail < 8) {
        return 8;
    }
    return md->frame > avail ? md->frame : 0;
}

static void
keep_check(const struct keep *k)
{
    CHECK_BYTES(k->at, k->copy, k->len);
}

static void
keep_drop(struct keep *k)
{
    keep_check(k);
    ws_block_decref(k->block);
    free(k->copy);
    k->block = NULL;
}

/* Takes the frame at the front out of the ring, and sometimes keeps a part of
 * it. */
static void
model_take(struct model *md, struct keep *keeps, size_t block_size)
{
    uint8_t *at = ws_ring_peek(&md->p.ring);

    CHECK(stream_is(at, md->frame, md->seed, md->out));
    struct keep *k = &keeps[check_random() % KEEPS];
    if (check_random() % 4 == 0) {
        if (k->block != NULL) {
            keep_drop(k);
        }
        k->block = ws_ring_block(&md->p.ring);
        ws_block_incref(k->block);
        size_t skip = check_random() % md->frame;
        k->at = at + skip;
        k->len = md->frame - skip;
        k->copy = malloc(k->len);
        CHECK(k->copy != NULL);
        memcpy(k->copy, k->at, k->len);
    }
    probe_consume(&md->p, md->frame);
    md->out += md->frame;
    md->frame = model_frame(block_size);
}

static void
model_run(size_t block_size, uint32_t seed, long steps)
{
    struct meter m;
    struct ws_spare spare = {NULL, NULL};
    struct model models[RINGS];
    struct keep keeps[KEEPS];

    check_random_seed(seed);
    memset(keeps, 0, sizeof(keeps));
    meter_init(&m);
    for (unsigned i = 0; i < RINGS; i++) {
        struct model *md = &models[i];
        probe_init(&md->p, &m, &spare, block_size);
        md->seed = i + 1;
        md->in = md->out = 0;
        md->frame = model_frame(block_size);
    }
    for (long step = 0; step < steps; step++) {
        check_context("block_size %zu, seed %u, step %ld", block_size,
                      (unsigned)seed, step);
        struct model *md = &models[check_random() % RINGS];
        struct ws_ring *ring = &md->p.ring;
        uint8_t *ptr;
        size_t len, n;

        switch (check_random() % 16) {
        case 0: { /* somebody lets go of a frame */
            struct keep *k = &keeps[check_random() % KEEPS];
            if (k->block != NULL) {
                keep_drop(k);
            }
            break;
        }
        case 1: /* settle at a moment of no meaning */
            probe_settle(&md->p);
            break;
        case 2: /* the connection goes, another one comes */
            if (check_random() % 32 == 0) {
                probe_free(&md->p);
                md->in = md->out;
            }
            break;
        case 3: /* storage is short for a while */
            m.fail_at = check_random() % 8 == 0 ? m.calls : -1;
            break;
        default: /* a read, and what a reader does after it */
            if (probe_reserve(&md->p, model_need(md, block_size), &ptr, &len) !=
                0) {
                CHECK(stream_is(ws_ring_peek(ring), md->in - md->out, md->seed,
                                md->out));
                break;
            }
            /* A transport may scribble over all of the room. */
            memset(ptr, 0xDD, len);
            switch (check_random() % 8) {
            case 0:
                n = 0;
                break;
            case 1:
                n = 1;
                break;
            case 2:
            case 3:
                n = len;
                break;
            default:
                n = check_random() % 300 % (len + 1);
                break;
            }
            stream_fill(ptr, n, md->seed, md->in);
            probe_commit(&md->p, n);
            md->in += n;
            while (md->in - md->out >= md->frame) {
                model_take(md, keeps, block_size);
            }
            if (check_random() % 4 != 0) {
                probe_settle(&md->p);
            }
            break;
        }
        CHECK_INT(ws_ring_len(ring), md->in - md->out);
        if (step % 16 == 0) {
            CHECK(stream_is(ws_ring_peek(ring), md->in - md->out, md->seed,
                            md->out));
        }
        struct keep *k = &keeps[check_random() % KEEPS];
        if (k->block != NULL) {
            keep_check(k);
        }
    }
    for (unsigned i = 0; i < RINGS; i++) {
        CHECK(stream_is(ws_ring_peek(&models[i].p.ring),
                        models[i].in - models[i].out, models[i].seed,
                        models[i].out));
        probe_free(&models[i].p);
    }
    ws_spare_clear(&spare);
    for (size_t i = 0; i < KEEPS; i++) {
        if (keeps[i].block != NULL) {
            keep_drop(&keeps[i]);
        }
    }
    CHECK_INT(m.alive, 0);
    CHECK_INT(m.now, 0);
}

static void
test_model(void)
{
    static const size_t sizes[] = {256, 512, 65536};

    for (size_t i = 0; i < 3; i++) {
        long steps = sizes[i] == 65536 ? 3000 : 20000;
        uint32_t runs = quick() ? 1 : 6;
        for (uint32_t seed = 1; seed <= runs; seed++) {
            model_run(sizes[i], seed, quick() ? steps / 10 : steps);
        }
    }
}

/* Bytes that are copied in: whatever the size, behind what is there; without
 * memory what was there is still there. */
static void
test_append(void)
{
    static const size_t sizes[] = {1, 255, 256, 257, 16406, 65536, 200000};
    struct meter m;
    struct ws_spare spare = {NULL, NULL};
    uint8_t *bytes = malloc(200000);

    CHECK(bytes != NULL);
    meter_init(&m);
    for (size_t i = 0; bytes != NULL && i < sizeof(sizes) / sizeof(sizes[0]);
         i++) {
        struct ws_ring ring;
        size_t total = 0;
        check_context("size %zu", sizes[i]);
        ws_ring_init(&ring, &m.mem, &spare, 65536);
        for (int times = 0; times < 3; times++) {
            stream_fill(bytes, sizes[i], 0, total);
            CHECK_INT(ws_ring_append(&ring, bytes, sizes[i]), 0);
            total += sizes[i];
            CHECK(ws_ring_check(&ring));
            CHECK_INT(ws_ring_len(&ring), total);
            CHECK(stream_is(ws_ring_peek(&ring), total, 0, 0));
        }
        CHECK_INT(ws_ring_append(&ring, bytes, 0), 0);
        m.fail_at = m.calls;
        CHECK_INT(ws_ring_append(&ring, bytes, 200000), WS_ERR_NOMEM);
        CHECK(ws_ring_check(&ring) && ws_ring_len(&ring) >= total);
        CHECK(stream_is(ws_ring_peek(&ring), total, 0, 0));
        m.fail_at = -1;
        ws_ring_free(&ring);
        ws_spare_clear(&spare);
        CHECK_INT(m.alive, 0);
    }
    free(bytes);
}

/* While room is lent nobody else fills it: the ring goes on elsewhere, and the
 * spare does not get the block. */
static void
test_lent_room(void)
{
    struct meter m;
    struct ws_spare spare = {NULL, NULL};
    struct probe p;
    uint8_t *ptr, want[300];
    size_t len;

    meter_init(&m);
    probe_init(&p, &m, &spare, 4096);
    for (int unread = 0; unread < 2; unread++) {
        check_context("with %d bytes unread", unread * 100);
        probe_read(&p, 2, 300, 7);
        stream_fill(want, 300, 0, 7);
        probe_consume(&p, unread ? 200 : 300);
        struct ws_block *b = ws_ring_block(&p.ring);
        ws_block_lend(b);
        CHECK_INT(ws_ring_reserve(&p.ring, 2, &ptr, &len), 0);
        CHECK(ws_ring_block(&p.ring) != b);
        CHECK(ws_ring_check(&p.ring));
        CHECK_BYTES(b->data, want, 300);
        if (unread) {
            CHECK_INT(ws_ring_len(&p.ring), 100);
            CHECK_BYTES(ws_ring_peek(&p.ring), want + 200, 100);
            probe_consume(&p, 100);
        }
        ws_block_unlend(b);
        CHECK(ws_block_is_unique(b));
        ws_block_decref(b);
        /* The other one settles while it is lent. */
        b = ws_ring_block(&p.ring);
        ws_block_lend(b);
        probe_settle(&p);
        CHECK(ws_spare_take(&spare, 4096) == NULL);
        ws_block_unlend(b);
        CHECK(ws_block_is_unique(b));
        ws_block_decref(b);
    }
    probe_free(&p);
    ws_spare_clear(&spare);
    CHECK_INT(m.alive, 0);
}

/* With slack a large frame is not moved for what comes right behind it. */
static void
test_slack(void)
{
    struct meter m;
    struct ws_spare spare = {NULL, NULL};
    struct ws_ring ring;
    uint8_t *ptr;
    size_t len, have = 0;

    meter_init(&m);
    ws_ring_init(&ring, &m.mem, &spare, 4096);
    ring.slack = 1000;
    while (have < 20000) {
        CHECK_INT(ws_ring_reserve(&ring, 20000, &ptr, &len), 0);
        CHECK(have + len <= 21000);
        size_t n = len < 20000 - have ? len : 20000 - have;
        ws_ring_commit(&ring, n);
        have += n;
    }
    const uint8_t *frame = ws_ring_peek(&ring);
    CHECK_INT(ws_ring_reserve(&ring, 20000, &ptr, &len), 0);
    CHECK(len >= 1000);
    CHECK(ptr == frame + 20000);
    ws_ring_commit(&ring, 600);
    ws_ring_consume(&ring, 20000);
    CHECK_INT(ws_ring_len(&ring), 600);
    CHECK(ws_ring_check(&ring));
    ws_ring_free(&ring);
    /* A proven one gets it at once. */
    CHECK_INT(ws_ring_reserve(&ring, 20000, &ptr, &len), 0);
    CHECK(len >= 20000 && len <= 21000);
    ws_ring_free(&ring);
    ws_spare_clear(&spare);
    CHECK_INT(m.alive, 0);
}

static const struct test tests[] = {
    {"init", test_init},
    {"lent room", test_lent_room},
    {"slack behind a large frame", test_slack},
    {"append", test_append},
    {"the checker sees", test_check},
    {"an idle ring owns no block", test_idle},
    {"rings of different sizes", test_spare_sizes},
    {"rewind or append", test_rewind},
    {"compact", test_compact},
    {"blocks handed on with frames", test_handed_on},
    {"claims are not believed", test_claims},
    {"no needless growth", test_no_needless_growth},
    {"a large frame ends its block", test_large_frame},
    {"proven sizes are believed", test_proven},
    {"a large frame is expected behind another", test_expects},
    {"memory of kept frames", test_kept_memory},
    {"linear in what arrives", test_linear},
    {"full reads end with a frame", test_full_reads},
    {"no memory", test_no_memory},
    {"random steps against a model", test_model},
    {NULL, NULL},
};

extern const struct suite suite_ring;
const struct suite suite_ring = {"ring", tests};
