/* test_queue.c - the queue of unsent bytes against a plain byte queue. */
#include "check.h"

#include "ws_err.h"
#include "ws_queue.h"

/* Bytes that tell by themselves where they belong. */
static uint8_t
byte_at(size_t i)
{
    return (uint8_t)(i * 7 + i / 251);
}

static void
fill(uint8_t *p, size_t from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        p[i] = byte_at(from + i);
    }
}

/* The model: what waits are the bytes [out, in) of the endless pattern. */
static size_t model_in, model_out;

/* Everything that can be seen agrees with the model. */
static void
agree(const struct ws_queue *q)
{
    struct ws_queue_span spans[64];
    size_t at = model_out;

    CHECK(ws_queue_check(q));
    CHECK_INT(q->len, model_in - model_out);
    CHECK((q->first == NULL) == (q->last == NULL));
    size_t count = ws_queue_peek(q, spans, 64);
    CHECK(count <= 64);
    CHECK((count == 0) == (q->len == 0));
    for (size_t i = 0; i < count; i++) {
        CHECK(spans[i].len > 0);
        for (size_t k = 0; k < spans[i].len; k++, at++) {
            if (spans[i].data[k] != byte_at(at)) {
                CHECK_INT(spans[i].data[k], byte_at(at));
            }
        }
    }
    if (count < 64)
        CHECK_INT(at, model_in);
}

static void
append(struct ws_queue *q, size_t n)
{
    uint8_t *p = guard_new(n == 0 ? 1 : n);
    fill(p, model_in, n);
    CHECK_INT(ws_queue_append(q, p, n), 0);
    guard_free(p, n == 0 ? 1 : n);
    model_in += n;
}

static void
consume(struct ws_queue *q, size_t n)
{
    ws_queue_consume(q, n);
    model_out += n;
}

static void
model_start(struct ws_queue *q, const struct ws_mem *mem)
{
    ws_queue_init(q, mem);
    model_in = model_out = 0;
    agree(q);
}

static void
test_empty(void)
{
    struct failing_mem fm;
    struct ws_queue q;
    struct ws_queue_span span;

    failing_mem_init(&fm, -1);
    model_start(&q, &fm.mem);
    CHECK_INT(ws_queue_peek(&q, &span, 1), 0);
    ws_queue_consume(&q, 0);
    agree(&q);
    append(&q, 0);
    agree(&q);
    CHECK_INT(fm.calls, 0);
    ws_queue_free(&q);
    ws_queue_free(&q);
    agree(&q);
    append(&q, 10);
    agree(&q);
    CHECK_INT(ws_queue_peek(&q, &span, 0), 0);
    consume(&q, 10);
    agree(&q);
    /* An empty queue owns nothing. */
    CHECK_INT(fm.alive, 0);
    /* Freed with something in it, it may be used again. */
    append(&q, 100000);
    ws_queue_free(&q);
    CHECK_INT(fm.alive, 0);
    CHECK_INT(q.len, 0);
    CHECK(q.mem == &fm.mem);
    model_in = model_out = 0;
    append(&q, 5);
    agree(&q);
    ws_queue_free(&q);
    CHECK_INT(fm.alive, 0);
}

static void
test_room(void)
{
    struct failing_mem fm;
    struct ws_queue q;
    uint8_t *p, *again;
    size_t n, m;

    failing_mem_init(&fm, -1);
    model_start(&q, &fm.mem);
    CHECK_INT(ws_queue_room(&q, 10, &p, &n), 0);
    CHECK_INT(n, 10);
    agree(&q);
    /* Room that was not used counts for nothing, and is given again. */
    CHECK_INT(ws_queue_room(&q, 20, &again, &m), 0);
    CHECK(again == p);
    CHECK_INT(m, 20);
    agree(&q);
    fill(p, 0, 20);
    ws_queue_commit(&q, 0);
    agree(&q);
    ws_queue_commit(&q, 7);
    model_in = 7;
    agree(&q);
    CHECK_INT(ws_queue_room(&q, 1, &again, &m), 0);
    CHECK(again == p + 7);
    /* A chunk's end cuts the room; the rest comes from the next one. */
    CHECK_INT(ws_queue_room(&q, 1000000, &again, &m), 0);
    CHECK(again == p + 7);
    CHECK_INT(m, WS_QUEUE_CHUNK_MIN - 7);
    fill(again, model_in, m);
    ws_queue_commit(&q, m);
    model_in += m;
    agree(&q);
    CHECK_INT(fm.alive, 1);
    CHECK_INT(ws_queue_room(&q, 1000000, &again, &m), 0);
    CHECK_INT(m, WS_QUEUE_CHUNK);
    CHECK_INT(fm.alive, 2);
    agree(&q); /* an empty chunk at the end is no span */
    consume(&q, q.len);
    agree(&q);
    CHECK_INT(fm.alive, 0);
    ws_queue_free(&q);
}

