/* stream_tls.c - a stream's bytes on their way through its TLS filter. */
#include "stream.h"

#ifdef WS_POLL_KIND

#  include "budget.h"
#  include "raise.h"
#  include "sockio.h"
#  include "tls.h"

/* Frames up to this size are put together on the stack for encrypting. */
#  define STREAM_SHORT 8192

/* So much of a longer one is encrypted and sent at once: what a block holds
 * with the heads and tails of its records. */
#  define STREAM_RECORDS (3 * PYWS_TLS_RECORD)

/* ---- out ---- */

/* Sends the ciphertext that the filter has ready.  (Who is inside of it does
 * that when it comes out.) */
static int
stream_flush_tls(StreamObject *s)
{
    const uint8_t *p;
    size_t n;

    if (s->tls == NULL || pyws_tls_is_busy(s->tls)) {
        return 0;
    }
    if (pyws_tls_take(s->tls, &p, &n) < 0) {
        return -1;
    }
    /* Python runs behind the last look at |p|: it may write and flush. */
    int rc = n == 0 ? 0 : pyws_stream_send_raw(s, p, n);
    if (s->tls != NULL) {
        pyws_tls_taken(s->tls);
    }
    return rc;
}

/* Encrypts and sends. */
static int
stream_encrypt(StreamObject *s, const uint8_t *p, size_t n)
{
    return pyws_tls_write(s->tls, p, n) < 0 ? -1 : stream_flush_tls(s);
}

static int
stream_encrypt_short(StreamObject *s, const struct pyws_out *out, size_t total)
{
    uint8_t frame[STREAM_SHORT];

    pyws_out_copy(out, 0, frame, total);
    return stream_encrypt(s, frame, total);
}

/* A frame that is put together piece by piece. */
static int
stream_encrypt_long(StreamObject *s, const struct pyws_out *out, size_t total)
{
    int rc = 0;

    struct ws_block *b = pyws_scratch_take(s->state, WS_BLOCK_SIZE_MAX);
    if (b == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t done = 0, n; rc == 0 && done < total; done += n) {
        n = total - done < STREAM_RECORDS ? total - done : STREAM_RECORDS;
        pyws_out_copy(out, done, b->data, n);
        rc = stream_encrypt(s, b->data, n);
    }
    pyws_scratch_give(s->state, b);
    return rc;
}

/* Something was written from inside of the filter, by what that calls: it waits
 * until the call is over, and a whole frame that may be half encrypted. */
static int
stream_defer(StreamObject *s, PyObject *bytes)
{
    int rc = bytes == NULL ? -1 : pyws_tls_defer(s->tls, bytes);
    Py_XDECREF(bytes);
    if (rc < 0) {
        return -1;
    }
    s->tls_retries = 1;
    return pyws_stream_pend(s) < 0 ? -1 : pyws_stream_queued(s);
}

int
pyws_stream_retry_tls(StreamObject *s)
{
    if (s->tls == NULL || pyws_tls_is_busy(s->tls)) {
        return 0;
    }
    s->tls_retries = 0;
    if (pyws_tls_retry(s->tls) < 0 || stream_flush_tls(s) < 0) {
        return -1;
    }
    return pyws_stream_drained(s);
}

/* What was written from inside of the filter comes before what is written now.
 * (What follows on it is done when the stream is served.) */
static int
stream_catch_up_tls(StreamObject *s)
{
    return WS_UNLIKELY(s->tls_retries) ? pyws_tls_retry(s->tls) : 0;
}

/* Ends a call into the filter that gave |rc|.  Where the connection was lost
 * inside of it nothing is sent, which is no error of the caller's. */
static int
stream_left_tls(StreamObject *s, int rc)
{
    if (rc < 0 && s->tls == NULL &&
        PyErr_ExceptionMatches(PyExc_ConnectionResetError)) {
        PyErr_Clear();
        return 0;
    }
    PyObject *raised = rc < 0 ? pyws_take_raised() : NULL;
    if (pyws_stream_back(s) < 0) {
        rc = -1;
        if (raised != NULL) {
            PyErr_WriteUnraisable((PyObject *)s);
        }
    }
    pyws_raise_again(raised);
    return rc < 0 ? -1 : 0;
}

/* Ends a write that gave |rc|. */
static int
stream_wrote_tls(StreamObject *s, int rc)
{
    s->writing = 0;
    rc = stream_left_tls(s, rc);
    return rc == 0 && pyws_stream_waiting(s) > 0 ? pyws_stream_queued(s) : rc;
}

