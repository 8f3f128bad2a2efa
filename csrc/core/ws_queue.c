#include "ws_queue.h"

#include "ws_err.h"

struct ws_chunk {
    struct ws_chunk *next;
    /* data[r..w) waits. */
    size_t r, w, cap;
    uint8_t data[];
};

int
ws_queue_check(const struct ws_queue *q)
{
    size_t len = 0;
    const struct ws_chunk *last = NULL;

    for (const struct ws_chunk *c = q->first; c != NULL; c = c->next) {
        if (c->r > c->w || c->w > c->cap) {
            return 0;
        }
        len += c->w - c->r;
        last = c;
    }
    return last == q->last && len == q->len;
}

void
ws_queue_init(struct ws_queue *q, const struct ws_mem *mem)
{
    q->first = q->last = NULL;
    q->len = 0;
    q->mem = mem;
}

void
ws_queue_free(struct ws_queue *q)
{
    struct ws_chunk *c = q->first;
    while (c != NULL) {
        struct ws_chunk *next = c->next;
        ws_mem_release(q->mem, c);
        c = next;
    }
    ws_queue_init(q, q->mem);
}

int
ws_queue_room(struct ws_queue *q, size_t want, uint8_t **ptr, size_t *len)
{
    struct ws_chunk *c = q->last;

    WS_ASSERT(want > 0);
    if (c == NULL || c->w == c->cap) {
        size_t cap = want < WS_QUEUE_CHUNK_MIN ? WS_QUEUE_CHUNK_MIN
                     : want > WS_QUEUE_CHUNK   ? WS_QUEUE_CHUNK
                                               : want;
        c = ws_mem_alloc(q->mem, sizeof(*c) + cap);
        if (c == NULL) {
            return WS_ERR_NOMEM;
        }
        c->next = NULL;
        c->r = c->w = 0;
        c->cap = cap;
        if (q->last == NULL) {
            q->first = c;
        }
        else {
            q->last->next = c;
        }
        q->last = c;
    }
    size_t room = c->cap - c->w;
    *ptr = c->data + c->w;
    *len = room < want ? room : want;
    return 0;
}

void
ws_queue_commit(struct ws_queue *q, size_t n)
{
    WS_ASSERT(q->last != NULL && n <= q->last->cap - q->last->w);
    q->last->w += n;
    q->len += n;
}

int
ws_queue_append(struct ws_queue *q, const void *p, size_t n)
{
    const uint8_t *from = p;
    while (n > 0) {
        uint8_t *to;
        size_t room;
        int err = ws_queue_room(q, n, &to, &room);
        if (err != 0) {
            return err;
        }
        memcpy(to, from, room);
        ws_queue_commit(q, room);
        from += room;
        n -= room;
    }
    return 0;
}

size_t
ws_queue_peek(const struct ws_queue *q, struct ws_queue_span *spans, size_t max)
{
    size_t count = 0;
    for (struct ws_chunk *c = q->first; c != NULL && count < max; c = c->next) {
        if (c->w > c->r) {
            spans[count].data = c->data + c->r;
            spans[count].len = c->w - c->r;
            count++;
        }
    }
    return count;
}

void
ws_queue_consume(struct ws_queue *q, size_t n)
{
    WS_ASSERT(n <= q->len);
    q->len -= n;
    while (q->first != NULL) {
        struct ws_chunk *c = q->first;
        size_t here = c->w - c->r;
        if (n < here) {
            c->r += n;
            return;
        }
        n -= here;
        q->first = c->next;
        if (q->first == NULL) {
            q->last = NULL;
        }
        ws_mem_release(q->mem, c);
    }
    WS_ASSERT(n == 0);
}
