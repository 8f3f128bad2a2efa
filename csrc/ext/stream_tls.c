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

/* Sends the ciphertext that the filter has ready. */
static int
stream_flush_tls(StreamObject *s)
{
    const uint8_t *p;
    size_t n;

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

int
pyws_stream_send_tls(StreamObject *s, const struct pyws_out *out)
{
    size_t total = pyws_out_len(out);

    /* pause_writing() may send or close: the whole frame comes first. */
    s->writing = 1;
    int rc = total <= STREAM_SHORT ? stream_encrypt_short(s, out, total)
                                   : stream_encrypt_long(s, out, total);
    s->writing = 0;
    return rc == 0 && pyws_stream_waiting(s) > 0 ? pyws_stream_queued(s) : rc;
}

int
pyws_stream_write_tls(StreamObject *s, const uint8_t *p, size_t n)
{
    int rc = 0;

    s->writing = 1;
    while (rc == 0 && n > 0) {
        size_t part = n < STREAM_RECORDS ? n : STREAM_RECORDS;
        rc = stream_encrypt(s, p, part);
        p += part;
        n -= part;
    }
    s->writing = 0;
    return rc == 0 && pyws_stream_waiting(s) > 0 ? pyws_stream_queued(s) : rc;
}

/* ---- the end ---- */

/* Says the end to the peer's TLS.  In a new handshake that the peer asked for
 * neither what waits nor close_notify can be encrypted: it is owed then. */
int
pyws_stream_end_tls(StreamObject *s)
{
    if (s->tls_handshaking || s->eof_out || s->write_error != 0) {
        return 0;
    }
    if (pyws_tls_waiting(s->tls) > 0 && !s->eof_in) {
        s->tls_owes_end = 1;
        /* The input for it may be here already. */
        s->tls_left = 1;
        return pyws_stream_update(s) < 0 ? -1 : pyws_stream_pend(s);
    }
    return pyws_tls_end(s->tls) < 0 ? -1 : stream_flush_tls(s);
}

/* What waited is encrypted: close_notify and the end, which were owed. */
static int
stream_pay_end_tls(StreamObject *s)
{
    s->tls_owes_end = 0;
    s->tls_left = 0;
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

/* Decrypts once, straight into the ring.  PYWS_TLS_DONE: something came and was
 * given on. */
static enum pyws_tls_result
stream_decrypt_frames(StreamObject *s, struct pyws_budget *budget)
{
    WSReaderObject *reader = (WSReaderObject *)Py_NewRef(s->reader);
    enum pyws_tls_result rc = PYWS_TLS_ERROR;
    uint8_t *room;
    size_t len, n = 0;

    if (pyws_reader_room(reader, 0, &room, &len) == 0) {
        /* An object's read() gets the room through the reader's buffer
         * protocol: it may keep a view, and holds the block then. */
        reader->lent = len;
        rc = pyws_tls_read(s->tls, (PyObject *)reader, room, len, &n);
        len = reader->lent;
        reader->lent = 0;
        if (rc != PYWS_TLS_DONE) {
            pyws_reader_leave(reader);
        }
        else if (n > len) {
            /* It has given the room away. */
            (void)pyws_raise_lent((Py_ssize_t)n, len);
            rc = PYWS_TLS_ERROR;
        }
        else if (pyws_reader_took(reader, n, &budget->share) < 0) {
            rc = PYWS_TLS_ERROR;
        }
    }
    Py_DECREF(reader);
    return rc;
}

/* The same for a protocol that is not ours, and for nobody. */
static enum pyws_tls_result
stream_decrypt_data(StreamObject *s)
{
    PyObject *into = PyByteArray_FromStringAndSize(NULL, PYWS_TLS_RECORD);
    size_t n = 0;

    if (into == NULL) {
        return PYWS_TLS_ERROR;
    }
    enum pyws_tls_result rc =
        pyws_tls_read(s->tls, into, (uint8_t *)PyByteArray_AS_STRING(into),
                      PYWS_TLS_RECORD, &n);
    if (rc == PYWS_TLS_DONE && !s->tls_owes_end &&
        pyws_stream_give(s, (const uint8_t *)PyByteArray_AS_STRING(into), n) <
            0) {
        rc = PYWS_TLS_ERROR;
    }
    Py_DECREF(into);
    return rc;
}

static enum pyws_tls_result
stream_decrypt(StreamObject *s, struct pyws_budget *budget)
{
    enum pyws_tls_result rc = pyws_tls_ready(s->tls);
    if (rc != PYWS_TLS_DONE) {
        return rc;
    }
    return s->reader != NULL && !s->tls_owes_end
               ? stream_decrypt_frames(s, budget)
               : stream_decrypt_data(s);
}

/* An exception ends the connection: the alert says to the peer what we found.
 * -1, with the exception set as before. */
static int
stream_send_alert(StreamObject *s)
{
    PyObject *raised = pyws_take_raised();
    if (s->tls != NULL && stream_flush_tls(s) < 0) {
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
    if (rc != PYWS_TLS_DONE) {
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

/* Behind our close_notify nothing can be decrypted, nor is it wanted: only the
 * peer's end is awaited. */
static int
stream_is_over_tls(const StreamObject *s)
{
    return s->eof_out && !s->tls_owes_end;
}

/* Decrypts what is there, until there is nothing, the reader has enough, or
 * the connection ends. */
int
pyws_stream_pump_tls(StreamObject *s, struct pyws_budget *budget)
{
    enum pyws_tls_result rc = PYWS_TLS_DONE;

    s->tls_left = 0;
    if (s->tls_handshaking) {
        int done = stream_handshake(s);
        if (done <= 0) {
            return done;
        }
    }
    while (rc == PYWS_TLS_DONE && pyws_stream_wants_input(s) &&
           !stream_is_over_tls(s)) {
        rc = stream_decrypt(s, budget);
    }
    if (rc == PYWS_TLS_ERROR) {
        return stream_send_alert(s);
    }
    if (s->fd < 0 || s->tls == NULL || stream_is_over_tls(s)) {
        return 0;
    }
    s->tls_left = rc == PYWS_TLS_DONE;
    /* Reading makes answers of its own: key updates, alerts. */
    if (pyws_tls_retry(s->tls) < 0 || stream_flush_tls(s) < 0 ||
        pyws_stream_drained(s) < 0) {
        return -1;
    }
    if (s->fd >= 0 && s->tls_owes_end && pyws_tls_waiting(s->tls) == 0) {
        return stream_pay_end_tls(s);
    }
    return rc == PYWS_TLS_END && s->fd >= 0 ? pyws_stream_eof(s) : 0;
}

int
pyws_stream_read_tls(StreamObject *s, struct pyws_budget *budget, int *got)
{
    uint8_t *room;
    size_t len;

    if (pyws_tls_room(s->tls, &room, &len) < 0) {
        return -1;
    }
    ptrdiff_t n = ws_sock_recv(s->fd, room, len);
    if (n <= 0 || stream_is_over_tls(s)) {
        pyws_tls_leave(s->tls);
    }
    if (n <= 0) {
        return pyws_stream_no_input(s, n);
    }
    *got = 1;
    budget->bytes -= n;
    if (stream_is_over_tls(s)) {
        return 0;
    }
    return pyws_tls_took(s->tls, (size_t)n) < 0
               ? -1
               : pyws_stream_pump_tls(s, budget);
}

#else
typedef int pyws_stream_tls_is_empty;
#endif
