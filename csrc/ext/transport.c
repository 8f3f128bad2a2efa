#include "transport.h"

#include "raise.h"
#include "ws_err.h"
#include "ws_writer.h"

/* A longer frame is not worth a copy only to be coalesced. */
#define TRANSPORT_COALESCE_MAX 8192

/* ---- sending ---- */

int
pyws_transport_check(WSTransportObject *t, const char *method)
{
    if (WS_UNLIKELY(t->thread != PyThread_get_thread_ident())) {
        pyws_raise_thread("WSTransport", method, t->thread);
        return -1;
    }
    return 0;
}

/* The way out failed, perhaps within a frame: nothing can follow it. */
static void
transport_abort(WSTransportObject *t)
{
    PyObject *raised = pyws_take_raised();
    t->way.fd = -1;
    ws_conn_lost(&t->conn);
    PyObject *result = PyObject_CallMethod(t->way.target, "abort", NULL);
    if (result == NULL) {
        PyErr_WriteUnraisable((PyObject *)t);
    }
    Py_XDECREF(result);
    pyws_raise_again(raised);
}

/* Hands bytes to the way out. */
static int
transport_put(WSTransportObject *t, const struct pyws_out *out)
{
    if (t->way.io->send(&t->way, out) < 0) {
        transport_abort(t);
        return -1;
    }
    return 0;
}

/* The same with a block of whole frames, whose reference it takes. */
static int
transport_put_block(WSTransportObject *t, struct ws_block *block)
{
    struct pyws_out out = {.whole = block->data,
                           .payload = block->data,
                           .payload_len = block->used};
    int rc = transport_put(t, &out);
    pyws_scratch_give(t->state, block);
    return rc;
}

int
pyws_transport_flush(WSTransportObject *t)
{
    struct ws_block *block = t->corked;
    if (block == NULL) {
        return 0;
    }
    /* What is sent from inside the call comes behind it, in another block. */
    t->corked = NULL;
    if (t->conn.state == WS_CONN_CLOSED) {
        ws_block_decref(block);
        return 0;
    }
    return transport_put_block(t, block);
}

int
pyws_transport_end_read(WSTransportObject *t)
{
    t->coalescing = 0;
    if (WS_LIKELY(t->corked == NULL) || t->corks > 0) {
        return 0;
    }
    PyObject *raised = pyws_take_raised();
    int rc = pyws_transport_flush(t);
    if (raised != NULL) {
        if (rc < 0) {
            PyErr_WriteUnraisable((PyObject *)t);
        }
        pyws_raise_again(raised);
    }
    return rc;
}

/* Begins a new block with |out|.  What was corked leaves, and a frame that is
 * larger than a block behind it.  |out| is in its block before that: the way
 * out can run Python, and what is sent from there comes behind it. */
static int
transport_cork_next(WSTransportObject *t, const struct pyws_out *out, size_t n)
{
    struct ws_block *full = t->corked;
    struct ws_block *block = pyws_scratch_take(t->state, n);
    if (block == NULL) {
        /* The frame counts as sent: nothing can follow it. */
        PyErr_NoMemory();
        transport_abort(t);
        return -1;
    }
    pyws_out_copy(out, 0, block->data, n);
    block->used = n;
    t->corked = block;
    if (full != NULL && transport_put_block(t, full) < 0) {
        return -1;
    }
    return n > WS_BLOCK_SIZE_MAX ? pyws_transport_flush(t) : 0;
}

/* Keeps |out| until the cork is pulled, with what is there already, as long as
 * it fits into one block. */
static int
transport_cork(WSTransportObject *t, const struct pyws_out *out)
{
    struct ws_block *block = t->corked;
    size_t n = pyws_out_len(out);

    if (block == NULL && n > WS_BLOCK_SIZE_MAX) {
        return transport_put(t, out);
    }
    if (block == NULL || n > block->cap - block->used) {
        return transport_cork_next(t, out, n);
    }
    pyws_out_copy(out, 0, block->data + block->used, n);
    block->used += n;
    return 0;
}

