#include "reader.h"

#include "budget.h"
#include "clock.h"
#include "object.h"
#include "raise.h"
#include "ws_err.h"

/* After the connection's end was decided, this much more input is taken and
 * thrown away, so that closing the socket does not turn into a reset that
 * destroys our last words on their way.  A frame that was refused for its size
 * may still be arriving: the default limit is 10 MiB. */
#define READER_DISCARD_MAX (32 * 1024 * 1024)

void
pyws_reader_discard(WSReaderObject *r)
{
    r->mode = PYWS_READ_DISCARD;
    r->discard_left = READER_DISCARD_MAX;
    r->has_ahead = 0;
}

/* ---- frames ---- */

/* An exception left a callback: the package decides what becomes of the
 * connection.  KeyboardInterrupt and SystemExit go on to the loop. */
static int
reader_callback_failed(WSReaderObject *r, WSFrameObject *frame, PyObject *where)
{
    if (pyws_raised_exit()) {
        pyws_reader_discard(r);
        return -1;
    }
    /* RFC 6455, 8.1: the peer is told that what it sent is not UTF-8. */
    int invalid_text = frame->opcode == WS_OP_TEXT &&
                       PYWS_LOAD_BYTE(&frame->text_failed) &&
                       PyErr_ExceptionMatches(PyExc_UnicodeDecodeError);
    PyObject *raised = pyws_take_raised();
    PyObject *args[5] = {NULL, (PyObject *)r, where, raised,
                         invalid_text ? Py_True : Py_False};
    PyObject *result =
        PyObject_VectorcallMethod(r->state->str_callback_failed, args + 1,
                                  4 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(raised);
    return pyws_done(result);
}

/* ws_parser_next() at the ring's front, unless that was done before. */
static int
reader_next(WSReaderObject *r, struct ws_head *head)
{
    if (r->has_ahead) {
        r->has_ahead = 0;
        *head = r->ahead;
        return 1;
    }
    return ws_parser_next(&r->parser, ws_ring_peek(&r->ring),
                          ws_ring_len(&r->ring), head);
}

/* Whether a frame with |head| will be delivered; |*expected| says that a PONG
 * is taken, which uses it up. */
static int
reader_delivers(const WSReaderObject *r, const struct ws_conn *conn,
                const struct ws_head *head, int *expected)
{
    if (WS_UNLIKELY(*expected) && head->opcode == WS_OP_PONG) {
        *expected = 0;
        return 0;
    }
    return ws_conn_delivers(conn, head->opcode) && (head->fin || !r->assembles);
}

/* The same for all frames behind the first one. */
static int
reader_delivers_more(const WSReaderObject *r, const struct ws_conn *conn,
                     int expected)
{
    struct ws_parser probe = r->parser;
    struct ws_head head = r->ahead;
    const uint8_t *at = ws_ring_peek(&r->ring);
    size_t len = ws_ring_len(&r->ring);

    for (;;) {
        at += head.len + head.payload_len;
        len -= head.len + head.payload_len;
        if (len == 0 || ws_parser_next(&probe, at, len, &head) <= 0) {
            return 0;
        }
        if (reader_delivers(r, conn, &head, &expected)) {
            return 1;
        }
    }
}

/* Whether nothing behind the frame just consumed will be delivered yet.  Frames
 * that never reach the listener do not count; a broken one ends the
 * connection, so it does not count either. */
static int
reader_is_last(WSReaderObject *r, const struct ws_conn *conn)
{
    int expected = r->expects_pong == PYWS_PONG_OPCODE;

    if (ws_ring_len(&r->ring) == 0 || reader_next(r, &r->ahead) <= 0) {
        return 1;
    }
    r->has_ahead = 1;
    return !reader_delivers(r, conn, &r->ahead, &expected) &&
           !reader_delivers_more(r, conn, expected);
}

/* Gives |frame| to the listener.  Everything of ours is consistent before the
 * call and looked at anew after it. */
static int
reader_deliver(WSReaderObject *r, WSTransportObject *t, WSFrameObject *frame)
{
    PyObject *listener = Py_NewRef(r->listener);
    if (WS_UNLIKELY(r->callbacks != NULL)) {
        int rc = pyws_callbacks_frame(r->callbacks, t, frame);
        Py_DECREF(listener);
        return WS_LIKELY(rc == 0) ? 0
                                  : reader_callback_failed(
                                        r, frame, r->state->str_on_ws_frame);
    }
    PyObject *args[4] = {NULL, listener, (PyObject *)t, (PyObject *)frame};
    PyObject *result =
        PyObject_VectorcallMethod(r->state->str_on_ws_frame, args + 1,
                                  3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(listener);
    if (WS_UNLIKELY(result == NULL)) {
        return reader_callback_failed(r, frame, r->state->str_on_ws_frame);
    }
    Py_DECREF(result);
    return 0;
}

/* Whether |frame| is the answer to our ping: 1, and the package knows then; 0;
 * or -1 with an exception set. */
static int
reader_take_pong(WSReaderObject *r, WSFrameObject *frame)
{
    if (r->expects_pong == PYWS_PONG_OPCODE) {
        if (frame->opcode != WS_OP_PONG) {
            return 0;
        }
    }
    else {
        PyObject *name = r->state->str_is_user_specific_pong;
        PyObject *listener = Py_NewRef(r->listener);
        PyObject *args[3] = {NULL, listener, (PyObject *)frame};
        PyObject *result = PyObject_VectorcallMethod(
            name, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        Py_DECREF(listener);
        int is_pong = result == NULL ? -1 : PyObject_IsTrue(result);
        Py_XDECREF(result);
        if (is_pong <= 0) {
            return is_pong == 0                                 ? 0
                   : reader_callback_failed(r, frame, name) < 0 ? -1
                                                                : 1;
        }
    }
    return pyws_done(
               PyObject_CallMethod((PyObject *)r, "_pong_received", NULL)) < 0
               ? -1
               : 1;
}

/* A frame object that nobody else holds. */
static WSFrameObject *
reader_take_frame(WSReaderObject *r)
{
    WSFrameObject *frame = r->spare;
    if (frame == NULL) {
        return pyws_frame_new(r->state);
    }
    r->spare = NULL;
    return frame;
}

/* Keeps |frame|, which was delivered, for the next one unless the listener
 * keeps it. */
static void
reader_give_frame(WSReaderObject *r, WSFrameObject *frame)
{
    if (r->spare == NULL && pyws_is_unique((PyObject *)frame)) {
        pyws_frame_reset(frame);
        frame->text_failed = 0;
        r->spare = frame;
        return;
    }
    Py_DECREF(frame);
}

/* The peer broke a rule: nothing more is parsed or delivered, and the package
 * says goodbye with the code that fits. */
static int
reader_fail(WSReaderObject *r, int err)
{
    pyws_reader_discard(r);
    return pyws_done(PyObject_CallMethod((PyObject *)r, "_protocol_failed",
                                         "Is", ws_err_close_code(err),
                                         ws_err_text(err)));
}

static int
reader_note_close(WSReaderObject *r, const struct ws_close *close)
{
    return pyws_done(PyObject_CallMethod(
        (PyObject *)r, "_close_received", "Iz#", close->code,
        (const char *)close->reason, (Py_ssize_t)close->reason_len));
}

/* The peer's CLOSE, with |code|, was delivered: answers it where the listener
 * did not, and leaves the rest to the package. */
static int
reader_finish_close(WSReaderObject *r, WSTransportObject *t, unsigned code)
{
    /* 5.5.1: "If an endpoint receives a Close frame and did not previously
     * send a Close frame, the endpoint MUST send a Close frame in response.
     * (When sending a Close frame in response, the endpoint typically echos the
     * status code it received.)" */
    struct ws_close answer = {code, NULL, 0};
    if (pyws_transport_close(t, &answer) < 0) {
        return -1;
    }
    return pyws_done(
        PyObject_CallMethodNoArgs((PyObject *)r, r->state->str_close_complete));
}

/* Copies the payload of |head| from |received| to |to|, unmasked; both may be
 * the same.  The first r->checked bytes are unmasked already. */
static void
reader_unmask(WSReaderObject *r, const struct ws_conn *conn,
              const struct ws_head *head, const uint8_t *received, uint8_t *to)
{
    size_t done = r->checked, left = head->payload_len - done;

    if (done > 0 && to != received) {
        memcpy(to, received, done);
    }
    if (head->masked) {
        conn->mask(to + done, received + done, left, head->key, done & 3u);
    }
    else if (to != received) {
        memcpy(to + done, received + done, left);
    }
}

/* Shows |frame|, whose payload is set, to the listener. */
static int
reader_show(WSReaderObject *r, WSTransportObject *t, WSFrameObject *frame)
{
    frame->tail_size = ws_ring_len(&r->ring);
    frame->last_in_buffer = (uint8_t)reader_is_last(r, &t->conn);
    if (WS_UNLIKELY(r->expects_pong)) {
        int pong = reader_take_pong(r, frame);
        /* What was asked can have ended the connection. */
        if (pong != 0 || r->mode != PYWS_READ_FRAMES) {
            reader_give_frame(r, frame);
            return pong < 0 ? -1 : 0;
        }
    }
    int rc = reader_deliver(r, t, frame);
    reader_give_frame(r, frame);
    return rc;
}

/* ---- whole messages ---- */

/* Whether |head| is that of a message in one piece that needs no gathering. */
static int
reader_is_whole(const WSReaderObject *r, const struct ws_head *head)
{
    return head->fin && head->opcode != WS_OP_CONTINUATION &&
           !(r->deflate != NULL && (head->rsv & WS_BIT_RSV1));
}

/* Begins the message whose first frame has |head|, unless that was done when a
 * part of the frame was looked at. */
static void
reader_begin_message(WSReaderObject *r, const struct ws_head *head)
{
    if (head->opcode != WS_OP_CONTINUATION && r->checked == 0) {
        ws_message_begin(&r->message, head->opcode,
                         r->deflate != NULL && (head->rsv & WS_BIT_RSV1));
    }
}

/* Looks at a frame that is not complete: whether its message may be that long,
 * and whether what came of a text is one.  8.1 wants bytes that are no UTF-8 to
 * fail the connection, and the rest of the frame may never come. */
static int
reader_check_early(WSReaderObject *r, const struct ws_conn *conn)
{
    const struct ws_head *head = &r->parser.head;
    size_t have = ws_ring_len(&r->ring);

    if (!r->parser.have_head || ws_opcode_is_control(head->opcode)) {
        return 0;
    }
    reader_begin_message(r, head);
    if (r->message.compressed) {
        return 0;
    }
    if (head->payload_len > r->message.max - r->message.len) {
        return WS_ERR_MESSAGE_SIZE;
    }
    if (r->message.opcode != WS_OP_TEXT || have <= head->len + r->checked) {
        return 0;
    }
    have -= head->len;
    uint8_t *payload = ws_ring_peek(&r->ring) + head->len;
    size_t n = have - r->checked;
    if (head->masked) {
        conn->mask(payload + r->checked, payload + r->checked, n, head->key,
                   r->checked & 3u);
    }
    int err = ws_message_text(&r->message, payload + r->checked, n);
    r->checked = have;
    return err;
}

/* A message in one piece, unmasked at |payload|; |*ascii| says whether it is a
 * text of nothing but ASCII.  0 or WS_ERR_*. */
static int
reader_check_whole(WSReaderObject *r, const struct ws_head *head,
                   const uint8_t *payload, int *ascii)
{
    struct ws_message *m = &r->message;
    struct ws_block *none;
    size_t checked = r->checked, len;

    if (head->payload_len > m->max) {
        return WS_ERR_MESSAGE_SIZE;
    }
    if (head->opcode != WS_OP_TEXT) {
        r->checked = 0;
        return 0;
    }
    reader_begin_message(r, head);
    r->checked = 0;
    int err =
        ws_message_text(m, payload + checked, head->payload_len - checked);
    *ascii = !m->text.wide;
    return err != 0 ? err : ws_message_end(m, &none, &len);
}

/* Adds a frame's payload at |received| to the message.  0, WS_ERR_*, or
 * PYWS_RAISED. */
static int
reader_gather(WSReaderObject *r, const struct ws_conn *conn,
              const struct ws_head *head, const uint8_t *received)
{
    struct ws_message *m = &r->message;

    if (m->compressed) {
        struct pyws_masked in = {received, head->payload_len,
                                 head->masked ? head->key : NULL, conn->mask};
        return pyws_deflate_inflate(r->deflate, m, &in, head->fin);
    }
    uint8_t *room;
    int err = ws_message_room(m, head->payload_len, &room);
    if (err != 0) {
        return err;
    }
    reader_unmask(r, conn, head, received, room);
    return ws_message_commit(m, head->payload_len, r->checked);
}

/* The frame with the message that is complete; NULL with |*err| set: WS_ERR_*,
 * or PYWS_RAISED. */
static WSFrameObject *
reader_message_frame(WSReaderObject *r, int *err)
{
    unsigned opcode = r->message.opcode;
    int ascii = opcode == WS_OP_TEXT && !r->message.text.wide;
    struct ws_block *block = NULL;
    size_t len = 0;

    *err = ws_message_end(&r->message, &block, &len);
    if (*err != 0) {
        return NULL;
    }
    WSFrameObject *frame = reader_take_frame(r);
    if (frame == NULL) {
        ws_block_decref(block);
        *err = PYWS_RAISED;
        return NULL;
    }
    frame->payload = frame->bytes;
    if (len > PYWS_FRAME_INLINE) {
        frame->block = block;
        frame->payload = block->data;
    }
    else if (block != NULL) {
        memcpy(frame->bytes, block->data, len);
        ws_block_decref(block);
    }
    frame->payload_len = len;
    frame->opcode = (uint8_t)opcode;
    frame->fin = 1;
    frame->rsv = 0;
    frame->ascii = (uint8_t)ascii;
    return frame;
}

/* One frame of a message that is put together; its last one shows it. */
static int
reader_fragment(WSReaderObject *r, WSTransportObject *t,
                const struct ws_head *head)
{
    /* Inflating calls Python: the bytes must not move meanwhile. */
    struct ws_block *block = ws_ring_block(&r->ring);
    const uint8_t *received = ws_ring_peek(&r->ring) + head->len;
    WSFrameObject *frame = NULL;

    ws_block_incref(block);
    ws_ring_consume(&r->ring, head->len + head->payload_len);
    reader_begin_message(r, head);
    int err = reader_gather(r, &t->conn, head, received);
    r->checked = 0;
    ws_block_decref(block);
    if (r->mode != PYWS_READ_FRAMES) {
        return err == PYWS_RAISED ? -1 : 0; /* it was ended from inside */
    }
    if (err == 0 && head->fin) {
        frame = reader_message_frame(r, &err);
    }
    if (err == PYWS_RAISED || err == WS_ERR_NOMEM) {
        if (err == WS_ERR_NOMEM) {
            PyErr_NoMemory();
        }
        return -1;
    }
    if (err != 0) {
        /* The connection may take a while to end. */
        ws_message_drop(&r->message);
        return reader_fail(r, err);
    }
    return frame == NULL ? 0 : reader_show(r, t, frame);
}

/* ---- one frame ---- */

/* One parsed frame: |head|, its payload still masked at the ring's front.  The
 * caller holds |t|: a callback may end the connection. */
static int
reader_frame(WSReaderObject *r, WSTransportObject *t,
             const struct ws_head *head)
{
    struct ws_conn *conn = &t->conn;
    uint8_t *received = ws_ring_peek(&r->ring) + head->len;
    uint8_t answered[PYWS_FRAME_INLINE];
    uint8_t *payload = answered;
    size_t len = head->payload_len;
    WSFrameObject *frame = NULL;
    struct ws_close close = {0, NULL, 0};
    unsigned actions;

    t->stats.frames_received++;
    t->stats.messages_received +=
        head->fin && !ws_opcode_is_control(head->opcode);
    t->stats.bytes_received += head->len + len;
    int gathers = r->assembles && !ws_opcode_is_control(head->opcode);
    if (gathers && !reader_is_whole(r, head)) {
        return reader_fragment(r, t, head);
    }
    if (ws_conn_delivers(conn, head->opcode)) {
        frame = reader_take_frame(r);
        if (frame == NULL) {
            return -1;
        }
        payload = frame->bytes;
    }
    /* A short payload leaves the ring as it is unmasked; a long one stays and
     * is held. Control frames are always short. */
    if (len > PYWS_FRAME_INLINE) {
        WS_ASSERT(frame != NULL); /* what is not delivered is short */
        payload = received;
        frame->block = ws_ring_block(&r->ring);
        ws_block_incref(frame->block);
    }
    reader_unmask(r, conn, head, received, payload);
    ws_ring_consume(&r->ring, head->len + len);

    int ascii = 0;
    int err = gathers ? reader_check_whole(r, head, payload, &ascii) : 0;
    if (err == 0) {
        err = ws_conn_receive(conn, head, payload, &actions, &close);
    }
    if (err != 0) {
        Py_XDECREF(frame);
        return reader_fail(r, err);
    }
    int rc = 0;
    if (actions & WS_ACT_PONG) {
        rc = pyws_transport_pong(t, payload, len);
    }
    if (frame == NULL) {
        return rc;
    }
    frame->payload = payload;
    frame->payload_len = len;
    frame->opcode = head->opcode;
    frame->fin = head->fin;
    frame->rsv = head->rsv;
    /* Who has a view of the room that get_buffer() lent can still change it. */
    frame->ascii =
        ascii && (frame->block == NULL || !ws_block_is_lent(frame->block));
    if (WS_LIKELY(!(actions & WS_ACT_CLOSE))) {
        return reader_show(r, t, frame);
    }
    /* What follows a CLOSE is never delivered. */
    frame->tail_size = ws_ring_len(&r->ring);
    frame->last_in_buffer = 1;
    pyws_reader_discard(r);
    rc = reader_note_close(r, &close);
    /* (A nested event loop may have told of the loss already.) */
    if (rc == 0 && r->listener != NULL) {
        rc = reader_deliver(r, t, frame);
    }
    reader_give_frame(r, frame);
    return rc < 0 || r->transport == NULL
               ? rc
               : reader_finish_close(r, t, close.code);
}

static int
reader_frames(WSReaderObject *r, int *frames)
{
    WSTransportObject *t = (WSTransportObject *)Py_NewRef(r->transport);
    struct ws_head head;
    int rc = 0;

    while (rc == 0 && r->mode == PYWS_READ_FRAMES &&
           ws_ring_len(&r->ring) > 0) {
        if (r->paused || (frames != NULL && *frames <= 0)) {
            r->stopped = 1;
            break;
        }
        int found = reader_next(r, &head);
        if (found == 0) {
            int err = r->assembles ? reader_check_early(r, &t->conn) : 0;
            rc = err != 0 ? reader_fail(r, err) : 0;
            break;
        }
        if (frames != NULL) {
            --*frames;
        }
        rc = found < 0 ? reader_fail(r, found)
                       : pyws_transport_trace(t, 0, head.opcode, head.fin,
                                              head.rsv, head.payload_len);
        if (found > 0 && rc == 0 && r->mode == PYWS_READ_FRAMES) {
            t->coalescing = r->coalesces &&
                            ws_ring_len(&r->ring) > head.len + head.payload_len;
            rc = reader_frame(r, t, &head);
        }
    }
    if (pyws_transport_end_read(t) < 0) {
        rc = -1;
    }
    Py_DECREF(t);
    return rc;
}

/* ---- the parse loop ---- */

static int
reader_drop(WSReaderObject *r)
{
    size_t len = ws_ring_len(&r->ring);

    ws_ring_consume(&r->ring, len);
    if (len < r->discard_left) {
        r->discard_left -= len;
        return 0;
    }
    if (r->discard_left == 0) {
        return 0; /* it was told */
    }
    r->discard_left = 0;
    return pyws_done(PyObject_CallMethodNoArgs(
        (PyObject *)r, r->state->str_discard_exhausted));
}

int
pyws_reader_run(WSReaderObject *r, int *frames)
{
    int rc = 0;

    if (r->running) {
        return 0; /* the loop that is on the stack goes on with it */
    }
    /* A callback may drop every other reference. */
    Py_INCREF(r);
    r->running = 1;
    r->stopped = 0;
    if (r->mode == PYWS_READ_HEAD) {
        int64_t begun = frames == NULL ? 0 : ws_clock_us();
        rc = pyws_reader_head(r);
        if (frames != NULL) {
            pyws_budget_charge(frames, begun);
        }
    }
    if (rc == 0 && r->mode == PYWS_READ_FRAMES) {
        rc = reader_frames(r, frames);
    }
    r->running = 0;
    if (r->mode == PYWS_READ_DISCARD && ws_ring_len(&r->ring) > 0) {
        if (rc == 0) {
            rc = reader_drop(r);
        }
        else {
            ws_ring_consume(&r->ring, ws_ring_len(&r->ring));
        }
    }
    ws_ring_settle(&r->ring);
    Py_DECREF(r);
    return rc;
}

int
pyws_reader_room(WSReaderObject *r, size_t unread, uint8_t **ptr, size_t *len)
{
    /* A head needs no more than it has, and room for as much again. */
    size_t need = r->mode == PYWS_READ_FRAMES ? r->parser.need
                                              : 2 * ws_ring_len(&r->ring);
    size_t expected = ws_ring_expects(&r->ring);
    if (unread > expected) {
        unread = expected;
    }
    if (need < unread) {
        need = unread;
    }
    if (ws_ring_reserve(&r->ring, need, ptr, len) != 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

size_t
pyws_reader_wanted(const WSReaderObject *r)
{
    size_t have = ws_ring_len(&r->ring), block = r->ring.block_size;
    size_t need = r->mode == PYWS_READ_FRAMES ? r->parser.need : 0;

    if (need > block && need > have) {
        return need - have;
    }
    return have < block ? block - have : block;
}

static void
reader_commit(WSReaderObject *r, size_t n)
{
    ws_ring_commit(&r->ring, n);
    if (r->watches) {
        r->input++;
        r->input_ms = ws_clock_ms();
    }
}

int
pyws_reader_took(WSReaderObject *r, size_t n, int *frames)
{
    reader_commit(r, n);
    return pyws_reader_run(r, frames);
}

/* ---- room that is lent ---- */

void
pyws_reader_take_back(WSReaderObject *r)
{
    ws_block_decref(r->lent.block);
    r->lent.block = NULL;
}

int
pyws_reader_lend(WSReaderObject *r, uint8_t **ptr, size_t *len)
{
    pyws_reader_take_back(r);
    if (pyws_reader_room(r, 0, ptr, len) < 0) {
        return -1;
    }
    struct ws_block *block = ws_ring_block(&r->ring);
    ws_block_incref(block);
    r->lent = (struct pyws_lent){block, r->ring.w, *len};
    return 0;
}

int
pyws_reader_filled(WSReaderObject *r, size_t n)
{
    struct pyws_lent lent = r->lent;

    if (n == 0) {
        pyws_reader_take_back(r);
        return 0;
    }
    if (lent.block == NULL || n > lent.len) {
        pyws_raise_lent((Py_ssize_t)n, lent.block == NULL ? 0 : lent.len);
        return -1;
    }
    /* Every other way into the ring moves its end, or leaves the block. */
    int is_there =
        ws_ring_block(&r->ring) == lent.block && r->ring.w == lent.at;
    pyws_reader_take_back(r);
    if (!is_there) {
        pyws_raise_taken_back();
        return -1;
    }
    reader_commit(r, n);
    return 0;
}

/* ---- memory that is needed soon ---- */

void
pyws_reader_prefetch(const WSReaderObject *r)
{
    ws_prefetch(r, offsetof(WSReaderObject, ahead));
}

void
pyws_reader_prefetch_more(const WSReaderObject *r)
{
    if (r->transport != NULL) {
        pyws_transport_prefetch(r->transport);
    }
    if (r->spare != NULL) {
        ws_prefetch(r->spare, offsetof(WSFrameObject, bytes) + 64);
    }
    if (r->listener != NULL) {
        /* (What leads to an object's attributes may stand before it.) */
        ws_prefetch((const char *)r->listener - 4 * sizeof(void *),
                    6 * sizeof(void *));
    }
}
