#include "deflate.h"

#include "object.h"
#include "ws_err.h"

/* RFC 7692, 7.2.1: the octets that are removed from the tail of what was
 * compressed, and 7.2.2: appended again before it is inflated. */
static const uint8_t deflate_tail[4] = {0x00, 0x00, 0xff, 0xff};

/* Input is given in pieces of this size: what a call leaves of it is copied. */
#define DEFLATE_IN 16384

/* What one call may give: as much as CPython allocates at once, without a copy.
 */
#define DEFLATE_OUT_MIN 1024
#define DEFLATE_OUT_MAX 32768

/* So many compressors wait for the next message: more were only needed while
 * messages were sent in fragments. */
#define DEFLATE_POOL_MAX 8

/* What DEFLATE can refer back to. */
#define DEFLATE_WINDOW 32768

/* ---- inflating ---- */

/* Makes the decompressor; |m| is what a broken-off stream before it gave. */
static int
deflate_new_decompressor(DeflateObject *d, const struct ws_message *m)
{
    size_t n = m->len < DEFLATE_WINDOW ? m->len : DEFLATE_WINDOW;
    const char *from = n == 0 ? "" : (const char *)m->block->data + m->len - n;

    PyObject *zdict = PyBytes_FromStringAndSize(from, (Py_ssize_t)n);
    if (zdict == NULL) {
        return -1;
    }
    PyObject *made = PyObject_CallOneArg(d->make_decompressor, zdict);
    Py_DECREF(zdict);
    if (made == NULL) {
        return -1;
    }
    Py_XSETREF(d->decompressor, made);
    return 0;
}

/* The bytes that the decompressor left of its input, in |*rest| (a reference of
 * the caller's).  7.2.3.4 allows blocks with BFINAL: the stream ends there, and
 * another begins. */
static int
deflate_rest(DeflateObject *d, const struct ws_message *m, PyObject **rest)
{
    PyObject *eof = PyObject_GetAttr(d->decompressor, d->state->str_eof);
    int ended = eof == NULL ? -1 : PyObject_IsTrue(eof);
    Py_XDECREF(eof);
    if (ended < 0) {
        return -1;
    }
    *rest = PyObject_GetAttr(
        d->decompressor,
        ended ? d->state->str_unused_data : d->state->str_unconsumed_tail);
    if (*rest == NULL) {
        return -1;
    }
    if (!PyBytes_Check(*rest)) {
        PyErr_SetString(PyExc_TypeError, "the decompressor's rest is no bytes");
        Py_CLEAR(*rest);
        return -1;
    }
    if (ended && deflate_new_decompressor(d, m) < 0) {
        Py_CLEAR(*rest);
        return -1;
    }
    return 0;
}

/* One call: up to |want| bytes out of |data| go into |m|; |*got| says how many.
 * 0, WS_ERR_*, or PYWS_RAISED. */
