#include "stream.h"

#ifdef WS_POLL_KIND

#  include "budget.h"
#  include "raise.h"
#  include "sockio.h"
#  include "tls.h"

/* ---- calls ---- */

int
pyws_stream_check(StreamObject *s, const char *method)
{
    if (WS_UNLIKELY(s->thread != PyThread_get_thread_ident())) {
        pyws_raise_thread("Transport", method, s->thread);
        return -1;
    }
    return 0;
}

/* ---- interest ---- */

int
pyws_stream_is_reading(const StreamObject *s)
{
    int wanted =
        (s->started || s->tls_handshaking) && !s->paused && !s->closing;
    return s->fd >= 0 && !s->eof_in && (wanted || s->tls_owes_end);
}

/* Whether what waits for the kernel is sent, and resume_writing() called, as
 * soon as it takes some: also from inside of a callback that runs a nested
 * event loop, but not where something is half encrypted. */
static int
stream_is_draining(const StreamObject *s)
{
    return s->out.len > 0 && s->write_error == 0 &&
           !(s->muted &&
             (s->writing || (s->tls != NULL && pyws_tls_is_busy(s->tls))));
}

int
pyws_stream_update(StreamObject *s)
{
    /* Whoever does not read still hears of a reset, once. */
    unsigned bits = WS_POLL_HUP;
    if (s->fd < 0 || s->slot == PYWS_NO_SLOT) {
        return 0;
    }
    if (s->lost_for != NULL) {
        return pyws_watch_bits(s->watch, s->slot,
                               s->muted ? WS_POLL_HUP : WS_POLL_OUT);
    }
    if (!s->muted && pyws_stream_is_reading(s)) {
        bits = WS_POLL_IN;
    }
    if (stream_is_draining(s)) {
        bits |= WS_POLL_OUT;
    }
    return pyws_watch_bits(s->watch, s->slot, bits);
}

/* Input waits in user space: the poller comes back without an event. */
int
pyws_stream_pend(StreamObject *s)
{
    return s->slot == PYWS_NO_SLOT ? 0 : pyws_watch_pend(s->watch, s->slot);
}

/* ---- out ---- */

static int
stream_watermark(StreamObject *s, const char *method)
{
    if (s->protocol == NULL) {
        return 0;
    }
    PyObject *protocol = Py_NewRef(s->protocol);
    PyObject *result = PyObject_CallMethod(protocol, method, NULL);
    Py_DECREF(protocol);
    if (result == NULL) {
        if (pyws_raised_exit()) {
            return -1;
        }
        pyws_stream_report(
            s, pyws_take_raised(),
            "protocol.pause_writing() or resume_writing() failed");
    }
    Py_XDECREF(result);
    return 0;
}

static int
stream_can_send(const StreamObject *s)
{
    return s->fd >= 0 && s->write_error == 0 && !s->eof_sent &&
           s->tls_failed == NULL;
}

size_t
pyws_stream_waiting(const StreamObject *s)
{
    return s->out.len + (stream_can_send(s) ? pyws_tls_waiting(s->tls) : 0);
}

/* What waits may have crossed the high watermark. */
int
pyws_stream_queued(StreamObject *s)
{
    if (pyws_stream_update(s) < 0) {
        return -1;
    }
    if (!s->protocol_paused && !s->writing &&
        pyws_stream_waiting(s) > s->high) {
        s->protocol_paused = 1;
        return stream_watermark(s, "pause_writing");
    }
    return 0;
}

int
pyws_stream_drained(StreamObject *s)
{
    if (s->protocol_paused && pyws_stream_waiting(s) <= s->low) {
        s->protocol_paused = 0;
        return stream_watermark(s, "resume_writing");
    }
    return 0;
}

/* Nothing can be sent any more.  What the peer sent before it went is still
 * delivered: the loss is found by reading. */
static int
stream_write_failed(StreamObject *s, int error)
{
    s->write_error = error;
    s->tls_owes_end = 0;
    ws_queue_free(&s->out);
    if (pyws_stream_update(s) < 0) {
        return -1;
    }
    return pyws_stream_pend(s);
}

/* Sends |n| bytes at |p| as they are, or queues them. */
int
pyws_stream_send_raw(StreamObject *s, const uint8_t *p, size_t n)
{
    if (!stream_can_send(s)) {
        return 0;
    }
    if (s->out.len == 0) {
        ptrdiff_t took = ws_sock_send(s->fd, p, n);
        if (took < 0 && !ws_sock_would_block(took)) {
            return stream_write_failed(s, (int)-took);
        }
        if (took > 0) {
            p += took;
            n -= (size_t)took;
        }
        if (n == 0) {
            return 0;
        }
    }
    if (ws_queue_append(&s->out, p, n) != 0) {
        PyErr_NoMemory();
        return -1;
    }
    return pyws_stream_queued(s);
}

