#include "loop_io.h"

#include "sockio.h"

/* Frames up to this size are put together on the stack. */
#define LOOP_STACK 8192

/* A larger masked frame goes out in pieces of this size, small enough to stay
 * in the cache between mask and send(2). */
#define LOOP_PIECE 65536

/* Writes bytes [from, from + n) of the frame to |dst|, masked. */
static void
out_copy(const struct pyws_out *out, size_t from, uint8_t *dst, size_t n)
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

/* Gives everything from |from| on to the loop's transport. */
static int
loop_write(struct pyws_way *way, const struct pyws_out *out, size_t from)
{
    size_t n = out->head_len + out->payload_len - from;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)n);
    if (bytes == NULL) {
        return -1;
    }
    out_copy(out, from, (uint8_t *)PyBytes_AS_STRING(bytes), n);

    PyObject *target = Py_NewRef(way->target);
    PyObject *args[3] = {NULL, target, bytes};
    PyObject *result =
        PyObject_VectorcallMethod(way->state->str_write, args + 1,
                                  2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(target);
    Py_DECREF(bytes);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static PyObject *
loop_ask(struct pyws_way *way, PyObject *name)
{
    PyObject *args[2] = {NULL, way->target};
    return PyObject_VectorcallMethod(name, args + 1,
                                     1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
}

/* Whether the loop's transport is open and holds nothing that would be
 * overtaken.  A transport that began to close may have given its descriptor
 * back already: the number can belong to somebody else.  1, 0, or -1 with an
 * exception set. */
static int
loop_is_idle(struct pyws_way *way)
{
    PyObject *closing = loop_ask(way, way->state->str_is_closing);
    if (closing == NULL) {
        return -1;
    }
    int is_closing = PyObject_IsTrue(closing);
    Py_DECREF(closing);
    if (is_closing != 0) {
        return is_closing < 0 ? -1 : 0;
    }
    PyObject *size = loop_ask(way, way->state->str_get_write_buffer_size);
    if (size == NULL) {
        return -1;
    }
    Py_ssize_t waiting = PyLong_AsSsize_t(size);
    Py_DECREF(size);
    if (waiting == -1 && PyErr_Occurred()) {
        return -1;
    }
    return waiting == 0;
}

/* Hands as much as the system takes to the socket.  Returns how much that was;
 * an error counts as nothing: the loop's transport meets it again and
 * reports it. */
static size_t
loop_send_now(struct pyws_way *way, const struct pyws_out *out)
{
    size_t total = out->head_len + out->payload_len;

    if (total <= LOOP_STACK) {
        uint8_t frame[LOOP_STACK];
        out_copy(out, 0, frame, total);
        return ws_sock_send(way->fd, frame, total);
    }
    if (!out->masked) {
        return ws_sock_send2(way->fd, out->head, out->head_len, out->payload,
                             out->payload_len);
    }

    struct ws_spare *spare = &way->state->spare;
    struct ws_block *piece = ws_spare_take(spare, LOOP_PIECE);
    if (piece != NULL && !ws_block_is_unique(piece)) {
        ws_block_decref(piece);
        piece = NULL;
    }
    if (piece == NULL) {
        piece = ws_block_new(&pyws_mem, LOOP_PIECE);
        if (piece == NULL) {
            return 0;
        }
    }
    size_t sent = 0;
    while (sent < total) {
        size_t n = total - sent < LOOP_PIECE ? total - sent : LOOP_PIECE;
        out_copy(out, sent, piece->data, n);
        size_t took = ws_sock_send(way->fd, piece->data, n);
        sent += took;
        if (took < n) {
            break;
        }
    }
    piece->used = 0;
    ws_spare_give(spare, piece);
    return sent;
}

static int
loop_send(struct pyws_way *way, const struct pyws_out *out)
{
    size_t sent = 0;

    if (way->fd >= 0) {
        int idle = loop_is_idle(way);
        if (idle < 0) {
            return -1;
        }
        /* The questions ran Python code: the descriptor may be gone. */
        if (idle && way->fd >= 0) {
            sent = loop_send_now(way, out);
            if (sent == out->head_len + out->payload_len) {
                return 0;
            }
        }
    }
    return loop_write(way, out, sent);
}

const struct pyws_io pyws_loop_io = {
    .send = loop_send,
};
