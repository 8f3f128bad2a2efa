/* transport_type.c - the Python face of WSTransport. */
#include "args.h"
#include "loop_io.h"
#include "object.h"
#include "raise.h"
#include "sockio.h"
#include "transport.h"
#include "view.h"
#include "ws_err.h"

/* ---- arguments ---- */

/* The last arguments of send() and send_reuse_external_bytearray(). */
enum { BIT_FIN, BIT_RSV1, BIT_RSV2, BIT_RSV3, BIT_ARGS };
#define BIT_NAMES "fin", "rsv1", "rsv2", "rsv3"

/* Reads them from |args|, NULL where absent.  0, or -1 with an exception set.
 */
static int
args_bits(PyObject *const *args, int *fin, unsigned *rsv)
{
    int bits[BIT_ARGS];
    for (int i = 0; i < BIT_ARGS; i++) {
        bits[i] = pyws_args_flag(args[i], i == BIT_FIN);
        if (bits[i] < 0) {
            return -1;
        }
    }
    *fin = bits[BIT_FIN];
    *rsv = (bits[BIT_RSV1] ? WS_BIT_RSV1 : 0) |
           (bits[BIT_RSV2] ? WS_BIT_RSV2 : 0) |
           (bits[BIT_RSV3] ? WS_BIT_RSV3 : 0);
    return 0;
}

/* Reads a close code and a reason, NULL where absent.  0, then |view| is to be
 * released; -1 with an exception set. */
static int
args_close(PyObject *const *args, struct ws_close *close,
           struct pyws_view *view)
{
    long code = args[0] == NULL
                    ? 0
                    : pyws_args_number(args[0], UINT16_MAX, WS_ERR_SEND_CODE);
    if (code < 0 || pyws_view_get(view, args[1]) < 0) {
        return -1;
    }
    close->code = (unsigned)code;
    close->reason = view->len > 0 ? view->data : NULL;
    close->reason_len = view->len;
    return 0;
}

/* ---- methods ---- */

/* send(CLOSE, ...) is send_close() with its arguments still packed. */
static int
transport_send_packed_close(WSTransportObject *t, int fin, unsigned rsv,
                            const struct pyws_view *view)
{
    struct ws_close close = {0, NULL, 0};

    int err = ws_conn_may_send(&t->conn, WS_OP_CLOSE, fin, rsv, view->len);
    if (err == WS_ERR_SEND_CLOSED) {
        return 0;
    }
    if (err == 0) {
        switch (ws_close_parse(view->data, view->len, &close)) {
        case 0:
            break;
        case WS_ERR_CLOSE_TEXT:
            err = WS_ERR_SEND_REASON_TEXT;
            break;
        default:
            err = WS_ERR_SEND_CODE;
        }
    }
    if (err != 0) {
        pyws_raise_err(err);
        return -1;
    }
    return pyws_transport_close(t, &close);
}

