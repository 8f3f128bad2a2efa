/* reader_type.c - the Python face of WSReader. */
#include "clock.h"
#include "object.h"
#include "raise.h"
#include "reader.h"

static int
reader_check(WSReaderObject *r, const char *method)
{
    if (WS_UNLIKELY(r->thread != PyThread_get_thread_ident())) {
        pyws_raise_thread("WSProtocol", method, r->thread);
        return -1;
    }
    return 0;
}

/* ---- the asyncio face ---- */

static PyObject *
WSReader_get_buffer(PyObject *self, PyObject *sizehint)
{
    (void)sizehint; /* loops pass -1 or a constant */
    if (reader_check((WSReaderObject *)self, "get_buffer") < 0) {
        return NULL;
    }
    return PyMemoryView_FromObject(self);
}

/* Lends room in the ring: whoever keeps the view too long writes into memory
 * that is still there, and that nobody else fills. */
static int
WSReader_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    WSReaderObject *r = (WSReaderObject *)self;
    uint8_t *room;
    size_t len;

    view->obj = NULL;
    if (reader_check(r, "get_buffer") < 0) {
        return -1;
    }
    if (r->decrypting && r->lent.block != NULL) {
        room = r->lent.block->data + r->lent.at;
        len = r->lent.len;
    }
    else if (pyws_reader_lend(r, &room, &len) < 0) {
        return -1;
    }
    if (PyBuffer_FillInfo(view, self, room, (Py_ssize_t)len, 0, flags) < 0) {
        return -1;
    }
    ws_block_lend(r->lent.block);
    view->internal = r->lent.block;
    return 0;
}

static void
WSReader_releasebuffer(PyObject *self, Py_buffer *view)
{
    WSReaderObject *r = (WSReaderObject *)self;
    struct ws_block *block = view->internal;

    ws_block_unlend(block);
    /* The ring could not give it back while it was lent.  (Whoever takes a
     * spare one wants that size.) */
    if (r->thread == PyThread_get_thread_ident() &&
        ws_ring_block(&r->ring) != block && !ws_block_is_lent(block) &&
        block->cap == r->ring.block_size) {
        ws_spare_give(&r->state->spare, block);
        return;
    }
    ws_block_decref(block);
}