/* The io of a WSTransport: one frame. */
static int
stream_send(struct pyws_way *way, const struct pyws_out *out)
{
    StreamObject *s = (StreamObject *)way->target;
    size_t total = pyws_out_len(out), sent = 0;

    if (!stream_can_send(s) || s->eof_out || s->closing) {
        return 0;
    }
    if (s->tls != NULL) {
        return pyws_stream_send_tls(s, out);
    }
    if (s->out.len == 0) {
        int rc = pyws_out_send(s->state, s->fd, out, &sent);
        if (rc < 0) {
            return stream_write_failed(s, -rc);
        }
    }
    while (sent < total) {
        uint8_t *room;
        size_t n;
        if (ws_queue_room(&s->out, total - sent, &room, &n) != 0) {
            PyErr_NoMemory();
            return -1;
        }
        pyws_out_copy(out, sent, room, n);
        ws_queue_commit(&s->out, n);
        sent += n;
    }
    return s->out.len > 0 ? pyws_stream_queued(s) : 0;
}

static Py_ssize_t
stream_waiting(struct pyws_way *way)
{
    return (Py_ssize_t)pyws_stream_waiting((StreamObject *)way->target);
}

const struct pyws_io pyws_stream_io = {
    .send = stream_send,
    .waiting = stream_waiting,
};

int
pyws_stream_flushed(StreamObject *s)
{
    if (s->tls_owes_end) {
        return 0;
    }
    if (s->eof_out && !s->eof_sent && s->fd >= 0) {
        s->eof_sent = 1;
        /* With TLS close_notify has said it. A FIN behind it makes some peers
         * drop what they have not decrypted yet; they answer with their own
         * end, and ours follows. */
        int rc = s->tls != NULL ? 0 : ws_sock_end_writing(s->fd);
        if (rc < 0) {
            return pyws_stream_lost_errno(s, -rc);
        }
    }
    return s->closing ? pyws_stream_lost(s, Py_None) : 0;
}

static int
stream_writable(StreamObject *s)
{
    struct ws_queue_span spans[WS_SOCK_SPANS];

    while (s->out.len > 0 && s->fd >= 0) {
        size_t count = ws_queue_peek(&s->out, spans, WS_SOCK_SPANS);
        ptrdiff_t took = ws_sock_sendv(s->fd, spans, count);
        if (took < 0) {
            if (ws_sock_would_block(took)) {
                break;
            }
            return stream_write_failed(s, (int)-took);
        }
        ws_queue_consume(&s->out, (size_t)took);
    }
    if (pyws_stream_update(s) < 0) {
        return -1;
    }
    if (pyws_stream_drained(s) < 0) {
        return -1;
    }
    return s->out.len == 0 ? pyws_stream_flushed(s) : 0;
}

/* ---- closing ---- */

int
pyws_stream_write_eof(StreamObject *s)
{
    if (s->eof_out || s->closing || s->fd < 0) {
        return 0;
    }
    if (s->tls != NULL && pyws_stream_end_tls(s) < 0) {
        return -1;
    }
    s->eof_out = 1;
    if (s->tls != NULL && s->fd >= 0 && pyws_stream_await_tls_end(s) < 0) {
        return -1;
    }
    return s->out.len == 0 ? pyws_stream_flushed(s) : 0;
}

int
pyws_stream_close(StreamObject *s)
{
    if (s->closing || s->fd < 0) {
        return 0;
    }
    if (s->tls != NULL && pyws_stream_end_tls(s) < 0) {
        return -1;
    }
    s->closing = 1;
    if (s->out.len == 0 && !s->tls_owes_end) {
        return pyws_stream_lost(s, Py_None);
    }
    if (s->tls != NULL && pyws_stream_await_tls_end(s) < 0) {
        return -1;
    }
    return pyws_stream_update(s);
}

/* ---- in ---- */

/* The peer sent the end of its side. */
int
pyws_stream_eof(StreamObject *s)
{
    int keep = 0;

    s->eof_in = 1;
    s->tls_owes_end = 0; /* nothing can be encrypted any more */
    if (s->tls_handshaking || s->closing) {
        return pyws_stream_lost(s, Py_None);
    }
    if (s->write_error != 0) {
        return pyws_stream_lost_errno(s, s->write_error);
    }
    PyObject *protocol = Py_XNewRef(s->protocol);
    PyObject *result =
        protocol == NULL ? Py_NewRef(Py_None)
                         : PyObject_CallMethod(protocol, "eof_received", NULL);
    Py_XDECREF(protocol);
    if (result == NULL) {
        return -1;
    }
    /* TLS cannot go on in one direction (asyncio says the same). */
    keep = s->tls != NULL ? 0 : PyObject_IsTrue(result);
    Py_DECREF(result);
    if (keep < 0) {
        return -1;
    }
    return keep ? pyws_stream_update(s) : pyws_stream_close(s);
}

