#include "tls.h"

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
    /* The bound methods of the data path: looked up once. */
    PyObject *read, *write, *pending, *put, *take;
    enum tls_input input;
    /* stock: read, write and pending are those of the object inside a
     * ssl.SSLObject, whose own only pass their arguments on. */
    int stock;
    /* ended: the filter below has met its end. */
    int ended;
    /* waiting is a list of bytes that could not be encrypted yet, or NULL. */
    PyObject *waiting;
    struct pyws_tls *below;
};

/* ---- life ---- */

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
    PyObject *type = PyObject_GetAttrString(ssl, "SSLObject");
    Py_DECREF(ssl);
    if (zero == NULL || want == NULL || type == NULL) {
        Py_XDECREF(zero);
        Py_XDECREF(want);
        Py_XDECREF(type);
        return -1;
    }
    Py_XSETREF(state->SSLZeroReturnError, zero);
    Py_XSETREF(state->SSLWantReadError, want);
    Py_XSETREF(state->SSLObject, type);
    return 0;
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
    Py_DECREF(inner);
    t->put = PyObject_GetAttr(t->incoming, t->state->str_write);
    t->take = PyObject_GetAttr(t->outgoing, t->state->str_read);
    return t->read == NULL || t->write == NULL || t->pending == NULL ||
                   t->put == NULL || t->take == NULL
               ? -1
               : 0;
}

