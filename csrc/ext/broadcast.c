#include "broadcast.h"

#include "args.h"
#include "raise.h"
#include "transport.h"
#include "view.h"
#include "ws_err.h"
#include "ws_writer.h"

/* So many agreements on compression get their frame built once; whoever agreed
 * on yet another one gets the message as it is. */
#define BROADCAST_AGREEMENTS 8

/* A frame without a mask: servers send it as it is to everybody. */
struct broadcast_frame {
    struct pyws_out out;
    unsigned rsv;
    /* pool is the agreement that it is compressed for, data the compressed
     * bytes; both NULL for the plain one. */
    PyObject *pool;
    PyObject *data;
};

struct broadcast {
    unsigned opcode;
    struct pyws_view message;
    struct broadcast_frame plain;
    struct broadcast_frame deflated[BROADCAST_AGREEMENTS];
    size_t deflated_len;
};

static void
broadcast_make(struct broadcast_frame *f, unsigned opcode, unsigned rsv,
               const uint8_t *payload, size_t len)
{
    uint8_t *end = ws_writer_head(f->out.head, WS_BIT_FIN | rsv | opcode, len,
                                  /*key=*/NULL);
    f->rsv = rsv;
    f->out.head_len = (uint8_t)(end - f->out.head);
    f->out.masked = 0;
    f->out.payload = payload;
    f->out.payload_len = len;
    f->out.whole = NULL;
}

static void
broadcast_free(struct broadcast *b)
{
    for (size_t i = 0; i < b->deflated_len; i++) {
        Py_DECREF(b->deflated[i].pool);
        Py_DECREF(b->deflated[i].data);
    }
    pyws_view_release(&b->message);
}

/* The frame for |t|, NULL with an exception set.  Compressing calls Python. */
static struct broadcast_frame *
broadcast_frame_for(struct broadcast *b, WSTransportObject *t)
{
    DeflateObject *d = t->deflate;
    size_t len;

    /* A context that is taken over has seen other messages than its
     * neighbour's. */
    if (ws_opcode_is_control(b->opcode) || d == NULL || d->pool == NULL ||
        !pyws_deflate_wants(d, b->message.len)) {
        return &b->plain;
    }
    for (size_t i = 0; i < b->deflated_len; i++) {
        if (b->deflated[i].pool == d->pool) {
            return &b->deflated[i];
        }
    }
    if (b->deflated_len == BROADCAST_AGREEMENTS) {
        return &b->plain;
    }
    PyObject *pool = Py_NewRef(d->pool);
    PyObject *data =
        pyws_deflate_compress(d, b->message.data, b->message.len, 1, &len);
    if (data == NULL) {
        Py_DECREF(pool);
        return NULL;
    }
    struct broadcast_frame *f = &b->deflated[b->deflated_len++];
    broadcast_make(f, b->opcode, WS_BIT_RSV1,
                   (const uint8_t *)PyBytes_AS_STRING(data), len);
    f->pool = pool;
    f->data = data;
    return f;
}

/* Sends to one.  1: it went out, 0: not, -1 with an exception set. */
static int
broadcast_send(struct broadcast *b, WSTransportObject *t)
{
    int rc = pyws_transport_takes(t, b->opcode, b->message.len);
    if (rc > 0) {
        struct broadcast_frame *f = broadcast_frame_for(b, t);
        rc = f == NULL
                 ? -1
                 : pyws_transport_send_made(t, b->opcode, f->rsv, &f->out);
    }
    if (rc < 0 && !pyws_raised_exit()) {
        /* The way out failed, which has ended the connection; or its
         * compressor did. The others are not concerned. */
        PyErr_WriteUnraisable((PyObject *)t);
        return 0;
    }
    return rc;
}

/* Whether all of |all| are connections of servers, and ours: 0, or -1 with
 * TypeError, ValueError or RuntimeError set. */
static int
broadcast_check(pyws_state *state, PyObject *all)
{
    Py_ssize_t n = PyTuple_GET_SIZE(all);

    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *o = PyTuple_GET_ITEM(all, i);
        if (i + 8 < n) {
            ws_prefetch(PyTuple_GET_ITEM(all, i + 8), 64);
        }
        if (!PyObject_TypeCheck(o, state->WSTransport_type)) {
            pyws_raise_args("broadcast", "takes WSTransports, not %.100s",
                            Py_TYPE(o)->tp_name);
            return -1;
        }
        WSTransportObject *t = (WSTransportObject *)o;
        if (pyws_transport_check(t, "broadcast") < 0) {
            return -1;
        }
        if (t->conn.is_client) {
            PyErr_SetString(PyExc_ValueError,
                            "broadcast() is for the connections of a server: a "
                            "client's frames are masked one by one");
            return -1;
        }
    }
    return 0;
}

