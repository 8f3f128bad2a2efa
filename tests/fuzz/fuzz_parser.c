/* fuzz_parser.c - any bytes as frames: a reader with a ring must get the same
 * frames and the same error however the bytes arrive, the bytes of a kept frame
 * never change, and failing allocations lose nothing.
 *
 * The input begins with 4 bytes of settings and a list of sizes of reads; the
 * rest is what the peer sends.
 */
#include "fuzz.h"
#include "ws_err.h"
#include "ws_opcode.h"
#include "ws_parser.h"
#include "ws_ring.h"

/* ---- settings ---- */

struct settings {
    int from_client;
    unsigned allowed;
    size_t max_frame_size;
    size_t block_size;
    /* Every nth allocation fails; 0: none. */
    unsigned fail_every;
    /* Every nth frame is kept; 0: none. */
    unsigned keep_every;
    const uint8_t *reads;
    size_t read_count;
};

/* Reads of 1 to 64 bytes, and some large ones. */
static size_t
read_size(const struct settings *s, size_t i)
{
    if (s->read_count == 0) {
        return SIZE_MAX;
    }
    unsigned v = s->reads[i % s->read_count];
    return v < 192 ? 1 + v % 64 : (size_t)(v - 191) * 100;
}

/* Takes the settings off the front of the input; returns what is left. */
static const uint8_t *
settings_read(struct settings *s, const uint8_t *data, size_t *size)
{
    static const size_t maxima[] = {0,     1,       10,      125,
                                    126,   1000,    65535,   65536,
                                    65537, 1 << 20, 1 << 24, SIZE_MAX};
    static const size_t blocks[] = {256, 300, 512, 1024, 4096, 65536};

    memset(s, 0, sizeof(*s));
    if (*size < 4) {
        return NULL;
    }
    s->from_client = data[0] & 1;
    s->allowed = data[0] & WS_BITS_RSV;
    s->keep_every = data[0] >> 1 & 7;
    s->max_frame_size = maxima[data[1] % 12];
    s->block_size = blocks[data[1] / 12 % 6];
    s->fail_every = data[2] % 16 < 12 ? 0 : 2 + data[2] % 16 - 12;
    s->read_count = data[3] % 32;
    s->reads = data + 4;
    if (*size < 4 + s->read_count) {
        return NULL;
    }
    *size -= 4 + s->read_count;
    return data + 4 + s->read_count;
}

/* ---- the same bytes at once, and through the ring ---- */

struct whole {
    struct ws_parser p;
    const uint8_t *bytes;
    size_t size;
    /* out is where the next frame begins. */
    size_t out;
};

/* The next frame where all bytes are there; as ws_parser_next(). */
static int
whole_next(struct whole *w, struct ws_head *head)
{
    int rc = ws_parser_next(&w->p, w->bytes + w->out, w->size - w->out, head);
    if (rc == 1) {
        w->out += head->len + head->payload_len;
    }
    return rc;
}

static void
head_check(const struct settings *s, const struct ws_head *head)
{
    MUST(ws_opcode_is_known(head->opcode));
    MUST(head->fin <= 1 && head->masked == s->from_client);
    MUST((head->rsv & ~s->allowed) == 0);
    MUST(head->len >= 2 && head->len <= WS_HEAD_MAX);
    if (ws_opcode_is_control(head->opcode)) {
        MUST(head->fin && head->payload_len <= WS_CONTROL_MAX);
    }
    else {
        MUST(head->payload_len <= s->max_frame_size);
    }
}

static void
heads_equal(const struct ws_head *a, const struct ws_head *b)
{
    MUST(a->opcode == b->opcode && a->fin == b->fin && a->rsv == b->rsv);
    MUST(a->masked == b->masked && a->len == b->len);
    MUST(a->payload_len == b->payload_len);
    MUST(!a->masked || memcmp(a->key, b->key, 4) == 0);
}

struct kept {
    struct ws_block *block;
    const uint8_t *at;
    size_t offset, len;
};

enum { KEPT = 32 };

static void
kept_drop(struct kept *k, const uint8_t *bytes)
{
    if (k->block != NULL) {
        MUST(memcmp(k->at, bytes + k->offset, k->len) == 0);
        ws_block_decref(k->block);
        k->block = NULL;
    }
}

/* Up to |left| of the bytes at |from| arrive, as a read or (a peer's first
 * bytes, glued to the handshake) all at once.  Returns how many; none where an
 * allocation failed: nothing is lost, try again. */
