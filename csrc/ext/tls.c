#include "tls.h"

#include "libssl.h"

/* Runs up to this size are copied for a BIO, which takes objects only: that is
 * cheaper than an object over them. */
#define TLS_COPIED 8192

/* Whether a read may find something without more from the socket. */
enum tls_input {
    TLS_INPUT_NONE,
    TLS_INPUT_SOME,
    /* the objects are to be asked */
    TLS_INPUT_UNKNOWN,
};

struct pyws_tls {
    pyws_state *state;
    PyObject *sslobj, *incoming, *outgoing;
    /* ssl is what |inner| wraps, where OpenSSL is called directly; else the
     * bytes go through the objects' methods. */
    struct ws_ssl *ssl;
    /* inner keeps |ssl|. */
    PyObject *inner;
    /* io.in is ciphertext that came, io.out what is to be sent. */
    struct ws_ssl_io io;
    /* The bound methods of the data path: looked up once. */
    PyObject *read, *write, *pending, *put, *take;
    enum tls_input input;
    /* stock: read, write and pending are those of the object inside a
     * ssl.SSLObject, whose own only pass their arguments on. */
    int stock;
    /* ended: the filter below has met its end. */
    int ended;
    /* waiting is a list of bytes that could not be encrypted yet, or NULL;
     * waiting_len is how many they are. */
    PyObject *waiting;
    size_t waiting_len;
    struct pyws_tls *below;
};

/* ---- calls ---- */