/* Where the connections are many their memory has left the caches: it is asked
 * for while those before are served.  First the transport, then its way out. */
static void
broadcast_prefetch(PyObject *all, Py_ssize_t i)
{
    Py_ssize_t n = PyTuple_GET_SIZE(all);

    if (i + 2 < n) {
        pyws_transport_prefetch(
            (WSTransportObject *)PyTuple_GET_ITEM(all, i + 2));
    }
    if (i + 1 < n) {
        WSTransportObject *next =
            (WSTransportObject *)PyTuple_GET_ITEM(all, i + 1);
        if (next->way.target != NULL) {
            /* (A stream is as long.) */
            ws_prefetch(next->way.target, 3 * 64);
        }
    }
}

/* Sends to all of |all|; returns those who did not get it. */
static PyObject *
broadcast_all(struct broadcast *b, PyObject *all)
{
    PyObject *skipped = PyList_New(0);
    if (skipped == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(all); i++) {
        WSTransportObject *t = (WSTransportObject *)PyTuple_GET_ITEM(all, i);
        broadcast_prefetch(all, i);
        int sent = broadcast_send(b, t);
        if (sent < 0 ||
            (sent == 0 && PyList_Append(skipped, (PyObject *)t) < 0)) {
            Py_DECREF(skipped);
            return NULL;
        }
    }
    return skipped;
}

static int
broadcast_opcode(const pyws_state *state, PyObject *o)
{
    int opcode = pyws_args_opcode(state, o);
    if (opcode == WS_OP_CONTINUATION || opcode == WS_OP_CLOSE) {
        PyErr_SetString(PyExc_ValueError,
                        "broadcast() sends whole messages, PING and PONG");
        return -1;
    }
    return opcode;
}

PyObject *
pyws_broadcast(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
               PyObject *kwnames)
{
    enum { TRANSPORTS, TYPE, MESSAGE, COUNT };
    static const char *const names[COUNT] = {"transports", "msg_type",
                                             "message"};
    pyws_state *state = PyModule_GetState(module);
    PyObject *arg[COUNT], *skipped = NULL;
    struct broadcast b;

    if (pyws_args_sort("broadcast", names, COUNT, COUNT, args, nargs, kwnames,
                       arg) < 0) {
        return NULL;
    }
    int opcode = broadcast_opcode(state, arg[TYPE]);
    if (opcode < 0) {
        return NULL;
    }
    /* What is called below may change the caller's list, and finds every other
     * one by the collector: nobody changes a tuple. */
    PyObject *all = PySequence_Tuple(arg[TRANSPORTS]);
    if (all == NULL) {
        return NULL;
    }
    if (broadcast_check(state, all) < 0 ||
        pyws_view_get(&b.message, arg[MESSAGE]) < 0) {
        Py_DECREF(all);
        return NULL;
    }
    b.opcode = (unsigned)opcode;
    b.deflated_len = 0;
    broadcast_make(&b.plain, b.opcode, 0, b.message.data, b.message.len);
    if (ws_opcode_is_control(b.opcode) && b.message.len > WS_CONTROL_MAX) {
        pyws_raise_err(WS_ERR_SEND_CONTROL);
    }
    else {
        skipped = broadcast_all(&b, all);
    }
    broadcast_free(&b);
    Py_DECREF(all);
    return skipped;
}

const char pyws_broadcast_doc[] =
    "broadcast($module, /, transports, msg_type, message)\n"
    "--\n\n"
    "Send one message to many connections of a server (RFC 6455, 5.6).\n"
    "\n"
    "The frame is built once, and compressed once for all who agreed on the "
    "same\n"
    "permessage-deflate without context takeover; who takes its context over "
    "gets it\n"
    "uncompressed.\n"
    "\n"
    "transports: an iterable of WSTransport, all of servers of this loop.\n"
    "msg_type: TEXT or BINARY; also PING or PONG.\n"
    "message: as for send().\n"
    "\n"
    "Returns the list of those that did not get it, in their order: more than "
    "their\n"
    "max_write_buffer_size would wait to be written (nothing is counted as "
    "dropped,\n"
    "and nobody is disconnected), they are inside a fragmented message, or "
    "closing or\n"
    "closed, or their compressor raised. What goes wrong with one connection "
    "concerns\n"
    "no other: sys.unraisablehook is told.\n"
    "\n"
    "Raises TypeError (what is no WSTransport, the type of an argument), "
    "ValueError\n"
    "(a client's transport, another msg_type, a control frame over 125 bytes), "
    "and\n"
    "RuntimeError (a connection of another thread); then nothing was sent.";
