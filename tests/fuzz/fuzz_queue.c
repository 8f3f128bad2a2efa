/* fuzz_queue.c - any sequence of bytes appended, looked at and taken, with an
 * allocator that may fail: they come out as they went in, none twice, none
 * missing, and an empty queue owns nothing.
 *
 * The input begins with a byte of settings; each step takes three bytes.
 */
#include "fuzz.h"
#include "ws_err.h"
#include "ws_queue.h"

enum { WAITING_MAX = 1 << 19, SPANS = 4 };

/* What goes in is this, again and again; its length is prime, so that no
 * chunk's size hides a shift. */
static uint8_t pattern[8191];

static void
pattern_make(void)
{
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (uint8_t)(i + i / 251);
    }
}

/* The bytes from number |at| on, up to |n| of them in one piece. */
static size_t
pattern_piece(size_t at, size_t n, const uint8_t **piece)
{
    size_t begin = at % sizeof(pattern), len = sizeof(pattern) - begin;
    *piece = pattern + begin;
    return len < n ? len : n;
}

static void
bytes_fill(uint8_t *p, size_t n, size_t at)
{
    const uint8_t *piece;
    for (size_t done = 0, len; done < n; done += len) {
        len = pattern_piece(at + done, n - done, &piece);
        memcpy(p + done, piece, len);
    }
}

static void
bytes_check(const uint8_t *p, size_t n, size_t at)
{
    const uint8_t *piece;
    for (size_t done = 0, len; done < n; done += len) {
        len = pattern_piece(at + done, n - done, &piece);
        MUST(memcmp(p + done, piece, len) == 0);
    }
}

/* What is seen at the front are the bytes from |out| on. */
static size_t
front_check(const struct ws_queue *q, size_t out, size_t max)
{
    struct ws_queue_span spans[SPANS];
    size_t count = ws_queue_peek(q, spans, max), seen = 0;

    MUST(count <= max && (count == 0) == (q->len == 0 || max == 0));
    for (size_t i = 0; i < count; i++) {
        MUST(spans[i].len > 0);
        bytes_check(spans[i].data, spans[i].len, out + seen);
        seen += spans[i].len;
    }
    MUST(seen <= q->len && (count == max || seen == q->len));
    return seen;
}

static void
room_fill(struct ws_queue *q, size_t want, size_t part, size_t in)
{
    uint8_t *room;
    size_t len, before = q->len;

    if (ws_queue_room(q, want, &room, &len) != 0) {
        MUST(q->len == before);
        return;
    }
    MUST(len > 0 && len <= want && q->len == before);
    size_t n = part < len ? part : len;
    bytes_fill(room, n, in);
    ws_queue_commit(q, n);
    MUST(q->len == before + n);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t scales[] = {1, 7, 64, 1024};
    struct fuzz_memory memory = {.most = WS_QUEUE_CHUNK + 256};
    struct ws_mem mem = fuzz_mem(&memory);
    struct ws_queue q;
    size_t in = 0, out = 0;

    if (size == 0) {
        return 0;
    }
    memory.fail_every = data[0] % 4 == 0 ? 0 : 1 + data[0] % 4;
    if (pattern[1] == 0) {
        pattern_make();
    }
    ws_queue_init(&q, &mem);
    for (size_t at = 1; at + 3 <= size; at += 3) {
        size_t n = data[at + 1] * scales[data[at + 2] % 4];
        switch (data[at] % 5) {
        case 0: {
            uint8_t *p = fuzz_new(n);
            bytes_fill(p, n, in);
            int err = q.len < WAITING_MAX ? ws_queue_append(&q, p, n) : 0;
            MUST(err == 0 || (err == WS_ERR_NOMEM && memory.fail_every != 0));
            MUST(err != 0 || q.len == in - out || q.len == in + n - out);
            in = out + q.len;
            free(p);
            break;
        }
        case 1:
            if (q.len < WAITING_MAX) {
                room_fill(&q, n + 1, data[at + 2] * 300u, in);
                in = out + q.len;
            }
            break;
        case 2:
            n = n < q.len ? n : q.len;
            ws_queue_consume(&q, n);
            out += n;
            break;
        case 3: /* as much as one writev() would take */
            n = front_check(&q, out, data[at + 1] % (SPANS + 1));
            n -= n * data[at + 2] / 1024;
            ws_queue_consume(&q, n);
            out += n;
            break;
        default:
            if (data[at + 1] == 0) {
                ws_queue_free(&q);
                out = in;
            }
            front_check(&q, out, SPANS);
        }
        MUST(ws_queue_check(&q) && q.len == in - out);
        /* The only chunk of an empty queue is one whose room was not used. */
        MUST(q.len != 0 || memory.alive <= 1);
    }
    while (q.len > 0) {
        size_t n = front_check(&q, out, SPANS);
        ws_queue_consume(&q, n);
        out += n;
    }
    MUST(out == in);
    ws_queue_free(&q);
    MUST(memory.alive == 0);
    return 0;
}
