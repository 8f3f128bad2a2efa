#include "tls.h"

struct pyws_tls {
    pyws_state *state;
    PyObject *sslobj, *incoming, *outgoing;
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
    Py_DECREF(ssl);
    if (zero == NULL || want == NULL) {
        Py_XDECREF(zero);
        Py_XDECREF(want);
        return -1;
    }
    Py_XSETREF(state->SSLZeroReturnError, zero);
    Py_XSETREF(state->SSLWantReadError, want);
    return 0;
}

struct pyws_tls *
pyws_tls_new(pyws_state *state, PyObject *sslobj, PyObject *incoming,
             PyObject *outgoing, struct pyws_tls *below)
{
    if (tls_import(state) < 0) {
        return NULL;
    }
    struct pyws_tls *t = PyMem_RawMalloc(sizeof(*t));
    if (t == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    t->state = state;
    t->sslobj = Py_NewRef(sslobj);
    t->incoming = Py_NewRef(incoming);
    t->outgoing = Py_NewRef(outgoing);
    t->waiting = NULL;
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

static PyObject *
tls_call1(PyObject *o, PyObject *name, PyObject *arg)
{
    PyObject *args[3] = {NULL, o, arg};
    return PyObject_VectorcallMethod(name, args + 1,
                                     2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
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
    return tls_number(tls_call1(t->incoming, t->state->str_write, data)) < 0
               ? -1
               : 0;
}

int
pyws_tls_feed(struct pyws_tls *t, const void *data, size_t n)
{
    while (t->below != NULL) {
        t = t->below;
    }
    /* A MemoryBIO copies; it keeps nothing of its argument. */
    PyObject *view =
        PyMemoryView_FromMemory((char *)data, (Py_ssize_t)n, PyBUF_READ);
    if (view == NULL) {
        return -1;
    }
    int rc = tls_put(t, view);
    Py_DECREF(view);
    return rc;
}

/* Whether the BIO or OpenSSL itself has something to read. */
static int
tls_has_own_input(struct pyws_tls *t)
{
    Py_ssize_t n =
        tls_number(PyObject_GetAttr(t->incoming, t->state->str_pending));
    if (n == 0) {
        n = tls_number(tls_call0(t->sslobj, t->state->str_pending));
    }
    return n < 0 ? -1 : n > 0;
}

int
pyws_tls_has_input(struct pyws_tls *t)
{
    int has = 0;
    for (; t != NULL && has == 0; t = t->below) {
        has = tls_has_own_input(t);
    }
    return has;
}

/* Moves what the filter below can decrypt into |t|'s incoming BIO. */
static enum pyws_tls_result
tls_pull(struct pyws_tls *t)
{
    struct pyws_tls *below = t->below;
    enum pyws_tls_result rc = PYWS_TLS_AGAIN;

    if (below == NULL) {
        return PYWS_TLS_AGAIN;
    }
    for (;;) {
        rc = tls_pull(below);
        if (rc == PYWS_TLS_ERROR) {
            return rc;
        }
        int has = tls_has_own_input(below);
        if (has <= 0) {
            return has < 0 ? PYWS_TLS_ERROR : rc;
        }
        PyObject *size = PyLong_FromLong(PYWS_TLS_RECORD);
        PyObject *data =
            size == NULL ? NULL
                         : tls_call1(below->sslobj, t->state->str_read, size);
        Py_XDECREF(size);
        if (data == NULL) {
            return tls_raised(below);
        }
        int put = PyBytes_GET_SIZE(data) == 0 ? 1 : tls_put(t, data);
        Py_DECREF(data);
        if (put != 0) {
            return put < 0 ? PYWS_TLS_ERROR : PYWS_TLS_END;
        }
    }
}

enum pyws_tls_result
pyws_tls_handshake(struct pyws_tls *t)
{
    enum pyws_tls_result pulled = tls_pull(t);
    if (pulled == PYWS_TLS_ERROR) {
        return pulled;
    }
    PyObject *result = tls_call0(t->sslobj, t->state->str_do_handshake);
    if (result == NULL) {
        enum pyws_tls_result rc = tls_raised(t);
        return rc == PYWS_TLS_AGAIN && pulled == PYWS_TLS_END ? pulled : rc;
    }
    Py_DECREF(result);
    return PYWS_TLS_DONE;
}

enum pyws_tls_result
pyws_tls_read(struct pyws_tls *t, PyObject *view, size_t len, size_t *got)
{
    enum pyws_tls_result pulled = tls_pull(t);
    if (pulled == PYWS_TLS_ERROR) {
        return pulled;
    }
    int has = tls_has_own_input(t);
    if (has <= 0) {
        return has < 0 ? PYWS_TLS_ERROR : pulled;
    }
    PyObject *size = PyLong_FromSize_t(len);
    if (size == NULL) {
        return PYWS_TLS_ERROR;
    }
    PyObject *args[4] = {NULL, t->sslobj, size, view};
    PyObject *result = PyObject_VectorcallMethod(
        t->state->str_read, args + 1, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(size);
    if (result == NULL) {
        enum pyws_tls_result rc = tls_raised(t);
        return rc == PYWS_TLS_AGAIN && pulled == PYWS_TLS_END ? pulled : rc;
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
        PyObject *result = tls_call1(t->sslobj, t->state->str_write, rest);
        if (result == NULL && tls_raised(t) == PYWS_TLS_AGAIN) {
            int rc = tls_wait(t, rest);
            Py_DECREF(rest);
            return rc < 0 ? PYWS_TLS_ERROR : PYWS_TLS_AGAIN;
        }
        Py_DECREF(rest);
        Py_ssize_t n = tls_number(result);
        if (n < 0) {
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

int
pyws_tls_end(struct pyws_tls *t)
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

PyObject *
pyws_tls_take(struct pyws_tls *t)
{
    for (;;) {
        Py_ssize_t n =
            tls_number(PyObject_GetAttr(t->outgoing, t->state->str_pending));
        if (n < 0) {
            return NULL;
        }
        PyObject *data = n == 0 ? Py_NewRef(Py_None)
                                : tls_call0(t->outgoing, t->state->str_read);
        if (data == NULL || t->below == NULL) {
            return data;
        }
        int rc = data == Py_None ? 0 : pyws_tls_write(t->below, data);
        Py_DECREF(data);
        if (rc < 0) {
            return NULL;
        }
        t = t->below;
    }
}