struct pyws_tls *
pyws_tls_new(pyws_state *state, PyObject *sslobj, PyObject *incoming,
             PyObject *outgoing, struct pyws_tls *below)
{
    if (tls_import(state) < 0) {
        return NULL;
    }
    struct pyws_tls *t = PyMem_RawCalloc(1, sizeof(*t));
    if (t == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    t->state = state;
    t->sslobj = Py_NewRef(sslobj);
    t->incoming = Py_NewRef(incoming);
    t->outgoing = Py_NewRef(outgoing);
    t->input = TLS_INPUT_UNKNOWN;
    if (tls_bind(t) < 0) {
        pyws_tls_free(t);
        return NULL;
    }
    t->below = below;
    return t;
}

void
pyws_tls_free(struct pyws_tls *t)
{
    while (t != NULL) {
        struct pyws_tls *below = t->below;
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
        Py_VISIT(t->read);
        Py_VISIT(t->write);
        Py_VISIT(t->pending);
        Py_VISIT(t->put);
        Py_VISIT(t->take);
        Py_VISIT(t->waiting);
    }
    return 0;
}

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

/* ---- in ---- */

static int
tls_put(struct pyws_tls *t, PyObject *data)
{
    t->input = TLS_INPUT_SOME;
    return tls_number(tls_call1(t->put, data)) < 0 ? -1 : 0;
}

int
pyws_tls_feed(struct pyws_tls *t, const void *data, size_t n)
{
    while (t->below != NULL) {
        t = t->below;
    }
    /* A MemoryBIO copies; it keeps nothing of its argument. */
    PyObject *bytes =
        n <= TLS_COPIED
            ? PyBytes_FromStringAndSize(data, (Py_ssize_t)n)
            : PyMemoryView_FromMemory((char *)data, (Py_ssize_t)n, PyBUF_READ);
    if (bytes == NULL) {
        return -1;
    }
    int rc = tls_put(t, bytes);
    Py_DECREF(bytes);
    return rc;
}

/* Whether the BIO or OpenSSL itself has something to read.  A record of which
 * only a part is there does not count: OpenSSL has taken it out of the BIO. */
static int
tls_has_own_input(struct pyws_tls *t)
{
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

/* Moves what the filter below can decrypt into |t|'s incoming BIO.  0 or -1. */
static int
tls_pull(struct pyws_tls *t)
{
    struct pyws_tls *below = t->below;

    while (below != NULL) {
        int has = tls_pull(below) < 0 ? -1 : tls_has_own_input(below);
        if (has <= 0) {
            t->ended |= below->ended;
            return has;
        }
        PyObject *size = PyLong_FromLong(PYWS_TLS_RECORD);
        PyObject *data =
            size == NULL ? NULL : tls_bytes(tls_call1(below->read, size));
        Py_XDECREF(size);
        below->input = TLS_INPUT_UNKNOWN;
        if (data == NULL) {
            enum pyws_tls_result rc = tls_read_raised(below);
            t->ended |= rc == PYWS_TLS_END || below->ended;
            return rc == PYWS_TLS_ERROR ? -1 : 0;
        }
        t->ended |= PyBytes_GET_SIZE(data) == 0;
        int rc = t->ended ? 0 : tls_put(t, data);
        Py_DECREF(data);
        if (rc < 0 || t->ended) {
            return rc;
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
pyws_tls_read(struct pyws_tls *t, PyObject *into, size_t len, size_t *got)
{
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
tls_wait(struct pyws_tls *t, PyObject *bytes)
{
    if (t->waiting == NULL) {
        t->waiting = PyList_New(0);
        if (t->waiting == NULL) {
            return -1;
        }
    }
    return PyList_Append(t->waiting, bytes);
}

/* Encrypts one run of bytes, whole.  DONE, AGAIN or ERROR. */
static enum pyws_tls_result
tls_encrypt(struct pyws_tls *t, PyObject *bytes)
{
    Py_ssize_t size = PyBytes_GET_SIZE(bytes), done = 0;

    if (size == 0) {
        return PYWS_TLS_DONE;
    }
    while (done < size) {
        PyObject *rest =
            done == 0 ? Py_NewRef(bytes)
                      : PyBytes_FromStringAndSize(
                            PyBytes_AS_STRING(bytes) + done, size - done);
        if (rest == NULL) {
            return PYWS_TLS_ERROR;
        }
        PyObject *result = tls_call1(t->write, rest);
        if (result == NULL && tls_raised(t) == PYWS_TLS_AGAIN) {
            int rc = tls_wait(t, rest);
            Py_DECREF(rest);
            return rc < 0 ? PYWS_TLS_ERROR : PYWS_TLS_AGAIN;
        }
        Py_DECREF(rest);
        Py_ssize_t n = tls_number(result);
        if (n <= 0) {
            if (!PyErr_Occurred()) {
                PyErr_SetString(PyExc_ConnectionResetError,
                                "the TLS connection has ended");
            }
            return PYWS_TLS_ERROR;
        }
        done += n;
    }
    return PYWS_TLS_DONE;
}

int
pyws_tls_write(struct pyws_tls *t, PyObject *bytes)
{
    if (t->waiting != NULL && PyList_GET_SIZE(t->waiting) > 0) {
        return tls_wait(t, bytes);
    }
    return tls_encrypt(t, bytes) == PYWS_TLS_ERROR ? -1 : 0;
}

static int
tls_retry_own(struct pyws_tls *t)
{
    if (t->waiting == NULL) {
        return 0;
    }
    PyObject *list = t->waiting;
    t->waiting = NULL;
    int rc = 0;
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(list); i++) {
        rc = pyws_tls_write(t, PyList_GET_ITEM(list, i));
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

static int
tls_end_one(struct pyws_tls *t)
{
    PyObject *result = tls_call0(t->sslobj, t->state->str_unwrap);
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

/* Has the filter below encrypt what |t| made. */
static int
tls_pass_down(struct pyws_tls *t)
{
    PyObject *data = tls_bytes(PyObject_CallNoArgs(t->take));
    int rc = data == NULL ? -1 : pyws_tls_write(t->below, data);
    Py_XDECREF(data);
    return rc;
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

PyObject *
pyws_tls_take(struct pyws_tls *t)
{
    for (; t->below != NULL; t = t->below) {
        if (tls_pass_down(t) < 0) {
            return NULL;
        }
    }
    return tls_bytes(PyObject_CallNoArgs(t->take));
}
