/* c_listener.c - two listeners in C: no Python code runs for a frame.
 *
 *     import c_listener
 *     server = await ws_create_server(lambda request: c_listener.echo(), ...)
 *
 *     ticks = c_listener.Ticks(b'{"op": "subscribe", "channel": "trades"}')
 *     await ws_connect(ticks.listener, url, assemble_messages=True)
 *     ticks.count, ticks.bytes, ticks.last, ticks.low, ticks.high
 *
 * All state is the module's or an object's, so that sub-interpreters and
 * free-threaded builds work.  A Ticks belongs to the thread of one event loop.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <picows_c.h>
#include <string.h>

typedef struct {
    const PicowsC_API *api;
    PyTypeObject *Ticks_type;
} module_state;

/* ---- echo ---- */

/* The context is the table: an echo needs nothing else. */
static int
echo_frame(void *context, PyObject *transport, PyObject *frame)
{
    const PicowsC_API *api = context;
    PicowsC_Frame f;

    if (api->frame_get(frame, &f) < 0) {
        return -1;
    }
    if (f.opcode > PICOWSC_BINARY) {
        return 0; /* CLOSE is answered by picows_c; a PONG needs no answer */
    }
    return api->send(transport, f.opcode, f.payload, f.payload_len, f.fin);
}

static PyObject *
module_echo(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    static const PicowsC_Callbacks callbacks = {
        .size = sizeof(PicowsC_Callbacks),
        .on_frame = echo_frame,
    };
    module_state *state = PyModule_GetState(module);
    return state->api->listener_new(&callbacks, (void *)state->api, NULL);
}

/* ---- market data ---- */

/* Counts messages such as {"s": "BTCUSDT", "p": "64250.10"}, and notes their
 * prices. */
typedef struct {
    PyObject_HEAD
    const PicowsC_API *api;
    /* subscribe is what is sent first. */
    PyObject *subscribe;
    unsigned long long count;
    unsigned long long bytes;
    double last, low, high;
} TicksObject;

/* Finds the price in |text|; 1 where there is one. */
static int
find_price(const char *text, size_t len, double *price)
{
    static const char key[] = "\"p\": \"";
    char number[32];
    const size_t key_len = sizeof(key) - 1;

    for (size_t i = 0; i + key_len < len; i++) {
        if (text[i] != '"' || memcmp(text + i, key, key_len) != 0) {
            continue;
        }
        const char *from = text + i + key_len;
        size_t n = len - i - key_len;
        const char *end = memchr(from, '"', n);
        if (end == NULL || end == from || end - from >= (int)sizeof(number)) {
            return 0;
        }
        memcpy(number, from, (size_t)(end - from));
        number[end - from] = '\0';
        char *stop;
        *price = PyOS_string_to_double(number, &stop, NULL);
        if (*price == -1.0 && PyErr_Occurred()) {
            PyErr_Clear();
            return 0;
        }
        return *stop == '\0';
    }
    return 0;
}

static int
ticks_frame(void *context, PyObject *transport, PyObject *frame)
{
    TicksObject *ticks = context;
    PicowsC_Frame f;
    double price;

    (void)transport;
    if (ticks->api->frame_get(frame, &f) < 0) {
        return -1;
    }
    if (f.opcode != PICOWSC_TEXT) {
        return 0;
    }
    if (!find_price((const char *)f.payload, f.payload_len, &price)) {
        PyErr_SetString(PyExc_ValueError, "a message without a price");
        return -1;
    }
    if (ticks->count == 0 || price < ticks->low) {
        ticks->low = price;
    }
    if (ticks->count == 0 || price > ticks->high) {
        ticks->high = price;
    }
    ticks->last = price;
    ticks->count++;
    ticks->bytes += f.payload_len;
    return 0;
}

static int
ticks_connected(void *context, PyObject *transport)
{
    TicksObject *ticks = context;
    return ticks->api->send(transport, PICOWSC_TEXT,
                            PyBytes_AS_STRING(ticks->subscribe),
                            (size_t)PyBytes_GET_SIZE(ticks->subscribe), 1);
}

