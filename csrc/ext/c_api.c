#include "c_api.h"

#include "callbacks.h"
#include "raise.h"
#include "ws_err.h"

/* The numbers of the public header are those of the RFC, and of the core. */
_Static_assert(PICOWSC_HEADROOM == WS_HEAD_MAX, "headroom");
_Static_assert(PICOWSC_CONTINUATION == WS_OP_CONTINUATION &&
                   PICOWSC_TEXT == WS_OP_TEXT &&
                   PICOWSC_BINARY == WS_OP_BINARY &&
                   PICOWSC_CLOSE == WS_OP_CLOSE && PICOWSC_PING == WS_OP_PING &&
                   PICOWSC_PONG == WS_OP_PONG,
               "opcodes");
_Static_assert(PICOWSC_RSV1 == WS_BIT_RSV1 && PICOWSC_RSV2 == WS_BIT_RSV2 &&
                   PICOWSC_RSV3 == WS_BIT_RSV3,
               "reserved bits");

/* ---- frames ---- */

static int
api_frame_check(PyObject *o)
{
    return o != NULL && pyws_is_frame(o);
}

static int
api_frame_get(PyObject *frame, PicowsC_Frame *out)
{
    if (!api_frame_check(frame)) {
        pyws_raise_type("frame_get", "WSFrame", frame);
        return -1;
    }
    const WSFrameObject *f = (const WSFrameObject *)frame;
    *out = (PicowsC_Frame){
        .payload = f->payload,
        .payload_len = f->payload_len,
        .tail_size = f->tail_size,
        .opcode = f->opcode,
        .fin = f->fin,
        .rsv = f->rsv,
        .last_in_buffer = f->last_in_buffer,
    };
    return 0;
}

/* ---- sending ---- */

static int
api_transport_check(PyObject *o)
{
    return o != NULL && pyws_is_transport(o);
}

/* |o| as a transport of the calling thread; NULL with TypeError or RuntimeError
 * set. */
static WSTransportObject *
api_transport(PyObject *o, const char *method)
{
    if (WS_UNLIKELY(!api_transport_check(o))) {
        pyws_raise_type(method, "WSTransport", o);
        return NULL;
    }
    WSTransportObject *t = (WSTransportObject *)o;
    return pyws_transport_check(t, method) < 0 ? NULL : t;
}

/* The same for a frame that is to be sent; -1 with ValueError also where it
 * cannot be one. */
static WSTransportObject *
api_sender(PyObject *o, const char *method, unsigned opcode,
           const void *payload, size_t len)
{
    WSTransportObject *t = api_transport(o, method);
    if (t == NULL) {
        return NULL;
    }
    if (WS_UNLIKELY(opcode == WS_OP_CLOSE)) {
        pyws_raise_reuse(/*is_close=*/1);
        return NULL;
    }
    if (WS_UNLIKELY((payload == NULL && len > 0) ||
                    len > PY_SSIZE_T_MAX - WS_HEAD_MAX)) {
        pyws_raise_memory(method, len);
        return NULL;
    }
    return t;
}

static int
api_send(PyObject *transport, unsigned opcode, const void *payload, size_t len,
         int fin)
{
    WSTransportObject *t = api_sender(transport, "send", opcode, payload, len);
    if (t == NULL) {
        return -1;
    }
    /* What is called on the way can drop the caller's reference. */
    Py_INCREF(t);
    int rc = pyws_transport_send(
        t, opcode, fin != 0, 0, payload == NULL ? (const uint8_t *)"" : payload,
        len);
    Py_DECREF(t);
    return rc;
}

static int
api_send_in_place(PyObject *transport, unsigned opcode, void *payload,
                  size_t len, int fin)
{
    WSTransportObject *t =
        api_sender(transport, "send_in_place", opcode, payload, len);
    if (t == NULL) {
        return -1;
    }
    if (payload == NULL) {
        pyws_raise_reuse(/*is_close=*/0);
        return -1;
    }
    Py_INCREF(t);
    int rc = pyws_transport_send_reuse(t, opcode, fin != 0, 0, payload, len);
    Py_DECREF(t);
    return rc;
}

