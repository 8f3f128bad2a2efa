#include "tls_layer.h"

/* Runs up to this size are copied for a BIO, which takes objects only: that is
 * cheaper than an object over them. */
#define LAYER_COPIED 8192

/* ---- calls ---- */

/* |result| is a number, or NULL; its value, or -1 with an exception set. */
static Py_ssize_t
layer_number(PyObject *result)
{
    if (result == NULL) {
        return -1;
    }
    Py_ssize_t n = PyLong_AsSsize_t(result);
    Py_DECREF(result);
    return n;
}

/* |result| is bytes, or NULL; NULL with an exception set otherwise. */
static PyObject *
layer_bytes(PyObject *result)
{
    if (result != NULL && !PyBytes_Check(result)) {
        PyErr_Format(PyExc_TypeError, "read() returned %.100s, not bytes",
                     Py_TYPE(result)->tp_name);
        Py_CLEAR(result);
    }
    return result;
}

/* ---- life ---- */

static int
layer_bind(struct pyws_layer *l)
{
    PyObject *inner = pyws_ssl_inner(l->state, l->sslobj, &l->stock);
    if (inner == NULL) {
        return -1;
    }
    l->read = PyObject_GetAttr(inner, l->state->str_read);
    l->write = PyObject_GetAttr(inner, l->state->str_write);
    l->pending = PyObject_GetAttr(inner, l->state->str_pending);
    l->inner = inner;
    l->put = PyObject_GetAttr(l->incoming, l->state->str_write);
    l->take = PyObject_GetAttr(l->outgoing, l->state->str_read);
    return l->read == NULL || l->write == NULL || l->pending == NULL ||
                   l->put == NULL || l->take == NULL
               ? -1
               : 0;
}

/* Has OpenSSL called directly, where |ssl| is what |inner| wraps and keeps,
 * over our BIO: a byte in that shows it.  0 or -1; l->ssl says which. */
static int
layer_enter(struct pyws_layer *l, struct ws_ssl *ssl)
{
    if (ssl == NULL || !l->stock || ws_ssl_owner(ssl) != l->inner ||
        ws_ssl_has_input(ssl) != 0) {
        return 0;
    }
    PyObject *byte = PyBytes_FromStringAndSize("", 1);
    PyObject *put = byte == NULL ? NULL : PyObject_CallOneArg(l->put, byte);
    Py_XDECREF(byte);
    if (layer_number(put) < 0) {
        return -1;
    }
    if (ws_ssl_has_input(ssl) == 1 && ws_ssl_enter(ssl, &l->io) == 0) {
        l->ssl = ssl;
        l->io.used = 0;
        return 0;
    }
    PyObject *back = PyObject_CallMethodNoArgs(l->incoming, l->state->str_read);
    Py_XDECREF(back);
    return back == NULL ? -1 : 0;
}

int
pyws_layer_open(struct pyws_layer *l, pyws_state *state, PyObject *wrap,
                PyObject *incoming, PyObject *outgoing)
{
    ws_ssl_watch();
    PyObject *sslobj = PyObject_CallNoArgs(wrap);
    if (sslobj == NULL) {
        return -1;
    }
    l->state = state;
    l->sslobj = sslobj;
    l->incoming = Py_NewRef(incoming);
    l->outgoing = Py_NewRef(outgoing);
    l->input = PYWS_LAYER_INPUT_UNKNOWN;
    ws_ring_init(&l->io.in, &pyws_mem, &state->tls_spare, WS_BLOCK_SIZE_MAX);
    ws_ring_init(&l->io.out, &pyws_mem, &state->tls_spare, WS_BLOCK_SIZE_MAX);
    /* Binding runs Python, too: what goes meanwhile is not found. */
    int rc = layer_bind(l);
    struct ws_ssl *ssl = ws_ssl_made();
    if (rc < 0 || layer_enter(l, state->libssl ? ssl : NULL) < 0) {
        pyws_layer_close(l);
        return -1;
    }
    return 0;
}

void
pyws_layer_close(struct pyws_layer *l)
{
    /* The SSL may live on: somebody may have the object. */
    ws_ssl_leave(&l->io);
    ws_ring_free(&l->io.in);
    ws_ring_free(&l->io.out);
    Py_XDECREF(l->inner);
    Py_DECREF(l->sslobj);
    Py_DECREF(l->incoming);
    Py_DECREF(l->outgoing);
    Py_XDECREF(l->read);
    Py_XDECREF(l->write);
    Py_XDECREF(l->pending);
    Py_XDECREF(l->put);
    Py_XDECREF(l->take);
    Py_XDECREF(l->waiting);
}

