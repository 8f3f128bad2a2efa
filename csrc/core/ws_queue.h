/* ws_queue.h - bytes that the kernel did not take yet, in order.
 *
 * Public API: append (copies, or lets the caller write into the room) -> peek
 * -> consume.  The bytes lie in chunks, so that a long backlog is never moved
 * and each byte costs the same however many wait.
 *
 * Ownership: the queue owns its chunks; an empty queue owns none.
 */
#ifndef WS_QUEUE_H
#define WS_QUEUE_H

#include "ws_base.h"
#include "ws_mem.h"

/* What one chunk holds, at the most and at the least. */
#define WS_QUEUE_CHUNK 65536
#define WS_QUEUE_CHUNK_MIN 4096

/* A run of bytes to write; the shape of POSIX's struct iovec. */
struct ws_queue_span {
    const uint8_t *data;
    size_t len;
};

struct ws_chunk;

struct ws_queue {
    struct ws_chunk *first, *last;
    /* len is how many bytes wait. */
    size_t len;
    const struct ws_mem *mem;
};

/* ws_queue_init makes an empty queue. */
void ws_queue_init(struct ws_queue *q, const struct ws_mem *mem);

/* ws_queue_free drops everything; the queue is empty then and may be used
 * again. */
void ws_queue_free(struct ws_queue *q);

/* ws_queue_room gives room at the end: |*len| > 0 bytes at |*ptr|, |want| at
 * most.  What is written there counts with ws_queue_commit().  Returns 0 or
 * WS_ERR_NOMEM (the queue is unchanged). */
int ws_queue_room(struct ws_queue *q, size_t want, uint8_t **ptr, size_t *len);

/* ws_queue_commit appends the first |n| bytes of the last room. */
void ws_queue_commit(struct ws_queue *q, size_t n);

/* ws_queue_append copies |n| bytes to the end.  Returns 0, or WS_ERR_NOMEM: a
 * part may have been appended. */
int ws_queue_append(struct ws_queue *q, const void *p, size_t n);

/* ws_queue_peek stores up to |max| spans, from the front on, and returns how
 * many: 0 where nothing waits. */
size_t ws_queue_peek(const struct ws_queue *q, struct ws_queue_span *spans,
                     size_t max);

/* ws_queue_consume drops |n| bytes from the front. */
void ws_queue_consume(struct ws_queue *q, size_t n);

/* ws_queue_check returns whether the invariants hold. */
int ws_queue_check(const struct ws_queue *q);

#endif /* WS_QUEUE_H */
