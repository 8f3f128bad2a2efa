#include "callbacks.h"

#include "object.h"
#include "raise.h"

/* ---- calls ---- */

/* The result of a C function, held against what it left raised: 0, or -1 with
 * an exception set. */
static int
callbacks_done(int rc, const char *name)
{
    if (WS_LIKELY(rc == 0 && PyErr_Occurred() == NULL)) {
        return 0;
    }
    if (PyErr_Occurred() == NULL) {
        pyws_raise_callback(name, rc);
    }
    return -1;
}

int
pyws_callbacks_frame(CallbacksObject *c, WSTransportObject *t,
                     WSFrameObject *frame)
{
    Py_INCREF(c);
    int rc = c->table.on_frame(c->context, (PyObject *)t, (PyObject *)frame);
    rc = callbacks_done(rc, "on_frame");
    Py_DECREF(c);
    return rc;
}

/* A callback that takes a transport, called by the package. */
static PyObject *
callbacks_tell(CallbacksObject *c,
               int (*callback)(void *context, PyObject *transport),
               const char *name, PyObject *transport)
{
    if (!pyws_is_transport(transport)) {
        return pyws_raise_args(name, "takes a WSTransport, not %.100s",
                               Py_TYPE(transport)->tp_name);
    }
    Py_INCREF(c);
    int rc = callback == NULL
                 ? 0
                 : callbacks_done(callback(c->context, transport), name);
    Py_DECREF(c);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Callbacks_on_ws_connected(PyObject *self, PyObject *transport)
{
    CallbacksObject *c = (CallbacksObject *)self;
    return callbacks_tell(c, c->table.on_connected, "on_connected", transport);
}

static PyObject *
Callbacks_on_ws_disconnected(PyObject *self, PyObject *transport)
{
    CallbacksObject *c = (CallbacksObject *)self;
    return callbacks_tell(c, c->table.on_disconnected, "on_disconnected",
                          transport);
}

/* ---- binding ---- */

/* Copies |table|; what its writer did not know is absent.  0, or -1 with
 * ValueError. */
static int
callbacks_read(const PicowsC_Callbacks *table, PicowsC_Callbacks *out)
{
    const size_t least = offsetof(PicowsC_Callbacks, on_connected);

    memset(out, 0, sizeof(*out));
    if (table == NULL || table->size < least || table->size > sizeof(*out) ||
        (table->size - least) % sizeof(out->on_connected) != 0) {
        PyErr_SetString(PyExc_ValueError,
                        "callbacks->size is sizeof(PicowsC_Callbacks)");
        return -1;
    }
    memcpy(out, table, table->size);
    if (out->on_frame == NULL) {
        PyErr_SetString(PyExc_ValueError, "callbacks->on_frame is missing");
        return -1;
    }
    return 0;
}

/* A listener is bound once: 0, or -1 with ValueError. */
static int
callbacks_are_new(pyws_state *state, PyObject *listener)
{
    CallbacksObject *old;

    if (pyws_callbacks_of(state, listener, &old) < 0) {
        return -1;
    }
    if (old != NULL) {
        Py_DECREF(old);
        PyErr_SetString(PyExc_ValueError, "the listener has callbacks already");
        return -1;
    }
    return 0;
}

/* The package calls these two by their names: |name| of the listener becomes
 * that of |c|, where there is such a function. */
static int
callbacks_replace(PyObject *c, PyObject *listener, const char *name,
                  int (*callback)(void *context, PyObject *transport))
{
    if (callback == NULL) {
        return 0;
    }
    PyObject *method = PyObject_GetAttrString(c, name);
    if (method == NULL) {
        return -1;
    }
    int rc = PyObject_SetAttrString(listener, name, method);
    Py_DECREF(method);
    return rc;
}

int
pyws_callbacks_bind(pyws_state *state, PyObject *listener,
                    const PicowsC_Callbacks *table, void *context,
                    PyObject *owner)
{
    PicowsC_Callbacks read;

    if (callbacks_read(table, &read) < 0 ||
        callbacks_are_new(state, listener) < 0) {
        return -1;
    }
    PyTypeObject *type = state->Callbacks_type;
    CallbacksObject *c = (CallbacksObject *)type->tp_alloc(type, 0);
    if (c == NULL) {
        return -1;
    }
    c->table = read;
    c->context = context;
    c->owner = Py_XNewRef(owner);
    PyObject *o = (PyObject *)c;
    int rc = -1;
    if (callbacks_replace(o, listener, "on_ws_connected", read.on_connected) ==
            0 &&
        callbacks_replace(o, listener, "on_ws_disconnected",
                          read.on_disconnected) == 0) {
        rc = PyObject_SetAttr(listener, state->str_c_callbacks, o);
    }
    Py_DECREF(c);
    return rc;
}

int
pyws_callbacks_of(pyws_state *state, PyObject *listener, CallbacksObject **slot)
{
    *slot = NULL;
    PyObject *o = PyObject_GetAttr(listener, state->str_c_callbacks);
    if (o == NULL) {
        /* what is no WSListener, but has its methods */
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    if (Py_TYPE(o) == state->Callbacks_type) {
        *slot = (CallbacksObject *)o;
    }
    else {
        Py_DECREF(o);
    }
    return 0;
}

/* ---- life ---- */

static PyObject *
Callbacks_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    return PyErr_Format(PyExc_TypeError,
                        "%s objects come from C, they cannot be created",
                        type->tp_name);
}

static int
Callbacks_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((CallbacksObject *)self)->owner);
    return 0;
}

/* There is no tp_clear: while it can be called, the context must live.  A cycle
 * through the owner goes by the listener's attributes. */
static void
Callbacks_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    Py_CLEAR(((CallbacksObject *)self)->owner);
    pyws_dealloc_tail(self);
}

/* ---- type ---- */

static PyMethodDef Callbacks_methods[] = {
    {"on_ws_connected", Callbacks_on_ws_connected, METH_O,
     "on_ws_connected($self, transport, /)\n--\n\n"
     "Call the C function of that name."},
    {"on_ws_disconnected", Callbacks_on_ws_disconnected, METH_O,
     "on_ws_disconnected($self, transport, /)\n--\n\n"
     "Call the C function of that name."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Callbacks_slots[] = {
    {Py_tp_doc, (void *)"The C functions that a listener carries."},
    {Py_tp_new, Callbacks_new},
    {Py_tp_dealloc, Callbacks_dealloc},
    {Py_tp_traverse, Callbacks_traverse},
    {Py_tp_methods, Callbacks_methods},
    {0, NULL},
};

static PyType_Spec Callbacks_spec = {
    .name = "picows_c._core.Callbacks",
    .basicsize = sizeof(CallbacksObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = Callbacks_slots,
};

int
pyws_callbacks_add_type(PyObject *module, pyws_state *state)
{
    return pyws_add_type(module, &Callbacks_spec, &state->Callbacks_type);
}
