#include "frame.h"

#include "object.h"
#include "raise.h"
#include "ws_close.h"
#include "ws_opcode.h"

/* ---- life ---- */

WSFrameObject *
pyws_frame_new(pyws_state *state)
{
    PyTypeObject *type = state->WSFrame_type;
    WSFrameObject *f = (WSFrameObject *)type->tp_alloc(type, 0);
    if (f != NULL) {
        f->state = state;
        f->payload = f->bytes;
    }
    return f;
}

static void
WSFrame_dealloc(PyObject *self)
{
    ws_block_decref(((WSFrameObject *)self)->block);
    pyws_dealloc_tail(self);
}

int
pyws_is_frame(PyObject *o)
{
    return Py_TYPE(o)->tp_dealloc == WSFrame_dealloc; /* nothing derives */
}

static PyObject *
WSFrame_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    return PyErr_Format(PyExc_TypeError,
                        "%s objects come from a connection, they cannot be "
                        "created",
                        type->tp_name);
}

/* ---- payload ---- */

static int
WSFrame_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    WSFrameObject *f = (WSFrameObject *)self;
    return PyBuffer_FillInfo(view, self, (void *)f->payload,
                             (Py_ssize_t)f->payload_len, 1, flags);
}

static PyObject *
WSFrame_as_bytes(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    WSFrameObject *f = (WSFrameObject *)self;
    return PyBytes_FromStringAndSize((const char *)f->payload,
                                     (Py_ssize_t)f->payload_len);
}

static PyObject *
WSFrame_as_utf8_text(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    WSFrameObject *f = (WSFrameObject *)self;
    /* CPython has its own objects for what is shorter. */
    if (f->ascii && f->payload_len > 1) {
        PyObject *text = PyUnicode_New((Py_ssize_t)f->payload_len, 127);
        if (text != NULL) {
            memcpy(PyUnicode_1BYTE_DATA(text), f->payload, f->payload_len);
        }
        return text;
    }
    PyObject *text = PyUnicode_DecodeUTF8((const char *)f->payload,
                                          (Py_ssize_t)f->payload_len, "strict");
    if (text == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        /* Where this exception leaves the callback of a TEXT frame, the peer
         * sent what is no text: 1007, not 1011. */
        PYWS_STORE_BYTE(&f->text_failed, 1);
    }
    return text;
}

static PyObject *
WSFrame_as_ascii_text(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    WSFrameObject *f = (WSFrameObject *)self;
    return PyUnicode_DecodeASCII((const char *)f->payload,
                                 (Py_ssize_t)f->payload_len, "strict");
}

static PyObject *
WSFrame_as_memoryview(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyMemoryView_FromObject(self);
}

/* ---- CLOSE ---- */

static int
frame_close(WSFrameObject *f, const char *method, struct ws_close *close)
{
    if (f->opcode != WS_OP_CLOSE) {
        pyws_raise_not_close(method);
        return -1;
    }
    /* The payload passed these checks before the frame was delivered. */
    (void)ws_close_parse(f->payload, f->payload_len, close);
    return 0;
}

static PyObject *
WSFrame_get_close_code(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    WSFrameObject *f = (WSFrameObject *)self;
    struct ws_close close;
    if (frame_close(f, "get_close_code", &close) < 0) {
        return NULL;
    }
    PyObject *code = PyLong_FromUnsignedLong(close.code);
    if (code == NULL) {
        return NULL;
    }
    PyObject *member = PyObject_CallOneArg(f->state->WSCloseCode, code);
    Py_DECREF(code);
    return member;
}

static PyObject *
WSFrame_get_close_message(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct ws_close close;
    if (frame_close((WSFrameObject *)self, "get_close_message", &close) < 0) {
        return NULL;
    }
    if (close.reason == NULL) {
        Py_RETURN_NONE;
    }
    return PyBytes_FromStringAndSize((const char *)close.reason,
                                     (Py_ssize_t)close.reason_len);
}