/* Every way to cut |total| at |cut|, and consumption by |step|. */
static void
test_partial(void)
{
    static const size_t sizes[] = {1,     2,     4095,  4096,  4097,
                                   65535, 65536, 65537, 200000};
    static const size_t steps[] = {1, 3, 4096, 65535, 65536, 65537, 1 << 20};
    struct failing_mem fm;
    struct ws_queue q;

    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        for (size_t t = 0; t < sizeof(steps) / sizeof(steps[0]); t++) {
            check_context("%zu bytes by %zu", sizes[s], steps[t]);
            size_t left = sizes[s];
            if (left / steps[t] > 5000)
                continue;
            failing_mem_init(&fm, -1);
            model_start(&q, &fm.mem);
            append(&q, left / 2);
            append(&q, left - left / 2);
            agree(&q);
            while (left > 0) {
                size_t n = left < steps[t] ? left : steps[t];
                consume(&q, n);
                left -= n;
                CHECK(ws_queue_check(&q));
                if (left < 3 || left % 64 == 0)
                    agree(&q);
            }
            CHECK_INT(fm.alive, 0);
            ws_queue_free(&q);
        }
    }
}

static void
test_spans(void)
{
    struct failing_mem fm;
    struct ws_queue q;
    struct ws_queue_span spans[4];
    size_t i;

    failing_mem_init(&fm, -1);
    model_start(&q, &fm.mem);
    for (i = 0; i < 10; i++) {
        append(&q, WS_QUEUE_CHUNK);
    }
    agree(&q);
    for (size_t max = 0; max <= 4; max++) {
        CHECK_INT(ws_queue_peek(&q, spans, max), max);
    }
    for (i = 0; i < 4; i++) {
        CHECK_INT(spans[i].len, WS_QUEUE_CHUNK);
        CHECK_INT(spans[i].data[0], byte_at(i * WS_QUEUE_CHUNK));
    }
    /* A consume that ends on a chunk's border leaves no empty span. */
    consume(&q, WS_QUEUE_CHUNK);
    CHECK_INT(fm.alive, 9);
    agree(&q);
    consume(&q, 3 * WS_QUEUE_CHUNK + 1);
    CHECK_INT(fm.alive, 6);
    agree(&q);
    CHECK_INT(ws_queue_peek(&q, spans, 4), 4);
    CHECK_INT(spans[0].len, WS_QUEUE_CHUNK - 1);
    consume(&q, q.len);
    CHECK_INT(fm.alive, 0);
}

static void
test_chunk_sizes(void)
{
    struct failing_mem fm;
    struct ws_queue q;
    static const size_t small[] = {1, 2, 100, 4095, 4096};

    for (size_t i = 0; i < sizeof(small) / sizeof(small[0]); i++) {
        check_context("%zu bytes left over", small[i]);
        failing_mem_init(&fm, -1);
        model_start(&q, &fm.mem);
        append(&q, small[i]);
        CHECK_INT(fm.calls, 1);
        CHECK(fm.largest <= WS_QUEUE_CHUNK_MIN + 64);
        ws_queue_free(&q);
        CHECK_INT(fm.alive, 0);
    }
    failing_mem_init(&fm, -1);
    model_start(&q, &fm.mem);
    append(&q, 10000);
    CHECK(fm.asked <= 10000 + 64);
    append(&q, 1 << 20);
    CHECK(fm.largest <= WS_QUEUE_CHUNK + 64);
    /* Many small ones fill a chunk before the next is made. */
    ws_queue_free(&q);
    failing_mem_init(&fm, -1);
    model_start(&q, &fm.mem);
    for (int i = 0; i < 4096; i++) {
        append(&q, 1);
    }
    CHECK_INT(fm.calls, 1);
    agree(&q);
    ws_queue_free(&q);
}