static int
deflate_pull(DeflateObject *d, struct ws_message *m, PyObject *data,
             size_t want, size_t *got)
{
    PyObject *max_length = PyLong_FromSize_t(want);
    if (max_length == NULL) {
        return PYWS_RAISED;
    }
    PyObject *decompressor = Py_NewRef(d->decompressor);
    PyObject *args[4] = {NULL, decompressor, data, max_length};
    PyObject *out =
        PyObject_VectorcallMethod(d->state->str_decompress, args + 1,
                                  3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    Py_DECREF(decompressor);
    Py_DECREF(max_length);
    if (out == NULL) {
        /* Modules have errors of their own; these are not theirs. */
        if (!PyErr_ExceptionMatches(PyExc_Exception) ||
            PyErr_ExceptionMatches(PyExc_MemoryError) ||
            PyErr_ExceptionMatches(PyExc_TypeError) ||
            PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return PYWS_RAISED;
        }
        PyErr_Clear();
        return WS_ERR_DEFLATE;
    }
    if (!PyBytes_Check(out)) {
        Py_DECREF(out);
        PyErr_SetString(PyExc_TypeError, "decompress() returned no bytes");
        return PYWS_RAISED;
    }
    uint8_t *room;
    *got = (size_t)PyBytes_GET_SIZE(out);
    int err = ws_message_room(m, *got, &room);
    if (err == 0) {
        memcpy(room, PyBytes_AS_STRING(out), *got);
        err = ws_message_commit(m, *got, 0);
    }
    Py_DECREF(out);
    if (err == WS_ERR_NOMEM) {
        PyErr_NoMemory();
        return PYWS_RAISED;
    }
    return err;
}

/* Inflates all of |data|, whose reference it takes. */
static int
deflate_piece(DeflateObject *d, struct ws_message *m, PyObject *data)
{
    size_t step = 8 * (size_t)PyBytes_GET_SIZE(data);
    int err = 0;

    step = step < DEFLATE_OUT_MIN ? DEFLATE_OUT_MIN : step;
    for (;;) {
        step = step > DEFLATE_OUT_MAX ? DEFLATE_OUT_MAX : step;
        /* One byte more than there may be shows that there is more. */
        size_t room = m->max - m->len, got = 0;
        size_t want = room < step ? room + 1 : step;
        Py_ssize_t before = PyBytes_GET_SIZE(data);

        err = deflate_pull(d, m, data, want, &got);
        Py_DECREF(data);
        if (err != 0) {
            return err;
        }
        if (deflate_rest(d, m, &data) < 0) {
            return PYWS_RAISED;
        }
        Py_ssize_t left = PyBytes_GET_SIZE(data);
        if (left == 0 && got < want) {
            Py_DECREF(data);
            return 0;
        }
        if (got == 0 && left >= before) {
            Py_DECREF(data);
            return WS_ERR_DEFLATE; /* it makes no progress */
        }
        step *= 2;
    }
}

static int
deflate_inflate_all(DeflateObject *d, struct ws_message *m,
                    const struct pyws_masked *in, int fin)
{
    size_t done = 0;

    if (d->decompressor == NULL && deflate_new_decompressor(d, m) < 0) {
        return PYWS_RAISED;
    }
    do {
        size_t n = in->len - done < DEFLATE_IN ? in->len - done : DEFLATE_IN;
        int last = fin && done + n == in->len;
        size_t total = n + (last ? sizeof(deflate_tail) : 0);
        PyObject *data = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)total);
        if (data == NULL) {
            return PYWS_RAISED;
        }
        uint8_t *to = (uint8_t *)PyBytes_AS_STRING(data);
        if (in->key != NULL) {
            in->mask(to, in->data + done, n, in->key, done & 3u);
        }
        else {
            memcpy(to, in->data + done, n);
        }
        if (last) {
            memcpy(to + n, deflate_tail, sizeof(deflate_tail));
        }
        int err = deflate_piece(d, m, data);
        if (err != 0) {
            return err;
        }
        done += n;
    } while (done < in->len);
    return 0;
}

int
pyws_deflate_inflate(DeflateObject *d, struct ws_message *m,
                     const struct pyws_masked *in, int fin)
{
    if (in->len == 0 && !fin) {
        return 0;
    }
    Py_INCREF(d);
    int err = deflate_inflate_all(d, m, in, fin);
    if (err != 0 || (fin && d->resets_in)) {
        Py_CLEAR(d->decompressor);
    }
    Py_DECREF(d);
    return err;
}

/* ---- compressing ---- */

static PyObject *
deflate_call_bytes(PyObject *object, PyObject *name, PyObject *argument)
{
    PyObject *result = PyObject_CallMethodOneArg(object, name, argument);
    if (result != NULL && !PyBytes_Check(result)) {
        Py_DECREF(result);
        PyErr_SetString(PyExc_TypeError, "the compressor returned no bytes");
        return NULL;
    }
    return result;
}