static PyObject *
WSTransport_send(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames)
{
    enum { TYPE, MESSAGE, BITS, COUNT = BITS + BIT_ARGS };
    static const char *const names[COUNT] = {"msg_type", "message", BIT_NAMES};
    WSTransportObject *t = (WSTransportObject *)self;
    PyObject *arg[COUNT];
    struct pyws_view view;
    unsigned rsv = 0;
    int fin = 1, opcode, rc;

    if (pyws_transport_check(t, "send") < 0) {
        return NULL;
    }
    if (WS_LIKELY(nargs == BITS && kwnames == NULL)) {
        arg[TYPE] = args[0];
        arg[MESSAGE] = args[1];
    }
    else if (pyws_args_sort("send", names, COUNT, BITS, args, nargs, kwnames,
                            arg) < 0 ||
             args_bits(arg + BITS, &fin, &rsv) < 0) {
        return NULL;
    }
    opcode = pyws_args_opcode(t->state, arg[TYPE]);
    if (opcode < 0 || pyws_view_get(&view, arg[MESSAGE]) < 0) {
        return NULL;
    }
    if (WS_UNLIKELY(opcode == WS_OP_CLOSE)) {
        rc = transport_send_packed_close(t, fin, rsv, &view);
    }
    else {
        rc = pyws_transport_send(t, (unsigned)opcode, fin, rsv, view.data,
                                 view.len);
    }
    pyws_view_release(&view);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* The part of send_reuse_external_bytearray() with the buffer at hand. */
static int
transport_send_within(WSTransportObject *t, PyObject *const *arg, int opcode,
                      int fin, unsigned rsv, const Py_buffer *buffer)
{
    Py_ssize_t offset = PyNumber_AsSsize_t(arg[0], PyExc_ValueError);
    if (offset == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (offset < WS_HEAD_MAX || offset > buffer->len) {
        pyws_raise_offset(offset, buffer->len);
        return -1;
    }
    return pyws_transport_send_reuse(t, (unsigned)opcode, fin, rsv,
                                     (uint8_t *)buffer->buf + offset,
                                     (size_t)(buffer->len - offset));
}

static PyObject *
WSTransport_send_reuse(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                       PyObject *kwnames)
{
    enum { TYPE, BUFFER, OFFSET, BITS, COUNT = BITS + BIT_ARGS };
    static const char *const method = "send_reuse_external_bytearray";
    static const char *const names[COUNT] = {"msg_type", "buffer", "msg_offset",
                                             BIT_NAMES};
    WSTransportObject *t = (WSTransportObject *)self;
    PyObject *arg[COUNT];
    Py_buffer buffer;
    unsigned rsv;
    int fin;

    if (pyws_transport_check(t, method) < 0 ||
        pyws_args_sort(method, names, COUNT, BITS, args, nargs, kwnames, arg) <
            0 ||
        args_bits(arg + BITS, &fin, &rsv) < 0) {
        return NULL;
    }
    int opcode = pyws_args_opcode(t->state, arg[TYPE]);
    if (opcode < 0) {
        return NULL;
    }
    if (opcode == WS_OP_CLOSE || arg[BUFFER] == Py_None) {
        return pyws_raise_reuse(opcode == WS_OP_CLOSE);
    }
    if (PyObject_GetBuffer(arg[BUFFER], &buffer, PyBUF_WRITABLE) < 0) {
        if (PyErr_ExceptionMatches(PyExc_BufferError)) {
            return pyws_raise_payload(arg[BUFFER]);
        }
        return NULL;
    }
    int rc = transport_send_within(t, arg + OFFSET, opcode, fin, rsv, &buffer);
    PyBuffer_Release(&buffer);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
transport_send_control(PyObject *self, unsigned opcode, const char *method,
                       PyObject *const *args, Py_ssize_t nargs,
                       PyObject *kwnames)
{
    static const char *const names[1] = {"message"};
    WSTransportObject *t = (WSTransportObject *)self;
    struct pyws_view view;
    PyObject *message;

    if (pyws_transport_check(t, method) < 0 ||
        pyws_args_sort(method, names, 1, 0, args, nargs, kwnames, &message) <
            0 ||
        pyws_view_get(&view, message) < 0) {
        return NULL;
    }
    int rc = pyws_transport_send(t, opcode, 1, 0, view.data, view.len);
    pyws_view_release(&view);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
WSTransport_send_ping(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kwnames)
{
    return transport_send_control(self, WS_OP_PING, "send_ping", args, nargs,
                                  kwnames);
}

static PyObject *
WSTransport_send_pong(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kwnames)
{
    return transport_send_control(self, WS_OP_PONG, "send_pong", args, nargs,
                                  kwnames);
}

static PyObject *
WSTransport_send_close(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                       PyObject *kwnames)
{
    static const char *const names[2] = {"close_code", "close_message"};
    WSTransportObject *t = (WSTransportObject *)self;
    struct ws_close close;
    struct pyws_view view;
    PyObject *arg[2];

    if (pyws_transport_check(t, "send_close") < 0 ||
        pyws_args_sort("send_close", names, 2, 0, args, nargs, kwnames, arg) <
            0) {
        return NULL;
    }
    if (args_close(arg, &close, &view) < 0) {
        return NULL;
    }
    int rc = pyws_transport_close(t, &close);
    pyws_view_release(&view);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- for the package ---- */

static PyObject *
WSTransport_check_close(PyObject *Py_UNUSED(none), PyObject *const *args,
                        Py_ssize_t nargs)
{
    struct ws_close close;
    struct pyws_view view;

    if (nargs != 2) {
        return pyws_raise_args("_check_close", "takes a code and a reason");
    }
    if (args_close(args, &close, &view) < 0) {
        return NULL;
    }
    int err = ws_close_check(&close);
    pyws_view_release(&view);
    if (err != 0) {
        return pyws_raise_err(err);
    }
    Py_RETURN_NONE;
}

static PyObject *
WSTransport_check_thread(PyObject *self, PyObject *method)
{
    const char *name = PyUnicode_AsUTF8(method);
    if (name == NULL ||
        pyws_transport_check((WSTransportObject *)self, name) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
WSTransport_stop_sending(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    WSTransportObject *t = (WSTransportObject *)self;
    if (pyws_transport_flush(t) < 0) {
        PyErr_WriteUnraisable(self); /* the connection was aborted */
    }
    t->way.fd = -1;
    t->pong_waits = 0;
    ws_conn_lost(&t->conn);
    Py_RETURN_NONE;
}

static PyObject *
WSTransport_lost(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    WSTransportObject *t = (WSTransportObject *)self;
    Py_CLEAR(t->owner);
    Py_CLEAR(t->deflate);
    ws_conn_lost(&t->conn);
    return WSTransport_stop_sending(self, NULL);
}

static PyObject *
WSTransport_cork(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    WSTransportObject *t = (WSTransportObject *)self;
    if (pyws_transport_check(t, "cork") < 0) {
        return NULL;
    }
    t->corks++;
    Py_RETURN_NONE;
}

static PyObject *
WSTransport_uncork(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    WSTransportObject *t = (WSTransportObject *)self;
    if (pyws_transport_check(t, "cork") < 0) {
        return NULL;
    }
    if (t->corks > 0 && --t->corks == 0 && pyws_transport_flush(t) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
WSTransport_flush(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    WSTransportObject *t = (WSTransportObject *)self;
    if (pyws_transport_flush(t) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
WSTransport_counters(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    const struct pyws_stats *stats = &((WSTransportObject *)self)->stats;
    if (pyws_transport_check((WSTransportObject *)self, "stats") < 0) {
        return NULL;
    }
    return Py_BuildValue("(KKKKKKK)", stats->frames_sent, stats->messages_sent,
                         stats->bytes_sent, stats->frames_received,
                         stats->messages_received, stats->bytes_received,
                         stats->dropped);
}

static PyObject *
WSTransport_write_paused(PyObject *self, PyObject *flag)
{
    WSTransportObject *t = (WSTransportObject *)self;
    int paused = PyObject_IsTrue(flag);
    if (paused < 0) {
        return NULL;
    }
    t->write_paused = (uint8_t)paused;
    if (!paused && t->pong_waits) {
        t->pong_waits = 0;
        if (ws_conn_may_pong(&t->conn) &&
            pyws_transport_pong(t, t->pong, t->pong_len) < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

/* ---- life ---- */

static int
WSTransport_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"owner",       "target",    "fd",
                            "is_client",   "auto_pong", "traced",
                            "write_limit", "drops",     NULL};
    WSTransportObject *t = (WSTransportObject *)self;
    PyObject *owner, *target;
    Py_ssize_t write_limit;
    int fd, is_client, auto_pong, traced, drops;

    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "OOipppnp:WSTransport", names, &owner, &target, &fd,
            &is_client, &auto_pong, &traced, &write_limit, &drops)) {
        return -1;
    }
    if (write_limit < 0) {
        PyErr_SetString(PyExc_ValueError, "write_limit cannot be negative");
        return -1;
    }
    if (t->owner != NULL || t->way.target != NULL) {
        PyErr_SetString(PyExc_TypeError, "a WSTransport is initialized once");
        return -1;
    }
    if (is_client) {
        t->entropy = PyMem_RawMalloc(sizeof(*t->entropy));
        if (t->entropy == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        ws_entropy_init(t->entropy);
    }
    ws_conn_init(&t->conn, is_client, auto_pong, t->state->mask->fn);
    t->way.io = &pyws_loop_io;
    t->way.target = Py_NewRef(target);
    t->way.fd = WS_SOCKIO ? fd : -1;
    t->owner = Py_NewRef(owner);
    t->traced = (uint8_t)traced;
    t->write_limit = (size_t)write_limit;
    t->drops = (uint8_t)drops;
    return 0;
}

static PyObject *
WSTransport_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    pyws_state *state = pyws_state_of(type);
    if (state == NULL) {
        return NULL;
    }
    WSTransportObject *t = (WSTransportObject *)type->tp_alloc(type, 0);
    if (t == NULL) {
        return NULL;
    }
    t->state = state;
    t->thread = PyThread_get_thread_ident();
    t->way.io = &pyws_loop_io;
    t->way.state = state;
    t->way.fd = -1;
    /* Until __init__ has run, nothing can be sent. */
    ws_conn_init(&t->conn, /*is_client=*/0, /*auto_pong=*/0, state->mask->fn);
    ws_conn_lost(&t->conn);
    return (PyObject *)t;
}

static int
WSTransport_traverse(PyObject *self, visitproc visit, void *arg)
{
    WSTransportObject *t = (WSTransportObject *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(t->owner);
    Py_VISIT(t->way.target);
    Py_VISIT(t->deflate);
    return 0;
}

static int
WSTransport_clear(PyObject *self)
{
    WSTransportObject *t = (WSTransportObject *)self;
    ws_conn_lost(&t->conn);
    t->way.fd = -1;
    Py_CLEAR(t->owner);
    Py_CLEAR(t->way.target);
    Py_CLEAR(t->deflate);
    return 0;
}

static void
WSTransport_dealloc(PyObject *self)
{
    WSTransportObject *t = (WSTransportObject *)self;
    PyObject_GC_UnTrack(self);
    if (t->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    (void)WSTransport_clear(self);
    PyMem_RawFree(t->entropy);
    ws_block_decref(t->corked);
    pyws_dealloc_tail(self);
}

int
pyws_is_transport(PyObject *o)
{
    PyTypeObject *type = Py_TYPE(o);
    while (type != NULL && type->tp_dealloc != WSTransport_dealloc) {
        type = type->tp_base;
    }
    return type != NULL;
}

/* ---- attributes ---- */

static PyObject *
WSTransport_get_underlying(PyObject *self, void *Py_UNUSED(closure))
{
    PyObject *target = ((WSTransportObject *)self)->way.target;
    return Py_NewRef(target == NULL ? Py_None : target);
}

static PyObject *
WSTransport_get_write_buffer_size(PyObject *self, void *Py_UNUSED(closure))
{
    WSTransportObject *t = (WSTransportObject *)self;
    if (pyws_transport_check(t, "write_buffer_size") < 0) {
        return NULL;
    }
    Py_ssize_t waiting = pyws_transport_waiting(t);
    return waiting < 0 ? NULL : PyLong_FromSsize_t(waiting);
}

static PyObject *
WSTransport_get_is_client_side(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((WSTransportObject *)self)->conn.is_client);
}

static PyObject *
WSTransport_get_is_close_frame_sent(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((WSTransportObject *)self)->conn.close_sent);
}

static PyObject *
WSTransport_get_is_close_frame_received(PyObject *self,
                                        void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((WSTransportObject *)self)->conn.close_received);
}

static PyObject *
WSTransport_get_owner(PyObject *self, void *Py_UNUSED(closure))
{
    WSTransportObject *t = (WSTransportObject *)self;
    if (pyws_transport_check(t, "the connection's protocol") < 0) {
        return NULL;
    }
    return Py_NewRef(t->owner == NULL ? Py_None : t->owner);
}

/* ---- type ---- */

PyDoc_STRVAR(WSTransport_doc,
             "WSTransport(owner, target, fd, is_client, auto_pong, traced,\n"
             "            write_limit, drops)\n"
             "--\n\n"
             "The sending side of one connection, as far as bytes go; what is "
             "awaited is\n"
             "added by picows_c.WSTransport.");
PyDoc_STRVAR(
    WSTransport_send_doc,
    "send($self, /, msg_type, message, fin=True, rsv1=False, rsv2=False, "
    "rsv3=False)\n"
    "--\n\n"
    "Send one frame (RFC 6455, 5.2 and 5.6).\n"
    "\n"
    "message: str (sent as UTF-8), any C-contiguous buffer, or None for an "
    "empty\n"
    "payload. It is copied or in the system's hands when send() returns.\n"
    "fin: whether the frame ends its message. The fragments of a message "
    "follow\n"
    "each other as CONTINUATION frames (5.4); only control frames may stand "
    "between.\n"
    "\n"
    "Never blocks. Does nothing once CLOSE was sent or the connection is "
    "lost.\n"
    "send(WSMsgType.CLOSE, ...) is checked and goes the way of send_close().\n"
    "\n"
    "Raises TypeError (the type of an argument), ValueError (a reserved "
    "opcode, RSV\n"
    "bits without an extension, fragments out of order, a control frame over "
    "125\n"
    "bytes or with fin=False), UnicodeEncodeError (a lone surrogate), "
    "RuntimeError\n"
    "(another thread than the connection's).");
PyDoc_STRVAR(
    WSTransport_send_reuse_doc,
    "send_reuse_external_bytearray($self, /, msg_type, buffer, msg_offset, "
    "fin=True,\n"
    "                              rsv1=False, rsv2=False, rsv3=False)\n"
    "--\n\n"
    "Send buffer[msg_offset:] without a copy, as send() does otherwise.\n"
    "\n"
    "buffer: bytearray, or another writable C-contiguous buffer. Up to 14 "
    "bytes before\n"
    "msg_offset are overwritten with the frame's head, and a client masks the "
    "payload\n"
    "where it lies: its content is lost.\n"
    "msg_offset: where the payload begins, at least 14.\n"
    "\n"
    "Raises as send(); ValueError also for None, for CLOSE, and for an offset "
    "below 14\n"
    "or beyond the buffer's end.");
PyDoc_STRVAR(
    WSTransport_send_ping_doc,
    "send_ping($self, /, message=None)\n--\n\n"
    "Send a PING with up to 125 bytes (RFC 6455, 5.5.2). Raises as send().");
PyDoc_STRVAR(
    WSTransport_send_pong_doc,
    "send_pong($self, /, message=None)\n--\n\n"
    "Send a PONG with up to 125 bytes (RFC 6455, 5.5.3). Raises as send().");
PyDoc_STRVAR(
    WSTransport_send_close_doc,
    "send_close($self, /, close_code=0, close_message=None)\n--\n\n"
    "Send CLOSE (RFC 6455, 5.5.1 and 7.1.2); the second call does nothing.\n"
    "\n"
    "close_code: 1000-1003, 1007-1014 or 3000-4999; NO_INFO sends an empty "
    "CLOSE.\n"
    "close_message: up to 123 bytes of UTF-8, only together with a code.\n"
    "\n"
    "The connection ends when the peer has answered, at the latest after\n"
    "close_timeout; disconnect() does not wait for the answer.\n"
    "Raises ValueError for other codes and reasons, RuntimeError on another "
    "thread.");

static PyMethodDef WSTransport_methods[] = {
    {"send", (PyCFunction)(void (*)(void))WSTransport_send,
     METH_FASTCALL | METH_KEYWORDS, WSTransport_send_doc},
    {"send_reuse_external_bytearray",
     (PyCFunction)(void (*)(void))WSTransport_send_reuse,
     METH_FASTCALL | METH_KEYWORDS, WSTransport_send_reuse_doc},
    {"send_ping", (PyCFunction)(void (*)(void))WSTransport_send_ping,
     METH_FASTCALL | METH_KEYWORDS, WSTransport_send_ping_doc},
    {"send_pong", (PyCFunction)(void (*)(void))WSTransport_send_pong,
     METH_FASTCALL | METH_KEYWORDS, WSTransport_send_pong_doc},
    {"send_close", (PyCFunction)(void (*)(void))WSTransport_send_close,
     METH_FASTCALL | METH_KEYWORDS, WSTransport_send_close_doc},
    {"_check_close", (PyCFunction)(void (*)(void))WSTransport_check_close,
     METH_FASTCALL | METH_STATIC,
     "_check_close(close_code, close_message, /)\n--\n\n"
     "Raise what send_close() would."},
    {"_check_thread", WSTransport_check_thread, METH_O,
     "_check_thread($self, method, /)\n--\n\n"
     "Raise RuntimeError off the connection's thread; the argument is the "
     "method's name."},
    {"_stop_sending", WSTransport_stop_sending, METH_NOARGS,
     "_stop_sending($self, /)\n--\n\n"
     "Send nothing more: the way out is about to end."},
    {"_lost", WSTransport_lost, METH_NOARGS,
     "_lost($self, /)\n--\n\n"
     "The connection is lost: send nothing, forget the owner."},
    {"_cork", WSTransport_cork, METH_NOARGS,
     "_cork($self, /)\n--\n\n"
     "Keep frames until as many _uncork() calls came."},
    {"_uncork", WSTransport_uncork, METH_NOARGS,
     "_uncork($self, /)\n--\n\n"
     "Let corked frames leave where nobody else holds them."},
    {"_flush", WSTransport_flush, METH_NOARGS,
     "_flush($self, /)\n--\n\n"
     "Let corked frames leave; the cork stays."},
    {"_counters", WSTransport_counters, METH_NOARGS,
     "_counters($self, /)\n--\n\n"
     "Frames, messages and bytes sent; the same received; messages dropped."},
    {"_write_paused", WSTransport_write_paused, METH_O,
     "_write_paused($self, paused, /)\n--\n\n"
     "The way out crossed its high (True) or low (False) watermark."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef WSTransport_getset[] = {
    {"underlying_transport", WSTransport_get_underlying, NULL,
     "asyncio.Transport: what carries the bytes.", NULL},
    {"write_buffer_size", WSTransport_get_write_buffer_size, NULL,
     "int: bytes that wait to be written, corked ones included; 0 at the end.",
     NULL},
    {"is_client_side", WSTransport_get_is_client_side, NULL,
     "bool: whether this end opened the connection; its frames are masked "
     "(RFC 6455, 5.3).",
     NULL},
    {"is_close_frame_sent", WSTransport_get_is_close_frame_sent, NULL,
     "bool: whether a CLOSE frame was sent.", NULL},
    {"_is_close_frame_received", WSTransport_get_is_close_frame_received, NULL,
     "bool: whether a CLOSE frame was received.", NULL},
    {"_owner", WSTransport_get_owner, NULL,
     "The protocol, None once the connection is lost.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef WSTransport_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(WSTransportObject, weakrefs),
     READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot WSTransport_slots[] = {
    {Py_tp_doc, (void *)WSTransport_doc},
    {Py_tp_new, WSTransport_new},
    {Py_tp_init, WSTransport_init},
    {Py_tp_dealloc, WSTransport_dealloc},
    {Py_tp_traverse, WSTransport_traverse},
    {Py_tp_clear, WSTransport_clear},
    {Py_tp_methods, WSTransport_methods},
    {Py_tp_getset, WSTransport_getset},
    {Py_tp_members, WSTransport_members},
    {0, NULL},
};

static PyType_Spec WSTransport_spec = {
    .name = "picows_c._core.WSTransport",
    .basicsize = sizeof(WSTransportObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = WSTransport_slots,
};

int
pyws_transport_add_type(PyObject *module, pyws_state *state)
{
    return pyws_add_type(module, &WSTransport_spec, &state->WSTransport_type);
}