Py_ssize_t
pyws_transport_waiting(WSTransportObject *t)
{
    if (t->conn.state == WS_CONN_CLOSED || t->way.target == NULL) {
        return 0;
    }
    Py_ssize_t waiting = t->way.io->waiting(&t->way);
    if (waiting >= 0 && t->corked != NULL) {
        waiting += (Py_ssize_t)t->corked->used;
    }
    return waiting;
}

int
pyws_transport_trace(WSTransportObject *t, int sent, unsigned opcode, int fin,
                     unsigned rsv, size_t len)
{
    if (WS_LIKELY(!t->traced) || t->owner == NULL) {
        return 0;
    }
    PyObject *owner = Py_NewRef(t->owner);
    PyObject *result = PyObject_CallMethod(
        owner, "_trace", "OIOIn", sent ? Py_True : Py_False, opcode,
        fin ? Py_True : Py_False, rsv, (Py_ssize_t)len);
    Py_DECREF(owner);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* Writes the head of a frame that ws_conn_may_send() or ws_conn_may_pong()
 * allowed.  -1 with OSError: no masking key. */
static int
transport_head(WSTransportObject *t, struct pyws_out *out, unsigned opcode,
               int fin, unsigned rsv, const uint8_t *payload, size_t len)
{
    out->masked = t->conn.is_client;
    if (out->masked &&
        ws_entropy_key(t->entropy, t->state->fork_generation, out->key) != 0) {
        pyws_raise_entropy();
        return -1;
    }
    uint8_t *end =
        ws_writer_head(out->head, (fin ? WS_BIT_FIN : 0) | rsv | opcode, len,
                       out->masked ? out->key : NULL);
    out->head_len = (uint8_t)(end - out->head);
    out->mask = t->conn.mask;
    out->payload = payload;
    out->payload_len = len;
    out->whole = NULL;
    return 0;
}

/* Sends what transport_head() began. */
static int
transport_emit(WSTransportObject *t, const struct pyws_out *out,
               unsigned opcode, int fin)
{
    /* Noted before the bytes leave: the way out can call Python, and what is
     * sent from there comes after this frame. */
    ws_conn_sent(&t->conn, opcode, fin);
    t->stats.frames_sent++;
    t->stats.messages_sent += fin && !ws_opcode_is_control(opcode);
    t->stats.bytes_sent += pyws_out_len(out);
    /* What waits already goes first. */
    int together =
        t->corked != NULL || t->corks > 0 ||
        (t->coalescing && pyws_out_len(out) <= TRANSPORT_COALESCE_MAX);
    return WS_UNLIKELY(together) ? transport_cork(t, out)
                                 : transport_put(t, out);
}

static int
transport_send_frame(WSTransportObject *t, unsigned opcode, int fin,
                     unsigned rsv, const uint8_t *payload, size_t len)
{
    struct pyws_out out;

    if (transport_head(t, &out, opcode, fin, rsv, payload, len) < 0 ||
        transport_emit(t, &out, opcode, fin) < 0) {
        return -1;
    }
    return pyws_transport_trace(t, 1, opcode, fin, rsv, len);
}

/* Whether |len| bytes may wait beside what waits already: 1, 0, or -1 with an
 * exception set. */
static int
transport_fits(WSTransportObject *t, size_t len)
{
    Py_ssize_t waiting = pyws_transport_waiting(t);
    if (waiting < 0) {
        return -1;
    }
    /* A message is always taken where nothing waits: it may go to the kernel
     * as a whole. */
    return waiting == 0 || ((size_t)waiting <= t->write_limit &&
                            len <= t->write_limit - (size_t)waiting);
}

/* A data frame of |len| bytes beside what waits already.  1: it may be sent;
 * 0: not, and that was dealt with; -1 with an exception set. */
static int
transport_has_room(WSTransportObject *t, unsigned opcode, int fin, size_t len)
{
    if (t->dropping && opcode == WS_OP_CONTINUATION) {
        ws_conn_sent(&t->conn, opcode, fin);
        t->dropping = !fin;
        return 0;
    }
    int fits = transport_fits(t, len);
    if (fits != 0) {
        return fits;
    }
    if (!t->drops) {
        PyObject *owner = t->owner;
        if (owner == NULL) {
            return 0;
        }
        Py_INCREF(owner);
        PyObject *result = PyObject_CallMethod(owner, "_overflowed", NULL);
        Py_DECREF(owner);
        Py_XDECREF(result);
        return result == NULL ? -1 : 0;
    }
    /* Whole messages only: what was begun is finished. */
    if (opcode == WS_OP_CONTINUATION) {
        return 1;
    }
    ws_conn_sent(&t->conn, opcode, fin);
    t->dropping = !fin;
    t->stats.dropped++;
    return 0;
}

/* Whether a message is in the hands of the compressor, which is Python's.
 * Another one that it sent would stand inside that one. */
static int
transport_is_compressing(const WSTransportObject *t)
{
    return WS_UNLIKELY(t->deflate != NULL && t->deflate->busy);
}

/* Whether a frame that the user sends goes out: 1, 0 (nothing to do), or -1
 * with an exception set. */
static int
transport_admit(WSTransportObject *t, unsigned opcode, int fin, unsigned rsv,
                size_t len)
{
    int err = ws_conn_may_send(&t->conn, opcode, fin, rsv, len);
    if (WS_UNLIKELY(err != 0)) {
        if (err == WS_ERR_SEND_CLOSED) {
            return 0;
        }
        pyws_raise_err(err);
        return -1;
    }
    if (transport_is_compressing(t) && !ws_opcode_is_control(opcode)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "a message was sent from inside the compressor");
        return -1;
    }
    if (WS_UNLIKELY(t->write_limit > 0) && !ws_opcode_is_control(opcode)) {
        int rc = transport_has_room(t, opcode, fin, len);
        /* The question can have run Python. */
        return rc <= 0 ? rc
                       : ws_conn_may_send(&t->conn, opcode, fin, rsv, len) == 0;
    }
    return 1;
}