/* recv() had nothing or failed. */
int
pyws_stream_no_input(StreamObject *s, ptrdiff_t result)
{
    if (result == 0) {
        return pyws_stream_eof(s);
    }
    if (!ws_sock_would_block(result)) {
        return pyws_stream_lost_errno(s, (int)-result);
    }
    /* Nothing more will come to explain why sending failed. */
    return s->write_error == 0 ? 0 : pyws_stream_lost_errno(s, s->write_error);
}

/* Gives |n| bytes to a protocol that is not ours. */
int
pyws_stream_give(StreamObject *s, const uint8_t *p, size_t n)
{
    if (s->protocol == NULL) {
        return 0;
    }
    PyObject *protocol = Py_NewRef(s->protocol);
    PyObject *result = PyObject_CallMethod(protocol, "data_received", "y#",
                                           (const char *)p, (Py_ssize_t)n);
    Py_DECREF(protocol);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* A block to receive into where the bytes do not go straight to a ring. */
static struct ws_block *
stream_scratch(StreamObject *s)
{
    struct ws_block *b = pyws_scratch_take(s->state, WS_BLOCK_SIZE_MAX);
    if (b == NULL) {
        PyErr_NoMemory();
    }
    return b;
}

static int
stream_read_plain(StreamObject *s, struct pyws_budget *budget, int *got)
{
    uint8_t *room;
    size_t len;
    ptrdiff_t n;
    int rc = 0;

    if (s->reader != NULL) {
        size_t unread =
            pyws_reader_expects(s->reader) ? ws_sock_unread(s->fd) : 0;
        if (pyws_reader_room(s->reader, unread, &room, &len) < 0) {
            return -1;
        }
        n = ws_sock_recv(s->fd, room, len);
        if (n > 0) {
            *got = 1;
            budget->bytes -= n;
            return pyws_reader_took(s->reader, (size_t)n, &budget->share);
        }
        pyws_reader_leave(s->reader);
        return pyws_stream_no_input(s, n);
    }
    struct ws_block *b = stream_scratch(s);
    if (b == NULL) {
        return -1;
    }
    n = ws_sock_recv(s->fd, b->data, b->cap);
    if (n > 0) {
        *got = 1;
        budget->bytes -= n;
        rc = pyws_stream_give(s, b->data, (size_t)n);
    }
    pyws_scratch_give(s->state, b);
    return n > 0 ? rc : pyws_stream_no_input(s, n);
}

/* Whether the parse loop would take more of it. */
int
pyws_stream_wants_input(const StreamObject *s)
{
    return pyws_stream_is_reading(s) &&
           (s->tls_owes_end || s->reader == NULL || !s->reader->stopped);
}

/* What lies in user space first, in its order; then one read from the socket.
 */
static int
stream_readable(StreamObject *s, struct pyws_budget *budget, int from_socket,
                int *got)
{
    if (!s->closing && s->reader != NULL && s->reader->stopped &&
        pyws_reader_run(s->reader, &budget->share) < 0) {
        return -1;
    }
    if (s->tls_left && pyws_stream_wants_input(s) &&
        pyws_stream_pump_tls(s, budget) < 0) {
        return -1;
    }
    /* Where sending failed, the socket is asked until it says why.  What there
     * is no time for is reported again. */
    if (!pyws_stream_wants_input(s) || budget->share <= 0 ||
        !(from_socket || s->write_error != 0)) {
        return 0;
    }
    return s->tls != NULL ? pyws_stream_read_tls(s, budget, got)
                          : stream_read_plain(s, budget, got);
}

/* An error came while nothing is read.  What arrived before a reset can still
 * be read: where reading is only paused it waits for resume_reading(), behind
 * which the error comes again.  With nothing to wait for the end is told at
 * once. */
static int
stream_error_unread(StreamObject *s)
{
    int waits = s->paused && !s->closing && !s->eof_in && s->started;

    if (waits && (s->tls_left || (s->reader != NULL && s->reader->stopped))) {
        return 0; /* asking the socket would take the error from it */
    }
    ptrdiff_t n = ws_sock_peek(s->fd);
    if (waits && n > 0) {
        return 0;
    }
    int error = n < 0 && !ws_sock_would_block(n) ? (int)-n : s->write_error;
    if (error == 0) {
        error = ws_sock_error(s->fd);
    }
    return pyws_stream_lost_errno(s, error != 0 ? error : ECONNRESET);
}

/* Everything for one event, in the connection's context. */
static int
stream_serve_inside(StreamObject *s, unsigned bits, struct pyws_budget *budget,
                    int *got)
{
    if (s->tls_retries && pyws_stream_retry_tls(s) < 0) {
        return -1;
    }
    if ((bits & WS_POLL_OUT) && s->out.len > 0 && stream_writable(s) < 0) {
        return -1;
    }
    if (s->fd < 0) {
        return 0;
    }
    if (!pyws_stream_is_reading(s)) {
        return (bits & WS_POLL_ERR) || s->write_error != 0
                   ? stream_error_unread(s)
                   : 0;
    }
    return stream_readable(s, budget, (bits & (WS_POLL_IN | WS_POLL_HUP)) != 0,
                           got);
}

/* Whether input is left that the kernel cannot see. */
static int
stream_has_more(const StreamObject *s)
{
    int has_frames =
        !s->closing && s->reader != NULL && pyws_reader_has_work(s->reader);
    return s->fd >= 0 && (s->tls_retries ||
                          (pyws_stream_is_reading(s) &&
                           (has_frames || s->tls_left || s->write_error != 0)));
}

/* Events that came from a nested event loop are asked for again; an edge is not
 * reported twice. */
static int
stream_unmute(StreamObject *s)
{
    unsigned missed = s->missed;

    s->muted = s->missed = 0;
    if (missed != 0 && s->slot != PYWS_NO_SLOT) {
        pyws_watch_carry(s->watch, pyws_watch_token(s->watch, s->slot), missed);
    }
    return pyws_stream_update(s);
}

int
pyws_stream_is_busy(const StreamObject *s)
{
    return s->serving || s->writing ||
           (s->tls != NULL && pyws_tls_is_busy(s->tls));
}

int
pyws_stream_serve_busy(StreamObject *s, unsigned bits)
{
    int rc = 0;

    s->muted = 1;
    s->missed |= bits & (WS_POLL_HUP | WS_POLL_ERR);
    if ((bits & WS_POLL_OUT) && s->lost_for == NULL && stream_is_draining(s)) {
        Py_INCREF(s);
        PyObject *context = pyws_stream_enter(s);
        if (context == NULL) {
            rc = -1;
        }
        else {
            rc = stream_writable(s);
            pyws_stream_leave(s, context);
        }
        if (rc < 0) {
            rc = pyws_stream_fatal(s, "Fatal error on a transport of picows_c");
        }
        Py_DECREF(s);
        return rc;
    }
    return pyws_stream_update(s);
}

/* Ends a call that gave |rc|, and in which the stream was muted.  Who cannot be
 * watched any more is lost. */
static int
stream_come_back(StreamObject *s, int rc)
{
    PyObject *raised = rc < 0 ? pyws_take_raised() : NULL;

    if (stream_unmute(s) < 0 &&
        pyws_stream_fatal(s, "Fatal error on a transport of picows_c") < 0) {
        rc = -1;
        if (raised != NULL) {
            PyErr_WriteUnraisable((PyObject *)s);
        }
    }
    pyws_raise_again(raised);
    return rc;
}

int
pyws_stream_back(StreamObject *s)
{
    if (WS_LIKELY(!s->muted) || pyws_stream_is_busy(s)) {
        return 0;
    }
    if (stream_unmute(s) < 0) {
        return -1;
    }
    return stream_has_more(s) ? pyws_stream_pend(s) : 0;
}

int
pyws_stream_serve(StreamObject *s, unsigned bits, struct pyws_budget *budget,
                  int *got)
{
    int rc;

    if (s->lost_for != NULL) {
        return pyws_stream_lost(s, Py_None);
    }
    Py_INCREF(s);
    s->serving = 1;
    PyObject *context = pyws_stream_enter(s);
    if (context == NULL) {
        rc = pyws_stream_fatal(s, "the connection's context cannot be entered");
    }
    else {
        rc = stream_serve_inside(s, bits, budget, got);
        if (rc < 0) {
            rc = pyws_stream_fatal(s, "Fatal error on a transport of picows_c");
        }
        pyws_stream_leave(s, context);
    }
    s->serving = 0;
    /* (To report an error, and to drop a context, is Python's, too.) */
    if (WS_UNLIKELY(s->muted)) {
        rc = stream_come_back(s, rc);
    }
    if (rc == 0) {
        rc = stream_has_more(s);
    }
    Py_DECREF(s);
    return rc;
}

#else
typedef int pyws_stream_is_empty;
#endif