/* compress() and flush(), one behind the other. */
static PyObject *
deflate_run(DeflateObject *d, PyObject *compressor, const uint8_t *p,
            size_t len)
{
    /* A copy: nobody can keep a view of the caller's memory. */
    PyObject *data =
        PyBytes_FromStringAndSize((const char *)p, (Py_ssize_t)len);
    if (data == NULL) {
        return NULL;
    }
    PyObject *out =
        deflate_call_bytes(compressor, d->state->str_compress, data);
    Py_DECREF(data);
    if (out == NULL) {
        return NULL;
    }
    PyObject *end =
        deflate_call_bytes(compressor, d->state->str_flush, d->flush);
    if (end == NULL) {
        Py_DECREF(out);
        return NULL;
    }
    if (PyBytes_GET_SIZE(out) == 0) {
        Py_DECREF(out);
        return end;
    }
    PyBytes_ConcatAndDel(&out, end);
    return out;
}

/* Makes sure that there is a compressor: out of the pool, or a new one. */
static int
deflate_take_compressor(DeflateObject *d)
{
    PyObject *taken = NULL;

    if (d->compressor != NULL) {
        return 0;
    }
    if (d->pool != NULL && PyList_GET_SIZE(d->pool) > 0) {
        taken = PyObject_CallMethodNoArgs(d->pool, d->state->str_pop);
        if (taken == NULL && !PyErr_ExceptionMatches(PyExc_IndexError)) {
            return -1;
        }
        PyErr_Clear(); /* another thread was quicker */
    }
    if (taken == NULL) {
        taken = PyObject_CallNoArgs(d->make_compressor);
        if (taken == NULL) {
            return -1;
        }
    }
    Py_XSETREF(d->compressor, taken);
    return 0;
}

/* How much of the end of a message is sent, in |*sent|; takes the reference of
 * |out|, and returns what to send from. */
static PyObject *
deflate_strip_tail(PyObject *out, size_t *sent)
{
    size_t n = (size_t)PyBytes_GET_SIZE(out);
    const char *end = PyBytes_AS_STRING(out) + n;

    if (n > 0 && (n < sizeof(deflate_tail) ||
                  memcmp(end - sizeof(deflate_tail), deflate_tail,
                         sizeof(deflate_tail)) != 0)) {
        Py_DECREF(out);
        PyErr_SetString(PyExc_ValueError,
                        "the compressor's flush() ended with no empty block");
        return NULL;
    }
    if (n > sizeof(deflate_tail)) {
        *sent = n - sizeof(deflate_tail);
        return out;
    }
    /* 7.2.3.6: nothing at all is "a single octet 0x00".  Some have nothing to
     * flush twice, and return no tail either. */
    Py_DECREF(out);
    *sent = 1;
    return PyBytes_FromStringAndSize("\0", 1);
}

/* Takes a compressor, runs it and lets go of it where the next message is not
 * to have its context. */
static PyObject *
deflate_compress(DeflateObject *d, const uint8_t *p, size_t len, int fin,
                 size_t *sent)
{
    PyObject *out = NULL;

    if (deflate_take_compressor(d) == 0) {
        PyObject *compressor = Py_NewRef(d->compressor);
        out = deflate_run(d, compressor, p, len);
        if (out != NULL && fin) {
            out = deflate_strip_tail(out, sent);
        }
        else if (out != NULL) {
            *sent = (size_t)PyBytes_GET_SIZE(out);
        }
        if (out != NULL && fin && d->pool != NULL &&
            PyList_GET_SIZE(d->pool) < DEFLATE_POOL_MAX &&
            PyList_Append(d->pool, compressor) < 0) {
            Py_CLEAR(out);
        }
        Py_DECREF(compressor);
    }
    if (out == NULL || (fin && d->pool != NULL)) {
        /* The pool has it; or an error happened, and nobody knows what state
         * it is in, or its window has what the peer's has not. */
        Py_CLEAR(d->compressor);
    }
    return out;
}