/* A long backlog costs what it holds, and is never moved. */
static void
test_backlog(void)
{
    size_t total =
        getenv("CHECK_QUICK") != NULL ? (size_t)4 << 20 : (size_t)64 << 20;
    struct failing_mem fm;
    struct ws_queue q;
    uint8_t *block = malloc(70000);
    size_t done = 0, turn = 0;

    failing_mem_init(&fm, -1);
    ws_queue_init(&q, &fm.mem);
    while (done < total) {
        size_t n = 1 + turn++ * 997 % 70000;
        fill(block, done, n);
        CHECK_INT(ws_queue_append(&q, block, n), 0);
        done += n;
    }
    CHECK(ws_queue_check(&q));
    CHECK_INT(q.len, done);
    CHECK(fm.asked < done + done / 4);
    CHECK((size_t)fm.calls < turn * 2 + 1);
    size_t at = 0;
    while (q.len > 0) {
        struct ws_queue_span spans[16];
        size_t count = ws_queue_peek(&q, spans, 16), n = 0;
        CHECK(count > 0);
        for (size_t i = 0; i < count; i++) {
            for (size_t k = 0; k < spans[i].len; k += 61) {
                if (spans[i].data[k] != byte_at(at + n + k)) {
                    CHECK_INT(spans[i].data[k], byte_at(at + n + k));
                }
            }
            n += spans[i].len;
        }
        n = n > 100000 ? 100000 : n; /* the kernel takes a part */
        ws_queue_consume(&q, n);
        at += n;
    }
    CHECK_INT(at, done);
    CHECK_INT(fm.resized, 0);
    CHECK_INT(fm.alive, 0);
    free(block);
}

static void
test_random(void)
{
    int rounds = getenv("CHECK_QUICK") != NULL ? 300 : 3000;
    struct failing_mem fm;
    struct ws_queue q;

    failing_mem_init(&fm, -1);
    model_start(&q, &fm.mem);
    for (int i = 0; i < rounds; i++) {
        check_context("round %d", i);
        uint32_t what = check_random() % 8;
        size_t most = check_random() % 4 == 0 ? 150000 : 3000;
        size_t n = check_random() % most;
        if (what < 3) {
            append(&q, n);
        }
        else if (what < 5) {
            uint8_t *p;
            size_t room;
            CHECK_INT(ws_queue_room(&q, n + 1, &p, &room), 0);
            CHECK(room > 0 && room <= n + 1);
            size_t used = check_random() % (room + 1);
            fill(p, model_in, used);
            ws_queue_commit(&q, used);
            model_in += used;
        }
        else if (what < 7) {
            consume(&q, q.len == 0 ? 0 : check_random() % (q.len + 1));
        }
        else if (check_random() % 8 == 0) {
            consume(&q, q.len);
            CHECK_INT(fm.alive, 0);
        }
        CHECK(ws_queue_check(&q));
        if (q.len < 4000 || i % 16 == 0)
            agree(&q);
    }
    ws_queue_free(&q);
    CHECK_INT(fm.resized, 0);
    CHECK_INT(fm.alive, 0);
}

static void
test_no_memory(void)
{
    struct failing_mem fm;
    struct ws_queue q;
    uint8_t *p = (uint8_t *)1;
    size_t n = 77;

    for (long fail_at = 0; fail_at < 6; fail_at++) {
        check_context("allocation %ld fails", fail_at);
        failing_mem_init(&fm, fail_at);
        model_start(&q, &fm.mem);
        uint8_t *data = malloc(5 * WS_QUEUE_CHUNK);
        fill(data, 0, 5 * WS_QUEUE_CHUNK);
        int err = ws_queue_append(&q, data, 5 * WS_QUEUE_CHUNK);
        CHECK_INT(err, fail_at < 5 ? WS_ERR_NOMEM : 0);
        /* What was appended is the beginning, and whole. */
        model_in = q.len;
        CHECK_INT(model_in,
                  (fail_at < 5 ? (size_t)fail_at : 5) * WS_QUEUE_CHUNK);
        agree(&q);
        free(data);
        ws_queue_free(&q);
        CHECK_INT(fm.alive, 0);
    }
    failing_mem_init(&fm, 0);
    model_start(&q, &fm.mem);
    CHECK_INT(ws_queue_room(&q, 1, &p, &n), WS_ERR_NOMEM);
    agree(&q);
    CHECK_INT(ws_queue_room(&q, 1, &p, &n), 0);
    ws_queue_free(&q);
    CHECK_INT(fm.alive, 0);
}

static const struct test tests[] = {
    {"empty", test_empty},
    {"room", test_room},
    {"partial consume", test_partial},
    {"spans", test_spans},
    {"chunk sizes", test_chunk_sizes},
    {"a long backlog", test_backlog},
    {"random against the model", test_random},
    {"failing allocations", test_no_memory},
    {NULL, NULL},
};

const struct suite suite_queue = {"queue", tests};