/* Whether a data frame that was admitted belongs to a message that is
 * compressed: its first frame decides. */
static int
transport_compresses(WSTransportObject *t, unsigned opcode, size_t len)
{
    if (t->deflate == NULL || ws_opcode_is_control(opcode)) {
        return 0;
    }
    if (opcode != WS_OP_CONTINUATION) {
        t->deflate->sending = (uint8_t)pyws_deflate_wants(t->deflate, len);
    }
    return t->deflate->sending;
}

static int
transport_send_compressed(WSTransportObject *t, unsigned opcode, int fin,
                          const uint8_t *payload, size_t len)
{
    /* RFC 7692, 7.2.1: RSV1 of the first frame, and of no other. */
    unsigned rsv = opcode == WS_OP_CONTINUATION ? 0 : WS_BIT_RSV1;

    DeflateObject *d = (DeflateObject *)Py_NewRef(t->deflate);
    PyObject *out = pyws_deflate_compress(d, payload, len, fin, &len);
    int rc = out == NULL ? -1 : 0;
    /* The compressor is Python's: the connection may have ended. */
    if (rc == 0 && ws_conn_may_send(&t->conn, opcode, fin, 0, len) == 0) {
        rc = transport_send_frame(t, opcode, fin, rsv,
                                  (const uint8_t *)PyBytes_AS_STRING(out), len);
        if (rc < 0) {
            PyObject *raised = pyws_take_raised();
            pyws_deflate_unsent(d);
            pyws_raise_again(raised);
        }
    }
    Py_XDECREF(out);
    Py_DECREF(d);
    return rc;
}