PyObject *
pyws_deflate_compress(DeflateObject *d, const uint8_t *p, size_t len, int fin,
                      size_t *sent)
{
    WS_ASSERT(!d->busy);
    Py_INCREF(d);
    d->busy = 1;
    PyObject *out = deflate_compress(d, p, len, fin, sent);
    d->busy = 0;
    Py_DECREF(d);
    return out;
}

void
pyws_deflate_unsent(DeflateObject *d)
{
    Py_CLEAR(d->compressor);
}

/* ---- life ---- */

static PyObject *
Deflate_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {
        "make_compressor", "make_decompressor", "flush", "pool",
        "resets_in",       "threshold",         NULL};
    PyObject *make_compressor, *make_decompressor, *flush, *pool;
    int resets_in;
    Py_ssize_t threshold;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOpn:Deflate", names,
                                     &make_compressor, &make_decompressor,
                                     &flush, &pool, &resets_in, &threshold)) {
        return NULL;
    }
    if (threshold < 0) {
        PyErr_SetString(PyExc_ValueError, "threshold cannot be negative");
        return NULL;
    }
    if (pool != Py_None && !PyList_Check(pool)) {
        PyErr_SetString(PyExc_TypeError, "pool must be a list or None");
        return NULL;
    }
    pyws_state *state = pyws_state_of(type);
    if (state == NULL) {
        return NULL;
    }
    DeflateObject *d = (DeflateObject *)type->tp_alloc(type, 0);
    if (d == NULL) {
        return NULL;
    }
    d->state = state;
    d->make_compressor = Py_NewRef(make_compressor);
    d->make_decompressor = Py_NewRef(make_decompressor);
    d->flush = Py_NewRef(flush);
    d->threshold = (size_t)threshold;
    d->pool = pool == Py_None ? NULL : Py_NewRef(pool);
    d->resets_in = (uint8_t)resets_in;
    return (PyObject *)d;
}

static int
Deflate_traverse(PyObject *self, visitproc visit, void *arg)
{
    DeflateObject *d = (DeflateObject *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(d->make_compressor);
    Py_VISIT(d->make_decompressor);
    Py_VISIT(d->compressor);
    Py_VISIT(d->decompressor);
    Py_VISIT(d->flush);
    Py_VISIT(d->pool);
    return 0;
}

static void
Deflate_dealloc(PyObject *self)
{
    DeflateObject *d = (DeflateObject *)self;
    PyObject_GC_UnTrack(self);
    Py_CLEAR(d->make_compressor);
    Py_CLEAR(d->make_decompressor);
    Py_CLEAR(d->compressor);
    Py_CLEAR(d->decompressor);
    Py_CLEAR(d->flush);
    Py_CLEAR(d->pool);
    pyws_dealloc_tail(self);
}

PyDoc_STRVAR(
    Deflate_doc,
    "Deflate(make_compressor, make_decompressor, flush, pool, resets_in, "
    "threshold)\n"
    "--\n\n"
    "permessage-deflate (RFC 7692) of one connection. make_compressor() and\n"
    "make_decompressor(zdict) make its contexts when they are first needed; "
    "flush is\n"
    "the mode that ends a fragment. pool is None where the compressor's "
    "context is taken\n"
    "over, else a list of compressors that others use as well, each for one "
    "message;\n"
    "resets_in says that each message gets a new decompressor. Messages below "
    "threshold\n"
    "bytes are not compressed.");

static PyType_Slot Deflate_slots[] = {
    {Py_tp_doc, (void *)Deflate_doc},
    {Py_tp_new, Deflate_new},
    {Py_tp_dealloc, Deflate_dealloc},
    {Py_tp_traverse, Deflate_traverse},
    {0, NULL},
};

static PyType_Spec Deflate_spec = {
    .name = "picows_c._core.Deflate",
    .basicsize = sizeof(DeflateObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = Deflate_slots,
};

int
pyws_deflate_add_type(PyObject *module, pyws_state *state)
{
    return pyws_add_type(module, &Deflate_spec, &state->Deflate_type);
}