static PyObject *
tls_call0(PyObject *o, PyObject *name)
{
    PyObject *args[2] = {NULL, o};
    return PyObject_VectorcallMethod(name, args + 1,
                                     1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
}

/* |method| of one argument. */
static PyObject *
tls_call1(PyObject *method, PyObject *arg)
{
    PyObject *args[2] = {NULL, arg};
    return PyObject_Vectorcall(method, args + 1,
                               1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
}

/* |result| is a number, or NULL; its value, or -1 with an exception set. */
static Py_ssize_t
tls_number(PyObject *result)
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
tls_bytes(PyObject *result)
{
    if (result != NULL && !PyBytes_Check(result)) {
        PyErr_Format(PyExc_TypeError, "read() returned %.100s, not bytes",
                     Py_TYPE(result)->tp_name);
        Py_CLEAR(result);
    }
    return result;
}

/* Raises what OpenSSL says, as the ssl module does. */
static void
tls_raise(struct pyws_tls *t)
{
    char reason[128];
    size_t n = 0;
    const char *text = ws_ssl_error();

    if (text == NULL) {
        PyErr_SetString(PyExc_ConnectionResetError,
                        "the TLS connection has ended");
        return;
    }
    for (; text[n] != '\0' && n + 1 < sizeof(reason); n++) {
        reason[n] = text[n] == ' ' ? '_' : (char)Py_TOUPPER(text[n]);
    }
    reason[n] = '\0';
    PyObject *message = PyUnicode_FromFormat("[SSL: %s] %s", reason, text);
    PyObject *error =
        message == NULL
            ? NULL
            : PyObject_CallFunction(t->state->SSLError, "iO", 1, message);
    PyObject *name = error == NULL ? NULL : PyUnicode_FromString(reason);
    PyObject *library = name == NULL ? NULL : PyUnicode_FromString("SSL");
    if (library != NULL && PyObject_SetAttrString(error, "reason", name) == 0 &&
        PyObject_SetAttrString(error, "library", library) == 0) {
        PyErr_SetObject(t->state->SSLError, error);
    }
    Py_XDECREF(message);
    Py_XDECREF(error);
    Py_XDECREF(name);
    Py_XDECREF(library);
}

/* What the exception of a call means; clears those that are no errors. */
static enum pyws_tls_result
tls_raised(struct pyws_tls *t)
{
    if (PyErr_ExceptionMatches(t->state->SSLWantReadError)) {
        PyErr_Clear();
        return PYWS_TLS_AGAIN;
    }
    if (PyErr_ExceptionMatches(t->state->SSLZeroReturnError)) {
        PyErr_Clear();
        return PYWS_TLS_END;
    }
    return PYWS_TLS_ERROR;
}

/* ---- life ---- */

/* Finds the OpenSSL of the ssl module.  PICOWS_C_TLS=objects does without. */
static int
tls_load(pyws_state *state)
{
    (void)state;
#ifndef Py_GIL_DISABLED
    /* A free-threaded ssl module has a lock of its own around each call. */
    const char *way = Py_GETENV("PICOWS_C_TLS");
    if (way != NULL && strcmp(way, "objects") == 0) {
        return 0;
    }
    PyObject *module = PyImport_ImportModule("_ssl");
    PyObject *path =
        module == NULL ? NULL : PyObject_GetAttrString(module, "__file__");
    PyObject *bytes = NULL;
    Py_XDECREF(module);
    if (path != NULL && PyUnicode_FSConverter(path, &bytes)) {
        state->libssl = ws_ssl_load(PyBytes_AS_STRING(bytes));
        Py_DECREF(bytes);
    }
    Py_XDECREF(path);
    if (PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            return -1;
        }
        PyErr_Clear(); /* it is built into the interpreter */
    }
#endif
    return 0;
}

/* The exceptions of the ssl module, once it is needed. */
static int
tls_import(pyws_state *state)
{
    if (state->SSLWantReadError != NULL) {
        return 0;
    }
    PyObject *ssl = PyImport_ImportModule("ssl");
    if (ssl == NULL) {
        return -1;
    }
    PyObject *zero = PyObject_GetAttrString(ssl, "SSLZeroReturnError");
    PyObject *want = PyObject_GetAttrString(ssl, "SSLWantReadError");
    PyObject *any = PyObject_GetAttrString(ssl, "SSLError");
    PyObject *type = PyObject_GetAttrString(ssl, "SSLObject");
    Py_DECREF(ssl);
    if (zero == NULL || want == NULL || any == NULL || type == NULL) {
        Py_XDECREF(zero);
        Py_XDECREF(want);
        Py_XDECREF(any);
        Py_XDECREF(type);
        return -1;
    }
    Py_XSETREF(state->SSLZeroReturnError, zero);
    Py_XSETREF(state->SSLWantReadError, want);
    Py_XSETREF(state->SSLError, any);
    Py_XSETREF(state->SSLObject, type);
    return tls_load(state);
}

/* Whether |sslobj| has the method |name| of ssl.SSLObject: 1 or 0, -1 with an
 * exception set. */
static int
tls_has_stock(pyws_state *state, PyObject *sslobj, PyObject *name)
{
    PyObject *mine = PyObject_GetAttr(sslobj, name);
    PyObject *stock =
        mine == NULL ? NULL : PyObject_GetAttr(state->SSLObject, name);
    int has = stock == NULL ? -1
                            : PyMethod_Check(mine) &&
                                  PyMethod_GET_FUNCTION(mine) == stock;
    Py_XDECREF(mine);
    Py_XDECREF(stock);
    return has;
}

/* The object whose methods read and write, a new reference.  ssl.SSLObject only
 * passes the arguments on to an object inside: that one saves a Python frame a
 * call.  A class that has methods of its own is called by them. */
static PyObject *
tls_find_inner(struct pyws_tls *t)
{
    PyObject *names[] = {t->state->str_read, t->state->str_write,
                         t->state->str_pending};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        int has = tls_has_stock(t->state, t->sslobj, names[i]);
        if (has <= 0) {
            return has < 0 ? NULL : Py_NewRef(t->sslobj);
        }
    }
    PyObject *inner = PyObject_GetAttrString(t->sslobj, "_sslobj");
    if (inner != NULL && inner != Py_None) {
        t->stock = 1;
        return inner;
    }
    Py_XDECREF(inner);
    if (inner == NULL && !PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return NULL;
    }
    PyErr_Clear();
    return Py_NewRef(t->sslobj);
}