int
pyws_stream_send_tls(StreamObject *s, const struct pyws_out *out)
{
    size_t total = pyws_out_len(out);

    if (WS_UNLIKELY(pyws_tls_is_busy(s->tls))) {
        PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)total);
        if (bytes != NULL) {
            pyws_out_copy(out, 0, (uint8_t *)PyBytes_AS_STRING(bytes), total);
        }
        return stream_defer(s, bytes);
    }
    /* pause_writing() may send or close: the whole frame comes first. */
    s->writing = 1;
    int rc = stream_catch_up_tls(s);
    if (rc == 0) {
        rc = total <= STREAM_SHORT ? stream_encrypt_short(s, out, total)
                                   : stream_encrypt_long(s, out, total);
    }
    return stream_wrote_tls(s, rc);
}

int
pyws_stream_write_tls(StreamObject *s, const uint8_t *p, size_t n)
{
    if (s->tls_failed != NULL) {
        return 0;
    }
    if (pyws_tls_is_busy(s->tls)) {
        return n == 0 ? 0
                      : stream_defer(s, PyBytes_FromStringAndSize(
                                            (const char *)p, (Py_ssize_t)n));
    }
    s->writing = 1;
    int rc = stream_catch_up_tls(s);
    while (rc == 0 && n > 0) {
        size_t part = n < STREAM_RECORDS ? n : STREAM_RECORDS;
        rc = stream_encrypt(s, p, part);
        p += part;
        n -= part;
    }
    return stream_wrote_tls(s, rc);
}

/* ---- the end ---- */

/* Says the end to the peer's TLS.  From inside of the filter, and in a new
 * handshake that the peer asked for, neither what waits nor close_notify can be
 * encrypted: it is owed then. */
int
pyws_stream_end_tls(StreamObject *s)
{
    int waits = pyws_tls_is_busy(s->tls) || pyws_tls_waiting(s->tls) > 0;

    if (s->tls_handshaking || s->eof_out || s->write_error != 0 ||
        s->tls_failed != NULL || (waits && s->eof_in)) {
        return 0;
    }
    if (waits) {
        s->tls_owes_end = 1;
        /* The input for it may be here already. */
        s->tls_left = 1;
        return pyws_stream_update(s) < 0 ? -1 : pyws_stream_pend(s);
    }
    int rc = pyws_tls_end(s->tls) < 0 ? -1 : stream_flush_tls(s);
    return stream_left_tls(s, rc);
}

/* What waited is encrypted: close_notify and the end, which were owed. */
static int
stream_pay_end_tls(StreamObject *s)
{
    s->tls_owes_end = 0;
    if (pyws_tls_end(s->tls) < 0 || stream_flush_tls(s) < 0 ||
        pyws_stream_update(s) < 0) {
        return -1;
    }
    return s->out.len == 0 ? pyws_stream_flushed(s) : 0;
}