static int
api_send_close(PyObject *transport, unsigned code, const char *reason,
               size_t reason_len)
{
    WSTransportObject *t = api_transport(transport, "send_close");
    if (t == NULL) {
        return -1;
    }
    if (reason == NULL && reason_len > 0) {
        pyws_raise_memory("send_close", reason_len);
        return -1;
    }
    struct ws_close close = {
        .code = code,
        .reason = reason_len > 0 ? (const uint8_t *)reason : NULL,
        .reason_len = reason_len,
    };
    Py_INCREF(t);
    int rc = pyws_transport_close(t, &close);
    Py_DECREF(t);
    return rc;
}

/* ---- listeners ---- */

/* The type of the calling interpreter's listeners; a new reference. */
static PyObject *
api_listener_type(void)
{
    PyObject *module = PyImport_ImportModule("picows_c.listener");
    if (module == NULL) {
        return NULL;
    }
    PyObject *type = PyObject_GetAttrString(module, "WSListener");
    Py_DECREF(module);
    return type;
}

/* The calling interpreter's module, which owns the state; a new reference. */
static PyObject *
api_module(pyws_state **state)
{
    PyObject *module = PyImport_ImportModule("picows_c._core");
    if (module == NULL) {
        return NULL;
    }
    if (!PyModule_Check(module) || PyModule_GetDef(module) != &pyws_module) {
        PyErr_SetString(PyExc_ImportError,
                        "this interpreter has imported another copy of "
                        "picows_c: call PicowsC_Import() in each interpreter "
                        "and keep the table in the module's state");
        Py_DECREF(module);
        return NULL;
    }
    *state = PyModule_GetState(module);
    return module;
}

static int
api_bind(PyObject *listener, const PicowsC_Callbacks *callbacks, void *context,
         PyObject *owner)
{
    pyws_state *state;
    PyObject *module = api_module(&state);
    if (module == NULL) {
        return -1;
    }
    int rc = pyws_callbacks_bind(state, listener, callbacks, context, owner);
    Py_DECREF(module);
    return rc;
}

static int
api_listener_bind(PyObject *listener, const PicowsC_Callbacks *callbacks,
                  void *context, PyObject *owner)
{
    PyObject *type = api_listener_type();
    if (type == NULL) {
        return -1;
    }
    int is_listener =
        listener != NULL ? PyObject_IsInstance(listener, type) : 0;
    Py_DECREF(type);
    if (is_listener <= 0) {
        if (is_listener == 0) {
            pyws_raise_type("listener_bind", "WSListener", listener);
        }
        return -1;
    }
    return api_bind(listener, callbacks, context, owner);
}

static PyObject *
api_listener_new(const PicowsC_Callbacks *callbacks, void *context,
                 PyObject *owner)
{
    PyObject *type = api_listener_type();
    if (type == NULL) {
        return NULL;
    }
    PyObject *listener = PyObject_CallNoArgs(type);
    Py_DECREF(type);
    if (listener != NULL && api_bind(listener, callbacks, context, owner) < 0) {
        Py_CLEAR(listener);
    }
    return listener;
}

/* ---- the table ---- */

static const PicowsC_API api_table = {
    .version = PICOWSC_API_VERSION,
    .size = sizeof(PicowsC_API),
    .transport_check = api_transport_check,
    .frame_check = api_frame_check,
    .frame_get = api_frame_get,
    .send = api_send,
    .send_in_place = api_send_in_place,
    .send_close = api_send_close,
    .listener_bind = api_listener_bind,
    .listener_new = api_listener_new,
};

int
pyws_c_api_add(PyObject *module)
{
    PyObject *capsule =
        PyCapsule_New((void *)&api_table, "picows_c._core._C_API", NULL);
    if (capsule == NULL) {
        return -1;
    }
    int rc = PyModule_AddObjectRef(module, "_C_API", capsule);
    Py_DECREF(capsule);
    return rc;
}
