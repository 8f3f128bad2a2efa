/* stream_type.c - the Python face of Stream: asyncio.Transport's surface. */
#include "stream.h"

#ifdef WS_POLL_KIND

#  include "object.h"
#  include "sockio.h"
#  include "tls.h"
#  include "view.h"

/* asyncio's default watermark, in bytes. */
#  define STREAM_HIGH (64 * 1024)

/* ---- life ---- */

/* Before the old one goes, which can run anything. */
static void
stream_set_protocol(StreamObject *s, PyObject *protocol)
{
    PyObject *old = s->protocol;
    s->protocol = Py_NewRef(protocol);
    s->reader = PyObject_TypeCheck(protocol, s->state->WSReader_type)
                    ? (WSReaderObject *)protocol
                    : NULL;
    if (s->reader != NULL) {
        pyws_reader_pause(s->reader, s->paused);
    }
    Py_XDECREF(old);
}

static PyObject *
Stream_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    pyws_state *state = pyws_state_of(type);
    if (state == NULL) {
        return NULL;
    }
    StreamObject *s = (StreamObject *)type->tp_alloc(type, 0);
    if (s == NULL) {
        return NULL;
    }
    s->state = state;
    s->thread = PyThread_get_thread_ident();
    s->fd = -1;
    s->slot = PYWS_NO_SLOT;
    s->closing = 1;
    s->high = STREAM_HIGH;
    s->low = STREAM_HIGH / 4;
    ws_queue_init(&s->out, &pyws_mem);
    return (PyObject *)s;
}

static int
Stream_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"poller",   "loop",    "fd",
                            "protocol", "context", NULL};
    StreamObject *s = (StreamObject *)self;
    PyObject *poller, *loop, *protocol, *context;
    int fd;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!OiOO:Stream", names,
                                     s->state->Poller_type, &poller, &loop, &fd,
                                     &protocol, &context)) {
        return -1;
    }
    if (s->poller != NULL) {
        PyErr_SetString(PyExc_TypeError, "a Stream is initialized once");
        return -1;
    }
    if (fd < 0) {
        PyErr_SetString(PyExc_ValueError, "a Stream needs a descriptor");
        return -1;
    }
    if (!PyContext_CheckExact(context)) {
        PyErr_SetString(PyExc_TypeError,
                        "context must be a contextvars.Context");
        return -1;
    }
    s->poller = Py_NewRef(poller);
    s->watch = &((pyws_watcher *)poller)->watch;
    s->loop = Py_NewRef(loop);
    s->context = Py_NewRef(context);
    stream_set_protocol(s, protocol);
    if (pyws_watch_add(s->watch, fd, PYWS_STREAM, self, &s->slot) < 0) {
        return -1;
    }
    /* From here on the descriptor is ours. It is watched when the stream
     * starts, which what made it does next. */
    s->fd = fd;
    s->closing = 0;
    return 0;
}