static int
tls_bind(struct pyws_tls *t)
{
    PyObject *inner = tls_find_inner(t);
    if (inner == NULL) {
        return -1;
    }
    t->read = PyObject_GetAttr(inner, t->state->str_read);
    t->write = PyObject_GetAttr(inner, t->state->str_write);
    t->pending = PyObject_GetAttr(inner, t->state->str_pending);
    t->inner = inner;
    t->put = PyObject_GetAttr(t->incoming, t->state->str_write);
    t->take = PyObject_GetAttr(t->outgoing, t->state->str_read);
    return t->read == NULL || t->write == NULL || t->pending == NULL ||
                   t->put == NULL || t->take == NULL
               ? -1
               : 0;
}

/* Has OpenSSL called directly, where |ssl| is what our object wraps: a byte in
 * our BIO, which nobody else has, shows it.  0 or -1; t->ssl says which. */
static int
tls_enter(struct pyws_tls *t, struct ws_ssl *ssl)
{
    if (ssl == NULL || !t->stock || ws_ssl_has_input(ssl) != 0) {
        return 0;
    }
    PyObject *byte = PyBytes_FromStringAndSize("", 1);
    PyObject *put = byte == NULL ? NULL : tls_call1(t->put, byte);
    Py_XDECREF(byte);
    if (tls_number(put) < 0) {
        return -1;
    }
    if (ws_ssl_has_input(ssl) == 1 && ws_ssl_enter(ssl, &t->io) == 0) {
        t->ssl = ssl;
        return 0;
    }
    PyObject *back = tls_call0(t->incoming, t->state->str_read);
    Py_XDECREF(back);
    return back == NULL ? -1 : 0;
}

struct pyws_tls *
pyws_tls_new(pyws_state *state, PyObject *wrap, PyObject *incoming,
             PyObject *outgoing, struct pyws_tls *below)
{
    if (tls_import(state) < 0) {
        return NULL;
    }
    ws_ssl_watch();
    PyObject *sslobj = PyObject_CallNoArgs(wrap);
    struct ws_ssl *ssl = ws_ssl_made();
    if (sslobj == NULL) {
        return NULL;
    }
    struct pyws_tls *t = PyMem_RawCalloc(1, sizeof(*t));
    if (t == NULL) {
        Py_DECREF(sslobj);
        PyErr_NoMemory();
        return NULL;
    }
    t->state = state;
    t->sslobj = sslobj;
    t->incoming = Py_NewRef(incoming);
    t->outgoing = Py_NewRef(outgoing);
    t->input = TLS_INPUT_UNKNOWN;
    ws_ring_init(&t->io.in, &pyws_mem, &state->tls_spare, WS_BLOCK_SIZE_MAX);
    ws_ring_init(&t->io.out, &pyws_mem, &state->tls_spare, WS_BLOCK_SIZE_MAX);
    if (tls_bind(t) < 0 || tls_enter(t, state->libssl ? ssl : NULL) < 0) {
        pyws_tls_free(t);
        return NULL;
    }
    t->below = below;
    return t;
}

PyObject *
pyws_tls_object(const struct pyws_tls *t)
{
    return t->sslobj;
}

int
pyws_tls_is_direct(const struct pyws_tls *t)
{
    return t->ssl != NULL;
}

void
pyws_tls_free(struct pyws_tls *t)
{
    while (t != NULL) {
        struct pyws_tls *below = t->below;
        /* The SSL may live on: somebody may have the object. */
        ws_ssl_leave(&t->io);
        ws_ring_free(&t->io.in);
        ws_ring_free(&t->io.out);
        Py_XDECREF(t->inner);
        Py_DECREF(t->sslobj);
        Py_DECREF(t->incoming);
        Py_DECREF(t->outgoing);
        Py_XDECREF(t->read);
        Py_XDECREF(t->write);
        Py_XDECREF(t->pending);
        Py_XDECREF(t->put);
        Py_XDECREF(t->take);
        Py_XDECREF(t->waiting);
        PyMem_RawFree(t);
        t = below;
    }
}