static PyObject *
WSFrame_get_close_reason(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    struct ws_close close;
    if (frame_close((WSFrameObject *)self, "get_close_reason", &close) < 0) {
        return NULL;
    }
    if (close.reason == NULL) {
        Py_RETURN_NONE;
    }
    return PyUnicode_DecodeUTF8((const char *)close.reason,
                                (Py_ssize_t)close.reason_len, "strict");
}

/* ---- attributes ---- */

static PyObject *
WSFrame_get_msg_type(PyObject *self, void *Py_UNUSED(closure))
{
    WSFrameObject *f = (WSFrameObject *)self;
    return Py_NewRef(f->state->msg_types[f->opcode]);
}

static PyObject *
WSFrame_get_fin(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((WSFrameObject *)self)->fin);
}

/* The closure is the bit. */
static PyObject *
WSFrame_get_rsv(PyObject *self, void *closure)
{
    unsigned bit = (unsigned)(uintptr_t)closure;
    return PyBool_FromLong((((WSFrameObject *)self)->rsv & bit) != 0);
}

static PyObject *
WSFrame_get_last_in_buffer(PyObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((WSFrameObject *)self)->last_in_buffer);
}

static PyObject *
WSFrame_get_payload_size(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(((WSFrameObject *)self)->payload_len);
}

static PyObject *
WSFrame_get_tail_size(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(((WSFrameObject *)self)->tail_size);
}

static const char *
frame_bool(unsigned value)
{
    return value ? "True" : "False";
}

static PyObject *
WSFrame_str(PyObject *self)
{
    static const char *const names[16] = {
        [WS_OP_CONTINUATION] = "CONTINUATION",
        [WS_OP_TEXT] = "TEXT",
        [WS_OP_BINARY] = "BINARY",
        [WS_OP_CLOSE] = "CLOSE",
        [WS_OP_PING] = "PING",
        [WS_OP_PONG] = "PONG",
    };
    WSFrameObject *f = (WSFrameObject *)self;
    return PyUnicode_FromFormat(
        "WSFrame(%s, fin=%s, rsv1=%s, rsv2=%s, rsv3=%s, last_in_buffer=%s, "
        "payload_sz=%zu, tail_sz=%zu)",
        names[f->opcode], frame_bool(f->fin), frame_bool(f->rsv & WS_BIT_RSV1),
        frame_bool(f->rsv & WS_BIT_RSV2), frame_bool(f->rsv & WS_BIT_RSV3),
        frame_bool(f->last_in_buffer), f->payload_len, f->tail_size);
}

/* ---- type ---- */

PyDoc_STRVAR(WSFrame_doc,
             "One received WebSocket frame (RFC 6455, 5.2).\n"
             "\n"
             "A frame, and every memoryview, slice or array over it, may be "
             "kept for as\n"
             "long as you like and used on any thread: its bytes never change. "
             "A kept frame\n"
             "of more than 128 bytes keeps the read block it arrived in, at "
             "most 64 KiB\n"
             "(more only where the frame itself is larger).\n"
             "\n"
             "The frame is a read-only buffer of its payload: bytes(frame),\n"
             "memoryview(frame) and numpy.frombuffer(frame, ...) work.");

PyDoc_STRVAR(WSFrame_as_bytes_doc,
             "get_payload_as_bytes($self, /)\n--\n\n"
             "Return a copy of the payload as bytes.");
PyDoc_STRVAR(WSFrame_as_utf8_text_doc,
             "get_payload_as_utf8_text($self, /)\n--\n\n"
             "Return the payload decoded as UTF-8.\n"
             "\n"
             "Raises UnicodeDecodeError. If that leaves the callback of a TEXT "
             "frame, the\n"
             "connection is failed with close code 1007 (RFC 6455, 8.1).");
PyDoc_STRVAR(WSFrame_as_ascii_text_doc,
             "get_payload_as_ascii_text($self, /)\n--\n\n"
             "Return the payload decoded as ASCII. Raises UnicodeDecodeError.");
PyDoc_STRVAR(WSFrame_as_memoryview_doc,
             "get_payload_as_memoryview($self, /)\n--\n\n"
             "Return a read-only memoryview of the payload, without a copy.\n"
             "\n"
             "The view keeps the frame alive; it may be kept.");