int
pyws_layer_traverse(struct pyws_layer *l, visitproc visit, void *arg)
{
    Py_VISIT(l->sslobj);
    Py_VISIT(l->incoming);
    Py_VISIT(l->outgoing);
    Py_VISIT(l->inner);
    Py_VISIT(l->read);
    Py_VISIT(l->write);
    Py_VISIT(l->pending);
    Py_VISIT(l->put);
    Py_VISIT(l->take);
    Py_VISIT(l->waiting);
    return 0;
}

/* The first step of a handshake reads or writes.  Where our BIO has seen
 * nothing of it |inner| has another SSL, and does not keep ours.  0, or -1 with
 * an exception set. */
static int
layer_check_owner(struct pyws_layer *l)
{
    if (l->ssl == NULL || l->io.used || PyErr_Occurred()) {
        return 0;
    }
    l->ssl = NULL;
    ws_ssl_leave(&l->io);
    PyErr_SetString(PyExc_RuntimeError,
                    "SSLContext.sslobject_class made an SSLObject that does "
                    "not use the connection's MemoryBIOs");
    return -1;
}

enum pyws_tls_result
pyws_layer_handshake(struct pyws_layer *l)
{
    PyObject *result =
        PyObject_CallMethodNoArgs(l->inner, l->state->str_do_handshake);
    ws_ring_settle(&l->io.in);
    l->input = PYWS_LAYER_INPUT_UNKNOWN;
    enum pyws_tls_result rc =
        result == NULL ? pyws_ssl_raised(l->state) : PYWS_TLS_DONE;
    Py_XDECREF(result);
    return layer_check_owner(l) < 0 ? PYWS_TLS_ERROR : rc;
}

/* ---- in ---- */

/* Gives what lies in |l|'s ring to its BIO.  A MemoryBIO copies; it keeps
 * nothing of its argument. */
static int
layer_put(struct pyws_layer *l)
{
    char *data = (char *)ws_ring_peek(&l->io.in);
    Py_ssize_t n = (Py_ssize_t)ws_ring_len(&l->io.in);
    PyObject *bytes = n <= LAYER_COPIED
                          ? PyBytes_FromStringAndSize(data, n)
                          : PyMemoryView_FromMemory(data, n, PyBUF_READ);
    Py_ssize_t took =
        bytes == NULL ? -1 : layer_number(PyObject_CallOneArg(l->put, bytes));
    Py_XDECREF(bytes);
    ws_ring_consume(&l->io.in, (size_t)n);
    ws_ring_settle(&l->io.in);
    l->input = PYWS_LAYER_INPUT_SOME;
    return took < 0 ? -1 : 0;
}