int
pyws_tls_traverse(struct pyws_tls *t, visitproc visit, void *arg)
{
    for (; t != NULL; t = t->below) {
        Py_VISIT(t->sslobj);
        Py_VISIT(t->incoming);
        Py_VISIT(t->outgoing);
        Py_VISIT(t->inner);
        Py_VISIT(t->read);
        Py_VISIT(t->write);
        Py_VISIT(t->pending);
        Py_VISIT(t->put);
        Py_VISIT(t->take);
        Py_VISIT(t->waiting);
    }
    return 0;
}

/* ---- in ---- */

static struct pyws_tls *
tls_lowest(struct pyws_tls *t)
{
    while (t->below != NULL) {
        t = t->below;
    }
    return t;
}

/* Gives what lies in |t|'s ring to its BIO.  A MemoryBIO copies; it keeps
 * nothing of its argument. */
static int
tls_put(struct pyws_tls *t)
{
    char *data = (char *)ws_ring_peek(&t->io.in);
    Py_ssize_t n = (Py_ssize_t)ws_ring_len(&t->io.in);
    PyObject *bytes = n <= TLS_COPIED
                          ? PyBytes_FromStringAndSize(data, n)
                          : PyMemoryView_FromMemory(data, n, PyBUF_READ);
    Py_ssize_t took = bytes == NULL ? -1 : tls_number(tls_call1(t->put, bytes));
    Py_XDECREF(bytes);
    ws_ring_consume(&t->io.in, (size_t)n);
    ws_ring_settle(&t->io.in);
    t->input = TLS_INPUT_SOME;
    return took < 0 ? -1 : 0;
}