static PyObject *
WSReader_buffer_updated(PyObject *self, PyObject *nbytes)
{
    WSReaderObject *r = (WSReaderObject *)self;

    if (reader_check(r, "buffer_updated") < 0) {
        return NULL;
    }
    Py_ssize_t n = PyLong_AsSsize_t(nbytes);
    if (n == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (r->decrypting) {
        return pyws_raise_taken_back();
    }
    if (n < 0) {
        return pyws_raise_lent(n, r->lent.block == NULL ? 0 : r->lent.len);
    }
    if (pyws_reader_filled(r, (size_t)n) < 0 ||
        (n > 0 && pyws_reader_run(r, NULL) < 0)) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- for the package ---- */

static PyObject *
WSReader_start_frames(PyObject *self, PyObject *args)
{
    WSReaderObject *r = (WSReaderObject *)self;
    PyObject *transport, *listener, *deflate;
    Py_ssize_t max_frame_size, max_message_size;
    int extended, assembles, coalesces;

    if (!PyArg_ParseTuple(args, "O!OnppnOp:_start_frames",
                          r->state->WSTransport_type, &transport, &listener,
                          &max_frame_size, &extended, &assembles,
                          &max_message_size, &deflate, &coalesces)) {
        return NULL;
    }
    if (max_frame_size < 0 || max_message_size < 0) {
        PyErr_SetString(PyExc_ValueError, "a size cannot be negative");
        return NULL;
    }
    if (deflate != Py_None &&
        (!assembles || Py_TYPE(deflate) != r->state->Deflate_type)) {
        PyErr_SetString(PyExc_TypeError,
                        "deflate is a Deflate, and needs whole messages");
        return NULL;
    }
    if (r->mode != PYWS_READ_DISCARD || r->begun) {
        PyErr_SetString(PyExc_RuntimeError,
                        "frames begin once, behind the head");
        return NULL;
    }
    CallbacksObject *callbacks;
    if (pyws_callbacks_of(r->state, listener, &callbacks) < 0) {
        return NULL;
    }
    WSTransportObject *t = (WSTransportObject *)transport;
    Py_XSETREF(r->callbacks, callbacks);
    Py_XSETREF(r->transport, (WSTransportObject *)Py_NewRef(transport));
    Py_XSETREF(r->listener, Py_NewRef(listener));
    ws_parser_init(&r->parser, !t->conn.is_client, (size_t)max_frame_size);
    /* 5.2: RSV bits have a meaning where an extension was negotiated. */
    r->parser.rsv_allowed = extended ? WS_BITS_RSV : 0;
    t->conn.rsv_allowed = r->parser.rsv_allowed;
    r->assembles = (uint8_t)assembles;
    r->coalesces = (uint8_t)coalesces;
    ws_message_init(&r->message, &pyws_mem, (size_t)max_message_size);
    if (deflate != Py_None) {
        r->parser.rsv_message = WS_BIT_RSV1;
        Py_XSETREF(r->deflate, (DeflateObject *)Py_NewRef(deflate));
        Py_XSETREF(t->deflate, (DeflateObject *)Py_NewRef(deflate));
    }
    r->begun = 1;
    r->mode = PYWS_READ_FRAMES;
    Py_RETURN_NONE;
}

static PyObject *
WSReader_stop_frames(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    WSReaderObject *r = (WSReaderObject *)self;
    if (r->mode != PYWS_READ_DISCARD) {
        pyws_reader_discard(r);
    }
    Py_RETURN_NONE;
}

static PyObject *
WSReader_take_rest(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    WSReaderObject *r = (WSReaderObject *)self;
    size_t len = ws_ring_len(&r->ring);

    /* Whoever parses has looked at them already. */
    if (r->mode == PYWS_READ_FRAMES || r->http != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the bytes are being parsed");
        return NULL;
    }
    PyObject *rest = PyBytes_FromStringAndSize(
        (const char *)ws_ring_peek(&r->ring), (Py_ssize_t)len);
    if (rest != NULL) {
        ws_ring_consume(&r->ring, len);
    }
    return rest;
}

static PyObject *
WSReader_read_body(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    WSReaderObject *r = (WSReaderObject *)self;
    if (r->http != NULL || r->mode != PYWS_READ_DISCARD) {
        PyErr_SetString(PyExc_RuntimeError, "content follows a head");
        return NULL;
    }
    r->mode = PYWS_READ_HEAD;
    Py_RETURN_NONE;
}

static PyObject *
WSReader_watch_input(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    WSReaderObject *r = (WSReaderObject *)self;
    r->watches = 1;
    r->input_ms = ws_clock_ms();
    Py_RETURN_NONE;
}

static PyObject *
WSReader_input(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    WSReaderObject *r = (WSReaderObject *)self;
    double idle = (double)(ws_clock_ms() - r->input_ms) / 1000;
    return Py_BuildValue("(Kd)", r->input, idle);
}

static PyObject *
WSReader_expect_pong(PyObject *self, PyObject *arg)
{
    WSReaderObject *r = (WSReaderObject *)self;
    long how = PyLong_AsLong(arg);
    if (how == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (how < PYWS_PONG_NONE || how > PYWS_PONG_ASK) {
        PyErr_SetString(PyExc_ValueError, "not a way to know a pong");
        return NULL;
    }
    r->expects_pong = (uint8_t)how;
    Py_RETURN_NONE;
}

static PyObject *
WSReader_hold_frames(PyObject *self, PyObject *flag)
{
    int hold = PyObject_IsTrue(flag);
    if (hold < 0) {
        return NULL;
    }
    pyws_reader_pause((WSReaderObject *)self, hold);
    Py_RETURN_NONE;
}

static PyObject *
WSReader_go_on(PyObject *self, PyObject *arg)
{
    WSReaderObject *r = (WSReaderObject *)self;
    int frames = PyLong_AsLong(arg) > 0 ? (int)PyLong_AsLong(arg) : 0;
    if (PyErr_Occurred() || reader_check(r, "_go_on") < 0) {
        return NULL;
    }
    if (pyws_reader_has_work(r) && pyws_reader_run(r, &frames) < 0) {
        return NULL;
    }
    return PyBool_FromLong(pyws_reader_has_work(r));
}

static PyObject *
WSReader_free(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    WSReaderObject *r = (WSReaderObject *)self;
    pyws_reader_discard(r);
    pyws_reader_take_back(r);
    ws_ring_free(&r->ring);
    PyMem_RawFree(r->http);
    r->http = NULL;
    ws_message_drop(&r->message);
    Py_CLEAR(r->spare);
    Py_CLEAR(r->deflate);
    Py_CLEAR(r->listener);
    Py_CLEAR(r->callbacks);
    Py_CLEAR(r->transport);
    Py_RETURN_NONE;
}

/* ---- life ---- */

static int
WSReader_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"is_client", "buffer_size", NULL};
    WSReaderObject *r = (WSReaderObject *)self;
    int is_client;
    Py_ssize_t buffer_size;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "pn:WSReader", names,
                                     &is_client, &buffer_size)) {
        return -1;
    }
    if (buffer_size <= 0) {
        PyErr_SetString(PyExc_ValueError,
                        "read_buffer_init_size must be positive");
        return -1;
    }
    if (r->made || r->begun) {
        PyErr_SetString(PyExc_TypeError, "a WSReader is initialized once");
        return -1;
    }
    r->http = PyMem_RawMalloc(sizeof(*r->http));
    if (r->http == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    ws_http_init(r->http, is_client);
    ws_ring_init(&r->ring, &pyws_mem, &r->state->spare, (size_t)buffer_size);
    r->made = 1;
    r->mode = PYWS_READ_HEAD;
    return 0;
}