static size_t
bytes_arrive(const struct settings *s, struct ws_ring *ring, size_t need,
             size_t i, const uint8_t *from, size_t left)
{
    size_t before = ws_ring_len(ring), n = read_size(s, i), len;
    uint8_t *ptr;

    n = n < left ? n : left;
    if (s->read_count != 0 && s->reads[i % s->read_count] == 255) {
        int err = ws_ring_append(ring, from, n);
        n = ws_ring_len(ring) - before;
        MUST(ws_ring_check(ring));
        MUST(err == 0 || (err == WS_ERR_NOMEM && s->fail_every != 0));
        return n;
    }
    int err = ws_ring_reserve(ring, need, &ptr, &len);
    MUST(ws_ring_check(ring));
    MUST(ws_ring_len(ring) == before);
    if (err != 0) {
        MUST(err == WS_ERR_NOMEM && s->fail_every != 0);
        return 0;
    }
    MUST(len > 0);
    if (need > s->block_size) {
        MUST(len <= need - before);
    }
    else {
        MUST(len <= ring->block_size);
    }
    memset(ptr, 0xDD, len);
    n = n < len ? n : len;
    memcpy(ptr, from, n);
    ws_ring_commit(ring, n);
    return n;
}

/* Frames of the ring, as far as they go.  Returns ws_parser_next()'s last
 * word. */
static int
ring_drain(const struct settings *s, struct ws_ring *ring, struct ws_parser *p,
           struct whole *w, struct kept *kept, unsigned *seen)
{
    for (;;) {
        struct ws_head head, want;
        int rc =
            ws_parser_next(p, ws_ring_peek(ring), ws_ring_len(ring), &head);
        if (rc < 0) {
            return rc;
        }
        if (rc == 0) {
            /* It waits for more than there is, and not for more than the
             * frame. */
            struct whole ahead = *w;
            MUST(p->need > ws_ring_len(ring));
            if (whole_next(&ahead, &want) == 1) {
                MUST(p->need <= want.len + want.payload_len);
            }
            return 0;
        }
        size_t at = w->out, total = head.len + head.payload_len;
        MUST(whole_next(w, &want) == 1);
        heads_equal(&head, &want);
        head_check(s, &head);
        MUST(total <= ws_ring_len(ring));
        MUST(memcmp(ws_ring_peek(ring), w->bytes + at, total) == 0);
        if (s->keep_every != 0 && ++*seen % s->keep_every == 0) {
            struct kept *k = &kept[*seen / s->keep_every % KEPT];
            kept_drop(k, w->bytes);
            k->block = ws_ring_block(ring);
            k->at = ws_ring_peek(ring);
            k->offset = at;
            k->len = total;
            ws_block_incref(k->block);
        }
        ws_ring_consume(ring, total);
        MUST(ws_ring_check(ring));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct settings s;
    const uint8_t *rest = settings_read(&s, data, &size);
    if (rest == NULL) {
        return 0;
    }
    /* A copy of its own, so that reading past its end is seen. */
    uint8_t *bytes = fuzz_copy(rest, size);

    struct whole w = {.bytes = bytes, .size = size, .out = 0};
    struct ws_spare spare = {NULL, NULL};
    struct ws_ring ring;
    struct ws_parser p;
    struct ws_head head;
    struct kept kept[KEPT];
    unsigned seen = 0;
    size_t in = 0;
    int rc = 0;

    memset(kept, 0, sizeof(kept));
    /* The peer never makes it ask for more than what it has sent, and a
     * block; inputs are small. */
    struct fuzz_memory memory = {.fail_every = s.fail_every, .most = 1 << 20};
    struct ws_mem mem = fuzz_mem(&memory);
    ws_parser_init(&w.p, s.from_client, s.max_frame_size);
    w.p.rsv_allowed = (uint8_t)s.allowed;
    p = w.p;
    ws_ring_init(&ring, &mem, &spare, s.block_size);
    for (size_t i = 0; in < size && rc == 0; i++) {
        MUST(ws_ring_len(&ring) == in - w.out);
        size_t n = bytes_arrive(&s, &ring, p.need, i, bytes + in, size - in);
        if (n == 0) {
            continue;
        }
        in += n;
        rc = ring_drain(&s, &ring, &p, &w, kept, &seen);
        if (i % 3 != 2) {
            ws_ring_settle(&ring);
        }
        MUST(ws_ring_check(&ring));
    }

    /* The bytes at once come to the same end. */
    int want = whole_next(&w, &head);
    MUST(want == rc);
    if (rc < 0) {
        MUST(rc <= WS_ERR_RSV && rc >= WS_ERR_FRAME_SIZE);
        MUST(strcmp(ws_err_text(rc), "unknown error") != 0);
        MUST(ws_err_close_code(rc) == (rc == WS_ERR_FRAME_SIZE
                                           ? WS_CLOSE_MESSAGE_TOO_BIG
                                           : WS_CLOSE_PROTOCOL_ERROR));
        MUST(ws_parser_next(&p, NULL, 0, &head) == rc);
        MUST(ws_parser_next(&p, (const uint8_t *)"\x81\0", 2, &head) == rc);
    }
    else {
        MUST(p.need == w.p.need);
    }

    ws_ring_free(&ring);
    ws_spare_clear(&spare);
    for (size_t i = 0; i < KEPT; i++) {
        kept_drop(&kept[i], bytes);
    }
    MUST(memory.alive == 0);
    free(bytes);
    return 0;
}