static int
Stream_traverse(PyObject *self, visitproc visit, void *arg)
{
    StreamObject *s = (StreamObject *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(s->poller);
    Py_VISIT(s->loop);
    Py_VISIT(s->context);
    Py_VISIT(s->protocol);
    Py_VISIT(s->tls_done);
    Py_VISIT(s->lost_for);
    Py_VISIT(s->tls_failed);
    return pyws_tls_traverse(s->tls, visit, arg);
}

static int
Stream_clear(PyObject *self)
{
    StreamObject *s = (StreamObject *)self;
    pyws_stream_abandon(s, 1);
    s->watch = NULL;
    Py_CLEAR(s->poller);
    Py_CLEAR(s->context);
    return 0;
}

static void
Stream_dealloc(PyObject *self)
{
    StreamObject *s = (StreamObject *)self;
    PyObject_GC_UnTrack(self);
    if (s->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    /* The slot owned a reference: nothing is watched any more. */
    if (s->fd >= 0) {
        ws_sock_close(s->fd, 1);
        s->fd = -1;
    }
    pyws_stream_forget(s);
    ws_queue_free(&s->out);
    Py_CLEAR(s->context);
    Py_CLEAR(s->poller);
    pyws_dealloc_tail(self);
}

/* ---- asyncio.Transport ---- */

#  define STREAM_METHOD(name) \
    static PyObject *Stream_##name(PyObject *self, PyObject *Py_UNUSED(arg))

/* 0 or -1 as None or NULL. */
static PyObject *
stream_none(int rc)
{
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static int
stream_write(StreamObject *s, PyObject *data)
{
    struct pyws_view view;
    int rc;

    if (PyUnicode_Check(data) || data == Py_None) {
        PyErr_Format(PyExc_TypeError, "data must be bytes-like, not %.100s",
                     Py_TYPE(data)->tp_name);
        return -1;
    }
    if (pyws_view_get(&view, data) < 0) {
        return -1;
    }
    if (s->eof_out) {
        PyErr_SetString(PyExc_RuntimeError, "write() after write_eof()");
        rc = -1;
    }
    else if (s->closing || s->fd < 0) {
        rc = 0;
    }
    else if (s->tls == NULL) {
        rc = pyws_stream_send_raw(s, view.data, view.len);
    }
    else {
        rc = pyws_stream_write_tls(s, view.data, view.len);
    }
    pyws_view_release(&view);
    return rc;
}

static PyObject *
Stream_write(PyObject *self, PyObject *data)
{
    StreamObject *s = (StreamObject *)self;
    if (pyws_stream_check(s, "write") < 0) {
        return NULL;
    }
    return stream_none(stream_write(s, data));
}

static PyObject *
Stream_writelines(PyObject *self, PyObject *list)
{
    if (pyws_stream_check((StreamObject *)self, "writelines") < 0) {
        return NULL;
    }
    PyObject *iterator = PyObject_GetIter(list), *data;
    if (iterator == NULL) {
        return NULL;
    }
    int rc = 0;
    while (rc == 0 && (data = PyIter_Next(iterator)) != NULL) {
        rc = stream_write((StreamObject *)self, data);
        Py_DECREF(data);
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? NULL : stream_none(rc);
}

STREAM_METHOD(write_eof)
{
    StreamObject *s = (StreamObject *)self;
    return pyws_stream_check(s, "write_eof") < 0
               ? NULL
               : stream_none(pyws_stream_write_eof(s));
}

STREAM_METHOD(can_write_eof)
{
    (void)self;
    Py_RETURN_TRUE;
}

STREAM_METHOD(close)
{
    StreamObject *s = (StreamObject *)self;
    return pyws_stream_check(s, "close") < 0
               ? NULL
               : stream_none(pyws_stream_close(s));
}

STREAM_METHOD(abort)
{
    StreamObject *s = (StreamObject *)self;
    return pyws_stream_check(s, "abort") < 0
               ? NULL
               : stream_none(pyws_stream_lost(s, Py_None));
}

STREAM_METHOD(is_closing)
{
    return PyBool_FromLong(((StreamObject *)self)->closing);
}

STREAM_METHOD(is_reading)
{
    StreamObject *s = (StreamObject *)self;
    return PyBool_FromLong(!s->tls_owes_end && pyws_stream_is_reading(s));
}

STREAM_METHOD(pause_reading)
{
    StreamObject *s = (StreamObject *)self;
    if (pyws_stream_check(s, "pause_reading") < 0) {
        return NULL;
    }
    s->paused = 1;
    if (s->reader != NULL) {
        pyws_reader_pause(s->reader, 1);
    }
    return stream_none(pyws_stream_update(s));
}

STREAM_METHOD(resume_reading)
{
    StreamObject *s = (StreamObject *)self;
    if (pyws_stream_check(s, "resume_reading") < 0) {
        return NULL;
    }
    if (!s->paused) {
        Py_RETURN_NONE;
    }
    s->paused = 0;
    if (s->reader != NULL) {
        pyws_reader_pause(s->reader, 0);
    }
    if (pyws_stream_update(s) < 0) {
        return NULL;
    }
    /* Frames that had been read, and plaintext, come before the next read. */
    return stream_none(s->fd >= 0 && (s->tls_left || s->reader != NULL)
                           ? pyws_stream_pend(s)
                           : 0);
}

STREAM_METHOD(get_write_buffer_size)
{
    StreamObject *s = (StreamObject *)self;
    return pyws_stream_check(s, "get_write_buffer_size") < 0
               ? NULL
               : PyLong_FromSize_t(pyws_stream_waiting(s));
}

STREAM_METHOD(get_write_buffer_limits)
{
    StreamObject *s = (StreamObject *)self;
    return Py_BuildValue("(nn)", (Py_ssize_t)s->low, (Py_ssize_t)s->high);
}

static PyObject *
Stream_set_write_buffer_limits(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"high", "low", NULL};
    StreamObject *s = (StreamObject *)self;
    PyObject *high = Py_None, *low = Py_None;
    Py_ssize_t h, l;

    if (pyws_stream_check(s, "set_write_buffer_limits") < 0) {
        return NULL;
    }
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "|OO:set_write_buffer_limits", names, &high, &low)) {
        return NULL;
    }
    l = low == Py_None ? -1 : PyLong_AsSsize_t(low);
    h = high == Py_None ? -1 : PyLong_AsSsize_t(high);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (high == Py_None) {
        h = low == Py_None           ? STREAM_HIGH
            : l > PY_SSIZE_T_MAX / 4 ? PY_SSIZE_T_MAX
                                     : 4 * l;
    }
    if (low == Py_None) {
        l = h / 4;
    }
    if (!(h >= l && l >= 0)) {
        return PyErr_Format(PyExc_ValueError,
                            "high (%zd) must be >= low (%zd) must be >= 0", h,
                            l);
    }
    s->high = (size_t)h;
    s->low = (size_t)l;
    /* What waits may exceed it already. */
    return stream_none(pyws_stream_queued(s));
}

STREAM_METHOD(get_protocol)
{
    StreamObject *s = (StreamObject *)self;
    if (pyws_stream_check(s, "get_protocol") < 0) {
        return NULL;
    }
    return Py_NewRef(s->protocol == NULL ? Py_None : s->protocol);
}

static PyObject *
Stream_set_protocol(PyObject *self, PyObject *protocol)
{
    StreamObject *s = (StreamObject *)self;
    if (pyws_stream_check(s, "set_protocol") < 0) {
        return NULL;
    }
    stream_set_protocol(s, protocol);
    /* Frames that had been read may wait in it since it was paused. */
    return stream_none(s->reader != NULL && pyws_reader_has_work(s->reader)
                           ? pyws_stream_pend(s)
                           : 0);
}

/* ---- for the package ---- */

static PyObject *
Stream_start(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    StreamObject *s = (StreamObject *)self;
    if (pyws_stream_check(s, "_start") < 0) {
        return NULL;
    }
    s->started = 1;
    if (pyws_stream_update(s) < 0) {
        return NULL;
    }
    return stream_none(s->tls_left && s->fd >= 0 ? pyws_stream_pend(s) : 0);
}

/* Whether TLS can begin now: 0, or -1 with ConnectionResetError. */
static int
stream_can_start_tls(const StreamObject *s)
{
    if (s->fd < 0 || s->tls_handshaking ||
        (s->tls != NULL && pyws_tls_is_busy(s->tls))) {
        PyErr_SetString(PyExc_ConnectionResetError,
                        "the stream is closed, or in a TLS handshake");
        return -1;
    }
    return 0;
}

static PyObject *
Stream_start_tls(PyObject *self, PyObject *args)
{
    StreamObject *s = (StreamObject *)self;
    PyObject *wrap, *incoming, *outgoing, *done;

    if (pyws_stream_check(s, "_start_tls") < 0 ||
        !PyArg_ParseTuple(args, "OOOO:_start_tls", &wrap, &incoming, &outgoing,
                          &done) ||
        stream_can_start_tls(s) < 0) {
        return NULL;
    }
    struct pyws_tls *tls = pyws_tls_new(s->state, wrap, incoming, outgoing);
    if (tls == NULL) {
        return NULL;
    }
    /* wrap() is Python's, and can have run anything. */
    if (stream_can_start_tls(s) < 0) {
        pyws_tls_free(tls);
        return NULL;
    }
    pyws_tls_put(tls, s->tls);
    s->tls = tls;
    s->tls_handshaking = 1;
    PyObject *object = Py_NewRef(pyws_tls_object(tls));
    Py_XSETREF(s->tls_done, Py_NewRef(done));
    /* The client speaks first; what came already is looked at, too. */
    s->tls_left = 1;
    if (pyws_stream_update(s) < 0 || pyws_stream_pend(s) < 0) {
        Py_CLEAR(object);
    }
    return object;
}

STREAM_METHOD(tls_is_direct)
{
    StreamObject *s = (StreamObject *)self;
    return PyBool_FromLong(s->tls != NULL && pyws_tls_is_direct(s->tls));
}

static PyObject *
Stream_bind(PyObject *self, PyObject *args)
{
    StreamObject *s = (StreamObject *)self;
    PyObject *transport;
    double busy_poll;

    if (!PyArg_ParseTuple(args, "O!d:_bind", s->state->WSTransport_type,
                          &transport, &busy_poll)) {
        return NULL;
    }
    if (!(busy_poll >= 0 && busy_poll <= 1)) {
        PyErr_SetString(PyExc_ValueError, "busy_poll is 0 to 1 second");
        return NULL;
    }
    struct pyws_way *way = &((WSTransportObject *)transport)->way;
    if (way->target != self) {
        PyErr_SetString(PyExc_ValueError,
                        "the WSTransport belongs to another transport");
        return NULL;
    }
    s->busy_us = (uint32_t)(busy_poll * 1e6);
    way->io = &pyws_stream_io;
    Py_RETURN_NONE;
}

static PyObject *
Stream_lost(PyObject *self, PyObject *exc)
{
    return pyws_stream_tell_lost((StreamObject *)self, exc);
}

static PyObject *
Stream_tls_failed(PyObject *self, PyObject *exc)
{
    return pyws_stream_tell_failed((StreamObject *)self, exc);
}

/* A socket object over a copy of the descriptor.  It is the caller's at every
 * moment, a Ctrl-C included: the module's own class runs no Python. */
STREAM_METHOD(socket)
{
    StreamObject *s = (StreamObject *)self;
    if (pyws_stream_check(s, "get_extra_info(\"socket\")") < 0) {
        return NULL;
    }
    PyObject *module = PyImport_ImportModule("_socket");
    PyObject *type =
        module == NULL ? NULL : PyObject_GetAttrString(module, "socket");
    Py_XDECREF(module);
    if (type == NULL) {
        return NULL;
    }
    int fd = s->fd < 0 ? -EBADF : ws_sock_dup(s->fd);
    if (fd < 0) {
        errno = -fd;
        Py_DECREF(type);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    /* family, type and proto are asked of the descriptor */
    PyObject *sock = PyObject_CallFunction(type, "iiii", -1, -1, -1, fd);
    if (sock == NULL) {
        ws_sock_close(fd, 0);
    }
    Py_DECREF(type);
    return sock;
}

STREAM_METHOD(fileno)
{
    return PyLong_FromLong(((StreamObject *)self)->fd);
}

/* ---- type ---- */

PyDoc_STRVAR(Stream_doc,
             "Stream(poller, loop, fd, protocol, context)\n--\n\n"
             "A connected socket on a poller: the surface of "
             "asyncio.Transport. The package's\n"
             "Stream derives from it and adds get_extra_info().");

static PyMethodDef Stream_methods[] = {
    {"write", Stream_write, METH_O,
     "write($self, data, /)\n--\n\nSend bytes now, or as soon as the system "
     "takes them."},
    {"writelines", Stream_writelines, METH_O,
     "writelines($self, list_of_data, /)\n--\n\nwrite() each of them."},
    {"write_eof", Stream_write_eof, METH_NOARGS,
     "write_eof($self, /)\n--\n\n"
     "End our side behind what waits (close_notify first, with TLS); reading "
     "goes on."},
    {"can_write_eof", Stream_can_write_eof, METH_NOARGS,
     "can_write_eof($self, /)\n--\n\nReturn True."},
    {"close", Stream_close, METH_NOARGS,
     "close($self, /)\n--\n\nSend what waits, then end the connection."},
    {"abort", Stream_abort, METH_NOARGS,
     "abort($self, /)\n--\n\nEnd the connection now."},
    {"is_closing", Stream_is_closing, METH_NOARGS,
     "is_closing($self, /)\n--\n\nReturn whether the end has begun."},
    {"is_reading", Stream_is_reading, METH_NOARGS,
     "is_reading($self, /)\n--\n\nReturn whether input is taken."},
    {"pause_reading", Stream_pause_reading, METH_NOARGS,
     "pause_reading($self, /)\n--\n\n"
     "Take no more input; what was read but not delivered waits too."},
    {"resume_reading", Stream_resume_reading, METH_NOARGS,
     "resume_reading($self, /)\n--\n\nGo on, with what waits first."},
    {"get_write_buffer_size", Stream_get_write_buffer_size, METH_NOARGS,
     "get_write_buffer_size($self, /)\n--\n\nReturn how many bytes wait."},
    {"get_write_buffer_limits", Stream_get_write_buffer_limits, METH_NOARGS,
     "get_write_buffer_limits($self, /)\n--\n\nReturn (low, high) in bytes."},
    {"set_write_buffer_limits",
     (PyCFunction)(void (*)(void))Stream_set_write_buffer_limits,
     METH_VARARGS | METH_KEYWORDS,
     "set_write_buffer_limits($self, /, high=None, low=None)\n--\n\n"
     "Set the watermarks of pause_writing() and resume_writing(), in bytes."},
    {"get_protocol", Stream_get_protocol, METH_NOARGS,
     "get_protocol($self, /)\n--\n\nReturn the protocol, None at the end."},
    {"set_protocol", Stream_set_protocol, METH_O,
     "set_protocol($self, protocol, /)\n--\n\nCall another protocol from now "
     "on."},
    {"_start", Stream_start, METH_NOARGS,
     "_start($self, /)\n--\n\nBegin to read."},
    {"_start_tls", Stream_start_tls, METH_VARARGS,
     "_start_tls($self, wrap, incoming, outgoing, done, /)\n--\n\n"
     "Put a TLS filter on top and begin its handshake; wrap() returns the "
     "SSLObject,\nand so does this; done(None or exception)."},
    {"_tls_is_direct", Stream_tls_is_direct, METH_NOARGS,
     "_tls_is_direct($self, /)\n--\n\nReturn whether OpenSSL is called past "
     "the SSLObject."},
    {"_bind", Stream_bind, METH_VARARGS,
     "_bind($self, transport, busy_poll, /)\n--\n\n"
     "Be the way out of a WSTransport; ask for so many seconds after input."},
    {"_lost", Stream_lost, METH_O,
     "_lost($self, exc, /)\n--\n\nTell the protocol; scheduled by the stream."},
    {"_tls_failed", Stream_tls_failed, METH_O,
     "_tls_failed($self, exc, /)\n--\n\nTell who waits for TLS; scheduled."},
    {"_socket", Stream_socket, METH_NOARGS,
     "_socket($self, /)\n--\n\nReturn a new _socket.socket over a copy of the "
     "descriptor; OSError at the end."},
    {"_fileno", Stream_fileno, METH_NOARGS,
     "_fileno($self, /)\n--\n\nReturn the descriptor, -1 at the end."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef Stream_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(StreamObject, weakrefs),
     READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot Stream_slots[] = {
    {Py_tp_doc, (void *)Stream_doc},
    {Py_tp_new, Stream_new},
    {Py_tp_init, Stream_init},
    {Py_tp_dealloc, Stream_dealloc},
    {Py_tp_traverse, Stream_traverse},
    {Py_tp_clear, Stream_clear},
    {Py_tp_methods, Stream_methods},
    {Py_tp_members, Stream_members},
    {0, NULL},
};

static PyType_Spec Stream_spec = {
    .name = "picows_c._core.Stream",
    .basicsize = sizeof(StreamObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = Stream_slots,
};

int
pyws_stream_add_type(PyObject *module, pyws_state *state)
{
    return pyws_add_type(module, &Stream_spec, &state->Stream_type);
}

#else

int
pyws_stream_add_type(PyObject *module, pyws_state *state)
{
    (void)module;
    (void)state;
    return 0;
}

#endif