static PyObject *
WSReader_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    pyws_state *state = pyws_state_of(type);
    if (state == NULL) {
        return NULL;
    }
    WSReaderObject *r = (WSReaderObject *)type->tp_alloc(type, 0);
    if (r == NULL) {
        return NULL;
    }
    r->state = state;
    r->thread = PyThread_get_thread_ident();
    r->mode = PYWS_READ_DISCARD;
    ws_ring_init(&r->ring, &pyws_mem, &state->spare, WS_BLOCK_SIZE_MAX);
    return (PyObject *)r;
}

static int
WSReader_traverse(PyObject *self, visitproc visit, void *arg)
{
    WSReaderObject *r = (WSReaderObject *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(r->transport);
    Py_VISIT(r->listener);
    Py_VISIT(r->callbacks);
    Py_VISIT(r->deflate);
    return 0;
}

static int
WSReader_clear(PyObject *self)
{
    WSReaderObject *r = (WSReaderObject *)self;
    pyws_reader_discard(r);
    Py_CLEAR(r->transport);
    Py_CLEAR(r->listener);
    Py_CLEAR(r->callbacks);
    Py_CLEAR(r->deflate);
    return 0;
}

static void
WSReader_dealloc(PyObject *self)
{
    WSReaderObject *r = (WSReaderObject *)self;
    PyObject_GC_UnTrack(self);
    (void)WSReader_clear(self);
    Py_CLEAR(r->spare);
    ws_message_drop(&r->message);
    pyws_reader_take_back(r);
    ws_ring_free(&r->ring);
    PyMem_RawFree(r->http);
    pyws_dealloc_tail(self);
}

/* ---- type ---- */

PyDoc_STRVAR(
    WSReader_doc,
    "WSReader(is_client, buffer_size)\n--\n\n"
    "The receiving side of one connection: get_buffer() and buffer_updated() "
    "of\n"
    "asyncio.BufferedProtocol. The package's protocol derives from it and\n"
    "supplies what happens once per connection.");

static PyMethodDef WSReader_methods[] = {
    {"get_buffer", WSReader_get_buffer, METH_O,
     "get_buffer($self, sizehint, /)\n--\n\n"
     "Return a writable memoryview for the next read."},
    {"buffer_updated", WSReader_buffer_updated, METH_O,
     "buffer_updated($self, nbytes, /)\n--\n\n"
     "Take nbytes that were written to the last get_buffer()'s view."},
    {"_start_frames", WSReader_start_frames, METH_VARARGS,
     "_start_frames($self, transport, listener, max_frame_size, extended,\n"
     "              assembles, max_message_size, deflate, coalesces, /)\n"
     "--\n\n"
     "The handshake is done: what follows are frames; extended allows RSV "
     "bits,\n"
     "assembles asks for whole messages, deflate is None or a Deflate, "
     "coalesces\n"
     "lets what the callbacks of one read send leave together."},
    {"_stop_frames", WSReader_stop_frames, METH_NOARGS,
     "_stop_frames($self, /)\n--\n\n"
     "Deliver nothing more; discard what comes."},
    {"_take_rest", WSReader_take_rest, METH_NOARGS,
     "_take_rest($self, /)\n--\n\n"
     "Take out and return the bytes that are not parsed yet."},
    {"_read_body", WSReader_read_body, METH_NOARGS,
     "_read_body($self, /)\n--\n\n"
     "Give what follows the head to _body_received(), until _stop_frames()."},
    {"_watch_input", WSReader_watch_input, METH_NOARGS,
     "_watch_input($self, /)\n--\n\n"
     "Note from now on when input comes."},
    {"_input", WSReader_input, METH_NOARGS,
     "_input($self, /)\n--\n\n"
     "Return how often input came since _watch_input(), and how many seconds\n"
     "ago it last did."},
    {"_expect_pong", WSReader_expect_pong, METH_O,
     "_expect_pong($self, how, /)\n--\n\n"
     "Say how to know the answer to a ping: none is expected (PONG_NONE), it "
     "is "
     "a\nPONG (PONG_OPCODE), the listener knows (PONG_ASK)."},
    {"_hold_frames", WSReader_hold_frames, METH_O,
     "_hold_frames($self, hold, /)\n--\n\n"
     "Hold back frames, also those already read, or let them go: _go_on()."},
    {"_go_on", WSReader_go_on, METH_O,
     "_go_on($self, frames, /)\n--\n\n"
     "Deliver so many of the frames that were held back; whether more are "
     "left."},
    {"_free", WSReader_free, METH_NOARGS,
     "_free($self, /)\n--\n\n"
     "The connection is lost: give everything back."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot WSReader_slots[] = {
    {Py_tp_doc, (void *)WSReader_doc},
    {Py_tp_new, WSReader_new},
    {Py_tp_init, WSReader_init},
    {Py_tp_dealloc, WSReader_dealloc},
    {Py_tp_traverse, WSReader_traverse},
    {Py_tp_clear, WSReader_clear},
    {Py_tp_methods, WSReader_methods},
    {Py_bf_getbuffer, WSReader_getbuffer},
    {Py_bf_releasebuffer, WSReader_releasebuffer},
    {0, NULL},
};

static PyType_Spec WSReader_spec = {
    .name = "picows_c._core.WSReader",
    .basicsize = sizeof(WSReaderObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = WSReader_slots,
};

int
pyws_reader_add_type(PyObject *module, pyws_state *state)
{
    if (pyws_add_type(module, &WSReader_spec, &state->WSReader_type) < 0) {
        return -1;
    }
    /* of _expect_pong() */
    if (PyModule_AddIntConstant(module, "PONG_NONE", PYWS_PONG_NONE) < 0 ||
        PyModule_AddIntConstant(module, "PONG_OPCODE", PYWS_PONG_OPCODE) < 0 ||
        PyModule_AddIntConstant(module, "PONG_ASK", PYWS_PONG_ASK) < 0) {
        return -1;
    }
    return 0;
}