PyDoc_STRVAR(
    WSFrame_get_close_code_doc,
    "get_close_code($self, /)\n--\n\n"
    "Return the WSCloseCode of a CLOSE frame, WSCloseCode.NO_INFO where it is\n"
    "empty (RFC 6455, 5.5.1). Raises ValueError for any other frame.");
PyDoc_STRVAR(
    WSFrame_get_close_message_doc,
    "get_close_message($self, /)\n--\n\n"
    "Return the reason of a CLOSE frame as bytes, None where there is none.\n"
    "Raises ValueError for any other frame.");
PyDoc_STRVAR(
    WSFrame_get_close_reason_doc,
    "get_close_reason($self, /)\n--\n\n"
    "Return the reason of a CLOSE frame as str, None where there is none.\n"
    "Raises ValueError for any other frame.");

static PyMethodDef WSFrame_methods[] = {
    {"get_payload_as_bytes", WSFrame_as_bytes, METH_NOARGS,
     WSFrame_as_bytes_doc},
    {"get_payload_as_utf8_text", WSFrame_as_utf8_text, METH_NOARGS,
     WSFrame_as_utf8_text_doc},
    {"get_payload_as_ascii_text", WSFrame_as_ascii_text, METH_NOARGS,
     WSFrame_as_ascii_text_doc},
    {"get_payload_as_memoryview", WSFrame_as_memoryview, METH_NOARGS,
     WSFrame_as_memoryview_doc},
    {"get_close_code", WSFrame_get_close_code, METH_NOARGS,
     WSFrame_get_close_code_doc},
    {"get_close_message", WSFrame_get_close_message, METH_NOARGS,
     WSFrame_get_close_message_doc},
    {"get_close_reason", WSFrame_get_close_reason, METH_NOARGS,
     WSFrame_get_close_reason_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef WSFrame_getset[] = {
    {"msg_type", WSFrame_get_msg_type, NULL,
     "WSMsgType: the opcode (RFC 6455, 5.2).", NULL},
    {"fin", WSFrame_get_fin, NULL,
     "bool: whether this is the last frame of its message (RFC 6455, 5.4).",
     NULL},
    {"rsv1", WSFrame_get_rsv, NULL,
     "bool: the first reserved bit (RFC 6455, 5.2); set by extensions.",
     (void *)(uintptr_t)WS_BIT_RSV1},
    {"rsv2", WSFrame_get_rsv, NULL, "bool: the second reserved bit.",
     (void *)(uintptr_t)WS_BIT_RSV2},
    {"rsv3", WSFrame_get_rsv, NULL, "bool: the third reserved bit.",
     (void *)(uintptr_t)WS_BIT_RSV3},
    {"last_in_buffer", WSFrame_get_last_in_buffer, NULL,
     "bool: whether nothing more will be delivered from what has been received "
     "so far.",
     NULL},
    {"payload_size", WSFrame_get_payload_size, NULL,
     "int: the payload's length in bytes.", NULL},
    {"tail_size", WSFrame_get_tail_size, NULL,
     "int: how many bytes had been received after this frame.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot WSFrame_slots[] = {
    {Py_tp_doc, (void *)WSFrame_doc},
    {Py_tp_new, WSFrame_new},
    {Py_tp_dealloc, WSFrame_dealloc},
    {Py_tp_str, WSFrame_str},
    {Py_tp_repr, WSFrame_str},
    {Py_tp_methods, WSFrame_methods},
    {Py_tp_getset, WSFrame_getset},
    {Py_bf_getbuffer, WSFrame_getbuffer},
    {0, NULL},
};

static PyType_Spec WSFrame_spec = {
    .name = "picows_c.WSFrame",
    .basicsize = sizeof(WSFrameObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = WSFrame_slots,
};

int
pyws_frame_add_type(PyObject *module, pyws_state *state)
{
    return pyws_add_type(module, &WSFrame_spec, &state->WSFrame_type);
}