int
pyws_transport_send(WSTransportObject *t, unsigned opcode, int fin,
                    unsigned rsv, const uint8_t *payload, size_t len)
{
    int rc = transport_admit(t, opcode, fin, rsv, len);
    if (rc <= 0) {
        return rc;
    }
    return WS_UNLIKELY(transport_compresses(t, opcode, len))
               ? transport_send_compressed(t, opcode, fin, payload, len)
               : transport_send_frame(t, opcode, fin, rsv, payload, len);
}

int
pyws_transport_send_reuse(WSTransportObject *t, unsigned opcode, int fin,
                          unsigned rsv, uint8_t *payload, size_t len)
{
    struct pyws_out out;

    int rc = transport_admit(t, opcode, fin, rsv, len);
    if (rc <= 0) {
        return rc;
    }
    if (transport_compresses(t, opcode, len)) {
        return transport_send_compressed(t, opcode, fin, payload, len);
    }
    if (transport_head(t, &out, opcode, fin, rsv, payload, len) < 0) {
        return -1;
    }
    if (out.masked) {
        out.mask(payload, payload, len, out.key, 0);
        out.masked = 0;
    }
    memcpy(payload - out.head_len, out.head, out.head_len);
    out.whole = payload - out.head_len;
    if (transport_emit(t, &out, opcode, fin) < 0) {
        return -1;
    }
    return pyws_transport_trace(t, 1, opcode, fin, rsv, len);
}

int
pyws_transport_takes(WSTransportObject *t, unsigned opcode, size_t len)
{
    if (ws_conn_may_send(&t->conn, opcode, 1, 0, len) != 0) {
        return 0;
    }
    if (ws_opcode_is_control(opcode)) {
        return 1;
    }
    if (transport_is_compressing(t)) {
        return 0;
    }
    return t->write_limit == 0 ? 1 : transport_fits(t, len);
}

int
pyws_transport_send_made(WSTransportObject *t, unsigned opcode, unsigned rsv,
                         const struct pyws_out *out)
{
    /* Between the question and this, Python may have run. */
    if (ws_conn_may_send(&t->conn, opcode, 1, 0, out->payload_len) != 0) {
        return 0;
    }
    if (transport_emit(t, out, opcode, 1) < 0 ||
        pyws_transport_trace(t, 1, opcode, 1, rsv, out->payload_len) < 0) {
        return -1;
    }
    return 1;
}

int
pyws_transport_close(WSTransportObject *t, const struct ws_close *close)
{
    uint8_t payload[WS_CONTROL_MAX];

    int err = ws_close_check(close);
    if (err != 0) {
        pyws_raise_err(err);
        return -1;
    }
    size_t len = ws_close_len(close);
    if (ws_conn_may_send(&t->conn, WS_OP_CLOSE, 1, 0, len) != 0) {
        return 0; /* only WS_ERR_SEND_CLOSED is left */
    }
    ws_close_write(payload, close);
    if (transport_send_frame(t, WS_OP_CLOSE, 1, 0, payload, len) < 0 ||
        pyws_transport_flush(t) < 0) {
        return -1;
    }
    if (t->owner == NULL) {
        return 0;
    }
    PyObject *owner = Py_NewRef(t->owner);
    PyObject *result = PyObject_CallMethod(
        owner, "_close_sent", "Iz#", close->code, (const char *)close->reason,
        (Py_ssize_t)close->reason_len);
    Py_DECREF(owner);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
pyws_transport_pong(WSTransportObject *t, const uint8_t *payload, size_t len)
{
    if (t->write_paused) {
        /* 5.5.3: "If an endpoint receives a Ping frame and has not yet sent
         * Pong frame(s) in response to previous Ping frame(s), the endpoint
         * MAY elect to send a Pong frame for only the most recently processed
         * Ping frame." */
        memcpy(t->pong, payload, len);
        t->pong_len = (uint8_t)len;
        t->pong_waits = 1;
        return 0;
    }
    return transport_send_frame(t, WS_OP_PONG, 1, 0, payload, len);
}
