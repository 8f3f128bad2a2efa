#include "way.h"

#include "sockio.h"

/* Frames up to this size are put together on the stack. */
#define OUT_STACK 8192

/* The pieces of a larger masked frame: each stays in the cache between mask
 * and send(2), and a peer on the same core is woken once for it, not for each
 * half. */
#define OUT_PIECE WS_SPARE_LARGE_MAX

void
pyws_out_copy(const struct pyws_out *out, size_t from, uint8_t *dst, size_t n)
{
    if (from < out->head_len) {
        size_t part = out->head_len - from;
        if (part > n) {
            part = n;
        }
        memcpy(dst, out->head + from, part);
        from += part;
        dst += part;
        n -= part;
    }
    if (n == 0) {
        return;
    }
    size_t at = from - out->head_len;
    if (out->masked) {
        out->mask(dst, out->payload + at, n, out->key, at & 3u);
    }
    else {
        memcpy(dst, out->payload + at, n);
    }
}

/* Adds what one call to the system took to |*sent|.  1: all |n| bytes, 0: not
 * all, else -errno. */
static int
out_took(ptrdiff_t result, size_t n, size_t *sent)
{
    if (result < 0) {
        return ws_sock_would_block(result) ? 0 : (int)result;
    }
    *sent += (size_t)result;
    return (size_t)result == n;
}

int
pyws_out_send(pyws_state *state, int fd, const struct pyws_out *out,
              size_t *sent)
{
    size_t total = pyws_out_len(out);
    int rc;

    *sent = 0;
    if (out->whole != NULL) {
        rc = out_took(ws_sock_send(fd, out->whole, total), total, sent);
        return rc < 0 ? rc : 0;
    }
    if (total <= OUT_STACK) {
        uint8_t frame[OUT_STACK];
        pyws_out_copy(out, 0, frame, total);
        rc = out_took(ws_sock_send(fd, frame, total), total, sent);
        return rc < 0 ? rc : 0;
    }
    if (!out->masked) {
        struct ws_queue_span spans[2] = {
            {out->head, out->head_len},
            {out->payload, out->payload_len},
        };
        rc = out_took(ws_sock_sendv(fd, spans, 2), total, sent);
        return rc < 0 ? rc : 0;
    }
    size_t most = total < OUT_PIECE ? total : OUT_PIECE;
    struct ws_block *piece = pyws_scratch_take(state, most);
    if (piece == NULL) {
        return 0; /* nothing sent: whoever queues the frame meets it again */
    }
    do {
        size_t left = total - *sent, n = left < most ? left : most;
        pyws_out_copy(out, *sent, piece->data, n);
        rc = out_took(ws_sock_send(fd, piece->data, n), n, sent);
    } while (rc == 1 && *sent < total);
    pyws_scratch_give(state, piece);
    return rc < 0 ? rc : 0;
}