/* The listener keeps the Ticks, which is its context, alive. */
static PyObject *
Ticks_listener(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    static const PicowsC_Callbacks callbacks = {
        .size = sizeof(PicowsC_Callbacks),
        .on_frame = ticks_frame,
        .on_connected = ticks_connected,
    };
    return ((TicksObject *)self)->api->listener_new(&callbacks, self, self);
}

static PyObject *
Ticks_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"subscribe", NULL};
    PyObject *subscribe;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "S:Ticks", names,
                                     &subscribe)) {
        return NULL;
    }
    module_state *state = PyType_GetModuleState(type);
    TicksObject *ticks = (TicksObject *)type->tp_alloc(type, 0);
    if (ticks != NULL) {
        Py_INCREF(subscribe);
        ticks->subscribe = subscribe;
        ticks->api = state->api;
    }
    return (PyObject *)ticks;
}

static void
Ticks_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_XDECREF(((TicksObject *)self)->subscribe);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
Ticks_get_count(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(((TicksObject *)self)->count);
}

static PyObject *
Ticks_get_bytes(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(((TicksObject *)self)->bytes);
}

/* The closure is where the number stands in the object. */
static PyObject *
Ticks_get_price(PyObject *self, void *closure)
{
    const char *at = (const char *)self + (size_t)closure;
    return PyFloat_FromDouble(*(const double *)at);
}

static PyMethodDef Ticks_methods[] = {
    {"listener", Ticks_listener, METH_NOARGS,
     "listener($self, /)\n--\n\nReturn a new listener."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef Ticks_getset[] = {
    {"count", Ticks_get_count, NULL, "int: how many messages came.", NULL},
    {"bytes", Ticks_get_bytes, NULL, "int: their size.", NULL},
    {"last", Ticks_get_price, NULL, "float: the last price.",
     (void *)offsetof(TicksObject, last)},
    {"low", Ticks_get_price, NULL, "float: the lowest price.",
     (void *)offsetof(TicksObject, low)},
    {"high", Ticks_get_price, NULL, "float: the highest price.",
     (void *)offsetof(TicksObject, high)},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot Ticks_slots[] = {
    {Py_tp_doc, (void *)"Ticks(subscribe): what a market-data feed said."},
    {Py_tp_new, Ticks_new},
    {Py_tp_dealloc, Ticks_dealloc},
    {Py_tp_methods, Ticks_methods},
    {Py_tp_getset, Ticks_getset},
    {0, NULL},
};

static PyType_Spec Ticks_spec = {
    .name = "c_listener.Ticks",
    .basicsize = sizeof(TicksObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = Ticks_slots,
};

/* ---- module ---- */

static int
module_exec(PyObject *module)
{
    module_state *state = PyModule_GetState(module);

    state->api = PicowsC_Import();
    if (state->api == NULL) {
        return -1;
    }
    PyObject *type = PyType_FromModuleAndSpec(module, &Ticks_spec, NULL);
    if (type == NULL) {
        return -1;
    }
    state->Ticks_type = (PyTypeObject *)type;
    return PyModule_AddType(module, state->Ticks_type);
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    module_state *state = PyModule_GetState(module);
    Py_VISIT(state->Ticks_type);
    return 0;
}

static int
module_clear(PyObject *module)
{
    module_state *state = PyModule_GetState(module);
    Py_CLEAR(state->Ticks_type);
    return 0;
}

static PyMethodDef module_methods[] = {
    {"echo", module_echo, METH_NOARGS,
     "echo($module, /)\n--\n\n"
     "Return a listener that answers each data frame with itself."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, (void *)module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,         .m_name = "c_listener",
    .m_doc = "Listeners in C.",    .m_size = sizeof(module_state),
    .m_methods = module_methods,   .m_slots = module_slots,
    .m_traverse = module_traverse, .m_clear = module_clear,
};

PyMODINIT_FUNC
PyInit_c_listener(void)
{
    return PyModuleDef_Init(&module_def);
}