static int
tls_room(struct pyws_tls *t, uint8_t **room, size_t *len)
{
    if (ws_ring_reserve(&t->io.in, 0, room, len) != 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static int
tls_took(struct pyws_tls *t, size_t n)
{
    ws_ring_commit(&t->io.in, n);
    return t->ssl != NULL ? 0 : tls_put(t);
}

int
pyws_tls_room(struct pyws_tls *t, uint8_t **room, size_t *len)
{
    return tls_room(tls_lowest(t), room, len);
}

int
pyws_tls_took(struct pyws_tls *t, size_t n)
{
    return tls_took(tls_lowest(t), n);
}

void
pyws_tls_leave(struct pyws_tls *t)
{
    ws_ring_settle(&tls_lowest(t)->io.in);
}

/* Whether the BIO or OpenSSL itself has something to read.  A record of which
 * only a part is there does not count: OpenSSL has taken it out of the BIO. */
static int
tls_has_own_input(struct pyws_tls *t)
{
    if (t->ssl != NULL) {
        return ws_ring_len(&t->io.in) > 0 || ws_ssl_pending(t->ssl) > 0;
    }
    if (t->input != TLS_INPUT_UNKNOWN) {
        return t->input == TLS_INPUT_SOME;
    }
    Py_ssize_t n =
        tls_number(PyObject_GetAttr(t->incoming, t->state->str_pending));
    if (n == 0) {
        n = tls_number(PyObject_CallNoArgs(t->pending));
    }
    if (n < 0) {
        return -1;
    }
    t->input = n > 0 ? TLS_INPUT_SOME : TLS_INPUT_NONE;
    return n > 0;
}

/* Notes what is left after a read of up to |len| bytes that gave |n|.  A read
 * gives no more than a record holds: where there was room for more, its record
 * is at its end, and OpenSSL has no other one. */
static int
tls_note_read(struct pyws_tls *t, size_t len, size_t n)
{
    t->input = TLS_INPUT_UNKNOWN;
    if (!t->stock || n == len) {
        return 0;
    }
    Py_ssize_t left =
        tls_number(PyObject_GetAttr(t->incoming, t->state->str_pending));
    if (left < 0) {
        return -1;
    }
    t->input = left > 0 ? TLS_INPUT_SOME : TLS_INPUT_NONE;
    return 0;
}

/* What the exception of a read means. */
static enum pyws_tls_result
tls_read_raised(struct pyws_tls *t)
{
    enum pyws_tls_result rc = tls_raised(t);
    /* Whoever asks for more has emptied the BIO. */
    t->input = rc == PYWS_TLS_AGAIN ? TLS_INPUT_NONE : TLS_INPUT_UNKNOWN;
    return rc;
}

static enum pyws_tls_result
tls_read_direct(struct pyws_tls *t, uint8_t *room, size_t len, size_t *got)
{
    enum ws_ssl_result rc = ws_ssl_read(t->ssl, room, len, got);
    ws_ring_settle(&t->io.in);
    switch (rc) {
    case WS_SSL_DONE:
        return PYWS_TLS_DONE;
    case WS_SSL_AGAIN:
        return PYWS_TLS_AGAIN;
    case WS_SSL_END:
        return PYWS_TLS_END;
    default:
        tls_raise(t);
        return PYWS_TLS_ERROR;
    }
}

/* Decrypts up to |len| bytes to |room|. */
static enum pyws_tls_result
tls_read(struct pyws_tls *t, uint8_t *room, size_t len, size_t *got)
{
    if (t->ssl != NULL) {
        return tls_read_direct(t, room, len, got);
    }
    PyObject *size = PyLong_FromSize_t(len);
    PyObject *data = size == NULL ? NULL : tls_bytes(tls_call1(t->read, size));
    Py_XDECREF(size);
    t->input = TLS_INPUT_UNKNOWN;
    if (data == NULL) {
        return tls_read_raised(t);
    }
    size_t n = (size_t)PyBytes_GET_SIZE(data);
    *got = n < len ? n : len;
    memcpy(room, PyBytes_AS_STRING(data), *got);
    Py_DECREF(data);
    return n == 0 ? PYWS_TLS_END : PYWS_TLS_DONE;
}

/* Moves what the filter below can decrypt into |t|'s input.  0 or -1. */
static int
tls_pull(struct pyws_tls *t)
{
    struct pyws_tls *below = t->below;
    uint8_t *room;
    size_t len, n = 0;

    while (below != NULL) {
        int has = tls_pull(below) < 0 ? -1 : tls_has_own_input(below);
        if (has <= 0) {
            t->ended |= below->ended;
            return has;
        }
        if (tls_room(t, &room, &len) < 0) {
            return -1;
        }
        enum pyws_tls_result rc = tls_read(below, room, len, &n);
        if (rc != PYWS_TLS_DONE) {
            ws_ring_settle(&t->io.in);
            t->ended |= rc == PYWS_TLS_END || below->ended;
            return rc == PYWS_TLS_ERROR ? -1 : 0;
        }
        if (tls_took(t, n) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Nothing is to be had: is it for now, or for ever? */
static enum pyws_tls_result
tls_nothing(const struct pyws_tls *t)
{
    return t->ended ? PYWS_TLS_END : PYWS_TLS_AGAIN;
}

enum pyws_tls_result
pyws_tls_handshake(struct pyws_tls *t)
{
    if (tls_pull(t) < 0) {
        return PYWS_TLS_ERROR;
    }
    PyObject *result = tls_call0(t->sslobj, t->state->str_do_handshake);
    ws_ring_settle(&t->io.in);
    t->input = TLS_INPUT_UNKNOWN;
    if (result == NULL) {
        enum pyws_tls_result rc = tls_raised(t);
        return rc == PYWS_TLS_AGAIN ? tls_nothing(t) : rc;
    }
    Py_DECREF(result);
    return PYWS_TLS_DONE;
}

enum pyws_tls_result
pyws_tls_ready(struct pyws_tls *t)
{
    int has = tls_pull(t) < 0 ? -1 : tls_has_own_input(t);
    return has < 0 ? PYWS_TLS_ERROR : has == 0 ? tls_nothing(t) : PYWS_TLS_DONE;
}

/* What a class's own read() gets is a memoryview, as from asyncio. */
static PyObject *
tls_call_read(struct pyws_tls *t, PyObject *into, size_t len)
{
    PyObject *size = PyLong_FromSize_t(len);
    PyObject *view = size == NULL ? NULL
                     : t->stock   ? Py_NewRef(into)
                                  : PyMemoryView_FromObject(into);
    PyObject *result = NULL;
    if (view != NULL) {
        PyObject *args[3] = {NULL, size, view};
        result = PyObject_Vectorcall(t->read, args + 1,
                                     2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    Py_XDECREF(view);
    Py_XDECREF(size);
    return result;
}

enum pyws_tls_result
pyws_tls_read(struct pyws_tls *t, PyObject *into, uint8_t *room, size_t len,
              size_t *got)
{
    if (t->ssl != NULL) {
        enum pyws_tls_result rc = tls_read_direct(t, room, len, got);
        return rc == PYWS_TLS_AGAIN ? tls_nothing(t) : rc;
    }
    PyObject *result = tls_call_read(t, into, len);
    if (result == NULL) {
        enum pyws_tls_result rc = tls_read_raised(t);
        return rc == PYWS_TLS_AGAIN ? tls_nothing(t) : rc;
    }
    Py_ssize_t n = tls_number(result);
    if (n < 0 || (size_t)n > len) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError,
                            "SSLObject.read() returned a "
                            "number that is out of range");
        }
        return PYWS_TLS_ERROR;
    }
    *got = (size_t)n;
    if (tls_note_read(t, len, (size_t)n) < 0) {
        return PYWS_TLS_ERROR;
    }
    return n == 0 ? PYWS_TLS_END : PYWS_TLS_DONE;
}

/* ---- out ---- */

static int
tls_wait(struct pyws_tls *t, const void *p, size_t n)
{
    if (t->waiting == NULL) {
        t->waiting = PyList_New(0);
        if (t->waiting == NULL) {
            return -1;
        }
    }
    PyObject *bytes = PyBytes_FromStringAndSize(p, (Py_ssize_t)n);
    int rc = bytes == NULL ? -1 : PyList_Append(t->waiting, bytes);
    Py_XDECREF(bytes);
    if (rc == 0) {
        t->waiting_len += n;
    }
    return rc;
}

/* Calls write(); the number of bytes that it took, 0 where it can take none
 * yet, -1 with an exception set. */
static Py_ssize_t
tls_call_write(struct pyws_tls *t, const uint8_t *p, size_t n)
{
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)p, (Py_ssize_t)n);
    if (bytes == NULL) {
        return -1;
    }
    PyObject *result = tls_call1(t->write, bytes);
    Py_DECREF(bytes);
    if (result == NULL && tls_raised(t) == PYWS_TLS_AGAIN) {
        return 0;
    }
    Py_ssize_t took = tls_number(result);
    if ((took <= 0 || (size_t)took > n) && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_ConnectionResetError,
                        "the TLS connection has ended");
    }
    return took > 0 && (size_t)took <= n ? took : -1;
}

int
pyws_tls_write(struct pyws_tls *t, const uint8_t *p, size_t n)
{
    if (n == 0) {
        return 0;
    }
    if (t->waiting_len > 0) {
        return tls_wait(t, p, n);
    }
    if (t->ssl != NULL) {
        enum ws_ssl_result rc = ws_ssl_write(t->ssl, p, n);
        if (rc == WS_SSL_ERROR) {
            tls_raise(t);
            return -1;
        }
        return rc == WS_SSL_AGAIN ? tls_wait(t, p, n) : 0;
    }
    while (n > 0) {
        Py_ssize_t took = tls_call_write(t, p, n);
        if (took <= 0) {
            return took < 0 ? -1 : tls_wait(t, p, n);
        }
        p += took;
        n -= (size_t)took;
    }
    return 0;
}

static int
tls_retry_own(struct pyws_tls *t)
{
    if (t->waiting == NULL) {
        return 0;
    }
    PyObject *list = t->waiting;
    t->waiting = NULL;
    t->waiting_len = 0;
    int rc = 0;
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(list); i++) {
        PyObject *bytes = PyList_GET_ITEM(list, i);
        rc = pyws_tls_write(t, (const uint8_t *)PyBytes_AS_STRING(bytes),
                            (size_t)PyBytes_GET_SIZE(bytes));
    }
    Py_DECREF(list);
    return rc;
}