/* The end of TLS is to come: the package gives it only so much time. */
int
pyws_stream_await_tls_end(StreamObject *s)
{
    PyObject *result = PyObject_CallMethod((PyObject *)s, "_tls_ending", "O",
                                           s->loop == NULL ? Py_None : s->loop);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* ---- in ---- */

/* Decrypts once, straight into the ring. */
static enum pyws_tls_result
stream_decrypt_frames(StreamObject *s, WSReaderObject *reader)
{
    uint8_t *room;
    size_t len, n = 0;

    if (pyws_reader_lend(reader, &room, &len) < 0) {
        return PYWS_TLS_ERROR;
    }
    /* An object's read() gets the room through the reader's buffer protocol: it
     * may keep a view.  And whatever is called may end the connection. */
    struct ws_block *block = reader->lent.block;
    ws_block_lend(block);
    reader->decrypting = 1;
    enum pyws_tls_result rc =
        pyws_tls_read(s->tls, (PyObject *)reader, room, len, &n);
    reader->decrypting = 0;
    /* (The call can have asked for other room, which has not been filled.) */
    int is_there =
        reader->lent.block == block && block->data + reader->lent.at == room;
    ws_block_unlend(block);
    ws_block_decref(block);
    if (rc == PYWS_TLS_DONE && s->fd < 0) {
        rc = PYWS_TLS_AGAIN; /* nobody is there for it any more */
    }
    if (rc != PYWS_TLS_DONE) {
        pyws_reader_take_back(reader);
    }
    else if (!is_there) {
        (void)pyws_raise_taken_back();
        rc = PYWS_TLS_ERROR;
    }
    else if (pyws_reader_filled(reader, n) < 0) {
        rc = PYWS_TLS_ERROR;
    }
    return rc;
}

/* Decrypts all that is there for the reader, before it looks at any of it: what
 * a frame says of those behind it is said of all that has been received. */
static enum pyws_tls_result
stream_fill_reader(StreamObject *s, WSReaderObject *reader)
{
    enum pyws_tls_result rc = PYWS_TLS_DONE;

    while (rc == PYWS_TLS_DONE && s->reader == reader &&
           pyws_stream_wants_input(s) && !s->tls_owes_end) {
        rc = pyws_tls_ready(s->tls);
        if (rc == PYWS_TLS_DONE) {
            rc = stream_decrypt_frames(s, reader);
        }
    }
    return rc;
}

/* Decrypts once for a protocol that is not ours, or for nobody. */
static enum pyws_tls_result
stream_decrypt_data(StreamObject *s, int gives)
{
    enum pyws_tls_result rc = pyws_tls_ready(s->tls);
    size_t n = 0;

    if (rc != PYWS_TLS_DONE) {
        return rc;
    }
    PyObject *into = PyByteArray_FromStringAndSize(NULL, PYWS_TLS_RECORD);
    if (into == NULL) {
        return PYWS_TLS_ERROR;
    }
    rc = pyws_tls_read(s->tls, into, (uint8_t *)PyByteArray_AS_STRING(into),
                       PYWS_TLS_RECORD, &n);
    if (rc == PYWS_TLS_DONE && (size_t)PyByteArray_GET_SIZE(into) < n) {
        PyErr_SetString(PyExc_ValueError,
                        "SSLObject.read() made its buffer smaller");
        rc = PYWS_TLS_ERROR;
    }
    if (rc == PYWS_TLS_DONE && gives &&
        pyws_stream_give(s, (const uint8_t *)PyByteArray_AS_STRING(into), n) <
            0) {
        rc = PYWS_TLS_ERROR;
    }
    Py_DECREF(into);
    return rc;
}

/* An exception ends the connection: the alert says to the peer what we found.
 * -1, with the exception set as before. */
static int
stream_send_alert(StreamObject *s)
{
    PyObject *raised = pyws_take_raised();
    if (stream_flush_tls(s) < 0) {
        PyErr_Clear();
    }
    pyws_raise_again(raised);
    return -1;
}

/* The handshake goes on; 1 when it is done, 0 while it waits. */
static int
stream_handshake(StreamObject *s)
{
    enum pyws_tls_result rc = pyws_tls_handshake(s->tls);
    if (rc == PYWS_TLS_ERROR) {
        return stream_send_alert(s);
    }
    /* Its input may be what a lower filter needed to encrypt again. */
    if (pyws_tls_retry(s->tls) < 0 || stream_flush_tls(s) < 0) {
        return -1;
    }
    if (rc == PYWS_TLS_END) {
        return pyws_stream_lost(s, Py_None);
    }
    if (rc != PYWS_TLS_DONE || s->fd < 0 || s->tls == NULL) {
        return 0;
    }
    s->tls_handshaking = 0;
    if (pyws_stream_update(s) < 0) {
        return -1;
    }
    PyObject *done = s->tls_done;
    s->tls_done = NULL;
    PyObject *result = PyObject_CallFunctionObjArgs(done, Py_None, NULL);
    Py_DECREF(done);
    Py_XDECREF(result);
    return result == NULL ? -1 : 1;
}

/* Behind our close_notify no data is wanted, but the peer's end is. */
static int
stream_is_over_tls(const StreamObject *s)
{
    return s->eof_out && !s->tls_owes_end;
}

/* Waits for the peer's close_notify: both have said that they are done then. */
static int
stream_drain_tls(StreamObject *s)
{
    enum pyws_tls_result rc = PYWS_TLS_DONE;

    while (rc == PYWS_TLS_DONE && s->fd >= 0 && s->tls != NULL &&
           !s->tls_deaf) {
        rc = stream_decrypt_data(s, 0);
    }
    if (rc == PYWS_TLS_ERROR) {
        /* Some OpenSSLs decrypt no data behind close_notify.  What comes is
         * thrown away as it is, until the peer's FIN. */
        if (!PyErr_ExceptionMatches(PyExc_OSError)) {
            return -1;
        }
        PyErr_Clear();
        s->tls_deaf = 1;
    }
    return rc == PYWS_TLS_END && s->fd >= 0 ? pyws_stream_eof(s) : 0;
}

/* What stopped decrypting, once no frame before it waits, and nobody has asked
 * to hear nothing meanwhile. */
static int
stream_finish_tls(StreamObject *s)
{
    int waits =
        s->paused ? !s->tls_owes_end : s->reader != NULL && s->reader->stopped;
    if (waits && !s->closing) {
        s->tls_left = 1;
        return 0;
    }
    if (s->tls_failed != NULL) {
        PyObject *raised = s->tls_failed;
        s->tls_failed = NULL;
        pyws_raise_again(raised);
        return -1;
    }
    return s->fd >= 0 ? pyws_stream_eof(s) : 0;
}

/* Notes why decrypting stopped; an exception of OpenSSL's is told behind the
 * frames before it, the alert is not.  0, or -1 with an exception set. */
static int
stream_note_tls(StreamObject *s, enum pyws_tls_result rc)
{
    if (rc == PYWS_TLS_END) {
        s->tls_ended = 1;
    }
    if (rc != PYWS_TLS_ERROR) {
        return 0;
    }
    if (pyws_raised_exit() || s->tls == NULL || s->reader == NULL ||
        !pyws_reader_has_input(s->reader)) {
        return stream_send_alert(s);
    }
    (void)stream_send_alert(s);
    s->tls_failed = pyws_take_raised();
    return 0;
}

/* Decrypts what is there and gives it to whoever wants it.  0, or -1 with an
 * exception set. */
static int
stream_deliver_tls(StreamObject *s, struct pyws_budget *budget)
{
    enum pyws_tls_result rc = PYWS_TLS_DONE;

    if (s->reader != NULL && !s->tls_owes_end) {
        WSReaderObject *reader = (WSReaderObject *)Py_NewRef(s->reader);
        reader->ring.slack = 2 * PYWS_TLS_RECORD;
        rc = stream_fill_reader(s, reader);
        int failed = stream_note_tls(s, rc) < 0;
        if (!failed && s->reader == reader) {
            failed = pyws_reader_run(reader, &budget->share) < 0;
        }
        Py_DECREF(reader);
        if (failed) {
            return -1;
        }
    }
    else {
        while (rc == PYWS_TLS_DONE && pyws_stream_wants_input(s) &&
               (s->reader == NULL || s->tls_owes_end) &&
               !stream_is_over_tls(s)) {
            rc = stream_decrypt_data(s, !s->tls_owes_end);
        }
        if (stream_note_tls(s, rc) < 0) {
            return -1;
        }
    }
    s->tls_left |= rc == PYWS_TLS_DONE;
    return 0;
}

int
pyws_stream_pump_tls(StreamObject *s, struct pyws_budget *budget)
{
    if (pyws_tls_is_busy(s->tls)) {
        return 0; /* who is inside goes on with it */
    }
    s->tls_left = 0;
    if (s->tls_handshaking) {
        int64_t begun = ws_clock_us();
        int done = stream_handshake(s);
        pyws_budget_charge(&budget->share, begun);
        if (done <= 0) {
            return done;
        }
    }
    if (s->fd < 0 || s->tls == NULL) {
        return 0;
    }
    if (s->tls_ended || s->tls_failed != NULL) {
        return stream_finish_tls(s);
    }
    if (stream_is_over_tls(s)) {
        return stream_drain_tls(s);
    }
    if (!pyws_stream_wants_input(s)) {
        s->tls_left = 1;
    }
    else if (stream_deliver_tls(s, budget) < 0) {
        return -1;
    }
    if (s->fd < 0 || s->tls == NULL) {
        return 0;
    }
    /* Reading makes answers of its own: key updates, alerts. */
    if (pyws_stream_retry_tls(s) < 0) {
        return -1;
    }
    if (s->fd < 0 || s->tls == NULL) {
        return 0;
    }
    if (s->tls_owes_end && pyws_tls_waiting(s->tls) == 0) {
        return stream_pay_end_tls(s);
    }
    return s->tls_ended || s->tls_failed != NULL ? stream_finish_tls(s) : 0;
}

/* How much of |len| bytes of ciphertext to read: what the reader can take
 * behind what it has, so that nothing is moved; a record at least. */
static size_t
stream_worth_tls(const StreamObject *s, size_t len)
{
    size_t most = PYWS_TLS_RECORD + 256;
    if (s->reader == NULL) {
        return len;
    }
    size_t wanted = pyws_reader_wanted(s->reader);
    if (most < wanted) {
        most = wanted;
    }
    return len < most ? len : most;
}

int
pyws_stream_read_tls(StreamObject *s, struct pyws_budget *budget, int *got)
{
    uint8_t *room;
    size_t len;

    if (pyws_tls_is_busy(s->tls)) {
        return 0;
    }
    if (pyws_tls_room(s->tls, &room, &len) < 0) {
        return -1;
    }
    ptrdiff_t n = ws_sock_recv(s->fd, room, stream_worth_tls(s, len));
    if (n <= 0 || s->tls_deaf) {
        pyws_tls_leave(s->tls);
    }
    if (n <= 0) {
        return pyws_stream_no_input(s, n);
    }
    *got = 1;
    budget->bytes -= n;
    if (s->tls_deaf) {
        return 0;
    }
    return pyws_tls_took(s->tls, (size_t)n) < 0
               ? -1
               : pyws_stream_pump_tls(s, budget);
}

#else
typedef int pyws_stream_tls_is_empty;
#endif