int
pyws_layer_room(struct pyws_layer *l, uint8_t **room, size_t *len)
{
    if (ws_ring_reserve(&l->io.in, 0, room, len) != 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

int
pyws_layer_took(struct pyws_layer *l, size_t n)
{
    ws_ring_commit(&l->io.in, n);
    return l->ssl != NULL ? 0 : layer_put(l);
}

void
pyws_layer_leave(struct pyws_layer *l)
{
    ws_ring_settle(&l->io.in);
}

/* A record of which only a part is there does not count: OpenSSL has taken it
 * out of the BIO. */
int
pyws_layer_has_input(struct pyws_layer *l)
{
    if (l->ssl != NULL) {
        return ws_ring_len(&l->io.in) > 0 || ws_ssl_pending(l->ssl) > 0;
    }
    if (l->input != PYWS_LAYER_INPUT_UNKNOWN) {
        return l->input == PYWS_LAYER_INPUT_SOME;
    }
    Py_ssize_t n =
        layer_number(PyObject_GetAttr(l->incoming, l->state->str_pending));
    if (n == 0) {
        n = layer_number(PyObject_CallNoArgs(l->pending));
    }
    if (n < 0) {
        return -1;
    }
    l->input = n > 0 ? PYWS_LAYER_INPUT_SOME : PYWS_LAYER_INPUT_NONE;
    return n > 0;
}

/* Notes what is left after a read of up to |len| bytes that gave |n|.  A read
 * gives no more than a record holds: where there was room for more, its record
 * is at its end, and OpenSSL has no other one. */
static int
layer_note_read(struct pyws_layer *l, size_t len, size_t n)
{
    l->input = PYWS_LAYER_INPUT_UNKNOWN;
    if (!l->stock || n == len) {
        return 0;
    }
    Py_ssize_t left =
        layer_number(PyObject_GetAttr(l->incoming, l->state->str_pending));
    if (left < 0) {
        return -1;
    }
    l->input = left > 0 ? PYWS_LAYER_INPUT_SOME : PYWS_LAYER_INPUT_NONE;
    return 0;
}

/* What the exception of a read means. */
static enum pyws_tls_result
layer_read_raised(struct pyws_layer *l)
{
    enum pyws_tls_result rc = pyws_ssl_raised(l->state);
    /* Whoever asks for more has emptied the BIO. */
    l->input =
        rc == PYWS_TLS_AGAIN ? PYWS_LAYER_INPUT_NONE : PYWS_LAYER_INPUT_UNKNOWN;
    return rc;
}

/* An SSLObject of the user's gave more than it was asked for, or less than
 * nothing. */
static enum pyws_tls_result
layer_out_of_range(void)
{
    PyErr_SetString(PyExc_ValueError,
                    "SSLObject.read() returned a number that is out of range");
    return PYWS_TLS_ERROR;
}

static enum pyws_tls_result
layer_read_direct(struct pyws_layer *l, uint8_t *room, size_t len, size_t *got)
{
    enum ws_ssl_result rc = ws_ssl_read(l->ssl, room, len, got);
    ws_ring_settle(&l->io.in);
    switch (rc) {
    case WS_SSL_DONE:
        return PYWS_TLS_DONE;
    case WS_SSL_AGAIN:
        return PYWS_TLS_AGAIN;
    case WS_SSL_END:
        return PYWS_TLS_END;
    default:
        pyws_ssl_raise(l->state);
        return PYWS_TLS_ERROR;
    }
}

enum pyws_tls_result
pyws_layer_read(struct pyws_layer *l, uint8_t *room, size_t len, size_t *got)
{
    if (l->ssl != NULL) {
        return layer_read_direct(l, room, len, got);
    }
    PyObject *size = PyLong_FromSize_t(len);
    PyObject *data =
        size == NULL ? NULL : layer_bytes(PyObject_CallOneArg(l->read, size));
    Py_XDECREF(size);
    l->input = PYWS_LAYER_INPUT_UNKNOWN;
    if (data == NULL) {
        return layer_read_raised(l);
    }
    size_t n = (size_t)PyBytes_GET_SIZE(data);
    if (n > len) {
        Py_DECREF(data);
        return layer_out_of_range();
    }
    memcpy(room, PyBytes_AS_STRING(data), n);
    Py_DECREF(data);
    *got = n;
    return n == 0 ? PYWS_TLS_END : PYWS_TLS_DONE;
}

/* What a class's own read() gets is a memoryview, as from asyncio. */
static PyObject *
layer_call_read(struct pyws_layer *l, PyObject *into, size_t len)
{
    PyObject *size = PyLong_FromSize_t(len);
    PyObject *view = size == NULL ? NULL
                     : l->stock   ? Py_NewRef(into)
                                  : PyMemoryView_FromObject(into);
    PyObject *result = NULL;
    if (view != NULL) {
        PyObject *args[3] = {NULL, size, view};
        result = PyObject_Vectorcall(l->read, args + 1,
                                     2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    Py_XDECREF(view);
    Py_XDECREF(size);
    return result;
}

enum pyws_tls_result
pyws_layer_read_into(struct pyws_layer *l, PyObject *into, uint8_t *room,
                     size_t len, size_t *got)
{
    if (l->ssl != NULL) {
        return layer_read_direct(l, room, len, got);
    }
    PyObject *result = layer_call_read(l, into, len);
    if (result == NULL) {
        return layer_read_raised(l);
    }
    Py_ssize_t n = layer_number(result);
    if (n < 0 || (size_t)n > len) {
        return PyErr_Occurred() ? PYWS_TLS_ERROR : layer_out_of_range();
    }
    *got = (size_t)n;
    if (layer_note_read(l, len, (size_t)n) < 0) {
        return PYWS_TLS_ERROR;
    }
    return n == 0 ? PYWS_TLS_END : PYWS_TLS_DONE;
}

/* ---- out ---- */

static int
layer_wait(struct pyws_layer *l, const void *p, size_t n)
{
    if (l->waiting == NULL) {
        l->waiting = PyList_New(0);
        if (l->waiting == NULL) {
            return -1;
        }
    }
    PyObject *bytes = PyBytes_FromStringAndSize(p, (Py_ssize_t)n);
    int rc = bytes == NULL ? -1 : PyList_Append(l->waiting, bytes);
    Py_XDECREF(bytes);
    if (rc == 0) {
        l->waiting_len += n;
    }
    return rc;
}

/* Calls write(); the number of bytes that it took, 0 where it can take none
 * yet, -1 with an exception set. */
static Py_ssize_t
layer_call_write(struct pyws_layer *l, const uint8_t *p, size_t n)
{
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)p, (Py_ssize_t)n);
    if (bytes == NULL) {
        return -1;
    }
    PyObject *result = PyObject_CallOneArg(l->write, bytes);
    Py_DECREF(bytes);
    if (result == NULL && pyws_ssl_raised(l->state) == PYWS_TLS_AGAIN) {
        return 0;
    }
    Py_ssize_t took = layer_number(result);
    if ((took <= 0 || (size_t)took > n) && !PyErr_Occurred()) {
        pyws_ssl_raise_ended();
    }
    return took > 0 && (size_t)took <= n ? took : -1;
}

/* Encrypts |n| > 0 bytes.  1: all; 0: the first |*took| of them, the rest
 * cannot be yet; -1 with an exception set. */
static int
layer_push(struct pyws_layer *l, const uint8_t *p, size_t n, size_t *took)
{
    *took = 0;
    if (l->ssl != NULL) {
        enum ws_ssl_result rc = ws_ssl_write(l->ssl, p, n);
        if (rc == WS_SSL_ERROR) {
            pyws_ssl_raise(l->state);
            return -1;
        }
        return rc == WS_SSL_DONE;
    }
    while (*took < n) {
        Py_ssize_t part = layer_call_write(l, p + *took, n - *took);
        if (part <= 0) {
            return (int)part;
        }
        *took += (size_t)part;
    }
    return 1;
}

int
pyws_layer_write(struct pyws_layer *l, const uint8_t *p, size_t n)
{
    size_t took = 0;
    int rc = 0;

    if (n == 0) {
        return 0;
    }
    if (l->waiting_len == 0) {
        rc = layer_push(l, p, n, &took);
    }
    return rc != 0 ? (rc < 0 ? -1 : 0) : layer_wait(l, p + took, n - took);
}

/* Whether |o|, which stood in a list of ours, is bytes: the collector shows our
 * lists to everybody.  0, or -1 with TypeError. */
static int
layer_check_bytes(PyObject *o)
{
    if (PyBytes_Check(o)) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "bytes were to be encrypted, not %.100s",
                 Py_TYPE(o)->tp_name);
    return -1;
}

int
pyws_layer_write_bytes(struct pyws_layer *l, PyObject *bytes)
{
    return layer_check_bytes(bytes) < 0
               ? -1
               : pyws_layer_write(l, (const uint8_t *)PyBytes_AS_STRING(bytes),
                                  (size_t)PyBytes_GET_SIZE(bytes));
}

/* Encrypts the first of what waits; as layer_push(). */
static int
layer_push_first(struct pyws_layer *l)
{
    PyObject *bytes = Py_NewRef(PyList_GET_ITEM(l->waiting, 0));
    if (layer_check_bytes(bytes) < 0) {
        Py_DECREF(bytes);
        return -1;
    }
    const char *p = PyBytes_AS_STRING(bytes);
    size_t n = (size_t)PyBytes_GET_SIZE(bytes), took;

    int rc = layer_push(l, (const uint8_t *)p, n, &took);
    if (rc == 0 && took > 0) {
        PyObject *rest =
            PyBytes_FromStringAndSize(p + took, (Py_ssize_t)(n - took));
        if (rest == NULL || PyList_SetItem(l->waiting, 0, rest) < 0) {
            rc = -1;
        }
    }
    else if (rc > 0) {
        took = n;
        rc = PyList_SetSlice(l->waiting, 0, 1, NULL) < 0 ? -1 : 1;
    }
    l->waiting_len -= took < l->waiting_len ? took : l->waiting_len;
    Py_DECREF(bytes);
    return rc;
}

int
pyws_layer_retry(struct pyws_layer *l)
{
    int rc = 1;
    while (rc > 0 && l->waiting != NULL && PyList_GET_SIZE(l->waiting) > 0) {
        rc = layer_push_first(l);
    }
    return rc < 0 ? -1 : 0;
}

int
pyws_layer_collect(struct pyws_layer *l)
{
    if (l->ssl != NULL) {
        return 0; /* it is there */
    }
    PyObject *data = layer_bytes(PyObject_CallNoArgs(l->take));
    if (data == NULL) {
        return -1;
    }
    int rc = ws_ring_append(&l->io.out, PyBytes_AS_STRING(data),
                            (size_t)PyBytes_GET_SIZE(data));
    Py_DECREF(data);
    if (rc != 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

int
pyws_layer_end(struct pyws_layer *l)
{
    PyObject *result = PyObject_CallMethodNoArgs(
        l->inner, l->stock ? l->state->str_shutdown : l->state->str_unwrap);
    ws_ring_settle(&l->io.in);
    if (result != NULL) {
        Py_DECREF(result);
        return 0;
    }
    if (pyws_ssl_raised(l->state) != PYWS_TLS_ERROR) {
        return 0; /* ours is written; the peer's is still to come */
    }
    if (PyErr_ExceptionMatches(PyExc_OSError)) {
        /* ssl.SSLError: there is nothing left to end. */
        PyErr_Clear();
        return 0;
    }
    return -1;
}