int
pyws_tls_retry(struct pyws_tls *t)
{
    int rc = 0;
    for (; t != NULL && rc == 0; t = t->below) {
        rc = tls_retry_own(t);
    }
    return rc;
}

size_t
pyws_tls_waiting(const struct pyws_tls *t)
{
    size_t n = 0;
    for (; t != NULL; t = t->below) {
        n += t->waiting_len;
    }
    return n;
}

/* Fetches what the objects have ready. */
static int
tls_collect(struct pyws_tls *t)
{
    if (t->ssl != NULL) {
        return 0; /* it is there */
    }
    PyObject *data = tls_bytes(PyObject_CallNoArgs(t->take));
    if (data == NULL) {
        return -1;
    }
    int rc = ws_ring_append(&t->io.out, PyBytes_AS_STRING(data),
                            (size_t)PyBytes_GET_SIZE(data));
    Py_DECREF(data);
    if (rc != 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* Has the filter below encrypt what |t| made. */
static int
tls_pass_down(struct pyws_tls *t)
{
    if (tls_collect(t) < 0) {
        return -1;
    }
    size_t n = ws_ring_len(&t->io.out);
    int rc = pyws_tls_write(t->below, ws_ring_peek(&t->io.out), n);
    ws_ring_consume(&t->io.out, n);
    ws_ring_settle(&t->io.out);
    return rc;
}

static int
tls_end_one(struct pyws_tls *t)
{
    PyObject *result = tls_call0(t->sslobj, t->state->str_unwrap);
    ws_ring_settle(&t->io.in);
    if (result != NULL) {
        Py_DECREF(result);
        return 0;
    }
    if (tls_raised(t) != PYWS_TLS_ERROR) {
        return 0; /* ours is written; the peer's is still to come */
    }
    if (PyErr_ExceptionMatches(PyExc_OSError)) {
        /* ssl.SSLError: there is nothing left to end. */
        PyErr_Clear();
        return 0;
    }
    return -1;
}

int
pyws_tls_end(struct pyws_tls *t)
{
    for (; t != NULL; t = t->below) {
        if (tls_end_one(t) < 0 || (t->below != NULL && tls_pass_down(t) < 0)) {
            return -1;
        }
    }
    return 0;
}

int
pyws_tls_take(struct pyws_tls *t, const uint8_t **p, size_t *n)
{
    for (; t->below != NULL; t = t->below) {
        if (tls_pass_down(t) < 0) {
            return -1;
        }
    }
    if (tls_collect(t) < 0) {
        return -1;
    }
    *p = ws_ring_peek(&t->io.out);
    *n = ws_ring_len(&t->io.out);
    ws_ring_consume(&t->io.out, *n);
    return 0;
}

void
pyws_tls_taken(struct pyws_tls *t)
{
    ws_ring_settle(&tls_lowest(t)->io.out);
}
