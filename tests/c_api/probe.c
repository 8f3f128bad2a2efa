/* probe.c - the functions of the C API as Python functions, and callbacks of
 * every kind, for test_c_api.py.  It is compiled as C11 and as C++11.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <picows_c.h>
#include <string.h>

typedef struct {
    const PicowsC_API *api;
} module_state;

static const PicowsC_API *
api_of(PyObject *module)
{
    return ((module_state *)PyModule_GetState(module))->api;
}

/* Stands for NULL where a function takes an object. */
static PyObject *
or_null(PyObject *o)
{
    return o == Py_Ellipsis ? NULL : o;
}

static PyObject *
done(int rc)
{
    if (rc < 0) {
        return NULL;
    }
    if (rc != 0) {
        return PyErr_Format(PyExc_AssertionError, "returned %d", rc);
    }
    Py_RETURN_NONE;
}

/* ---- functions ---- */

static PyObject *
probe_check(PyObject *module, PyObject *args)
{
    unsigned version, missing;
    if (!PyArg_ParseTuple(args, "II", &version, &missing)) {
        return NULL;
    }
    PicowsC_API other = *api_of(module);
    other.version = version;
    other.size -= missing;
    return done(PicowsC_Check(&other));
}

static PyObject *
probe_kinds(PyObject *module, PyObject *o)
{
    const PicowsC_API *api = api_of(module);
    return Py_BuildValue("(ii)", api->transport_check(or_null(o)),
                         api->frame_check(or_null(o)));
}

static PyObject *
probe_frame_get(PyObject *module, PyObject *frame)
{
    PicowsC_Frame f;
    if (api_of(module)->frame_get(or_null(frame), &f) < 0) {
        return NULL;
    }
    return Py_BuildValue("(iiiiny#K)", f.opcode, f.fin, f.rsv, f.last_in_buffer,
                         (Py_ssize_t)f.tail_size, (const char *)f.payload,
                         (Py_ssize_t)f.payload_len,
                         (unsigned long long)(uintptr_t)f.payload);
}

/* send(transport, opcode, bytes or None, fin, length of the claim) */
static PyObject *
probe_send(PyObject *module, PyObject *args)
{
    PyObject *transport;
    const char *data;
    Py_ssize_t len, claim = -1;
    unsigned opcode;
    int fin = 1;
    if (!PyArg_ParseTuple(args, "OIz#|in", &transport, &opcode, &data, &len,
                          &fin, &claim)) {
        return NULL;
    }
    size_t size = claim == -2 ? SIZE_MAX : (size_t)(claim < 0 ? len : claim);
    return done(
        api_of(module)->send(or_null(transport), opcode, data, size, fin));
}

/* send_in_place(transport, opcode, bytes, fin): what the memory holds
 * afterwards, headroom and payload. */
static PyObject *
probe_send_in_place(PyObject *module, PyObject *args)
{
    PyObject *transport, *result = NULL;
    const char *data;
    Py_ssize_t len;
    unsigned opcode;
    int fin = 1;
    if (!PyArg_ParseTuple(args, "OIz#|i", &transport, &opcode, &data, &len,
                          &fin)) {
        return NULL;
    }
    if (data == NULL) {
        return done(api_of(module)->send_in_place(or_null(transport), opcode,
                                                  NULL, 0, fin));
    }
    /* exactly as large as it has to be, so that a sanitizer sees the rest */
    char *room = (char *)PyMem_RawMalloc(PICOWSC_HEADROOM + (size_t)len);
    if (room == NULL) {
        return PyErr_NoMemory();
    }
    memset(room, '.', PICOWSC_HEADROOM);
    memcpy(room + PICOWSC_HEADROOM, data, (size_t)len);
    if (api_of(module)->send_in_place(or_null(transport), opcode,
                                      room + PICOWSC_HEADROOM, (size_t)len,
                                      fin) == 0) {
        result = PyBytes_FromStringAndSize(room, PICOWSC_HEADROOM + len);
    }
    /* nobody looks at it any more */
    memset(room, '!', PICOWSC_HEADROOM + (size_t)len);
    PyMem_RawFree(room);
    return result;
}

static PyObject *
probe_send_close(PyObject *module, PyObject *args)
{
    PyObject *transport;
    const char *reason = NULL;
    Py_ssize_t len = 0, claim = -1;
    unsigned code;
    if (!PyArg_ParseTuple(args, "OI|z#n", &transport, &code, &reason, &len,
                          &claim)) {
        return NULL;
    }
    return done(api_of(module)->send_close(or_null(transport), code, reason,
                                           (size_t)(claim < 0 ? len : claim)));
}

/* ---- callbacks ---- */

/* The context of most is a list. */
static int
keep_frame(void *context, PyObject *transport, PyObject *frame)
{
    (void)transport;
    return PyList_Append((PyObject *)context, frame);
}

static int
keep_connected(void *context, PyObject *transport)
{
    return PyList_Append((PyObject *)context, transport);
}

static int
keep_disconnected(void *context, PyObject *transport)
{
    return PyList_Append((PyObject *)context, transport);
}

/* ... of this one a counter, the module's only global: nobody owns it. */
static unsigned long long counted;

static int
count_frame(void *context, PyObject *transport, PyObject *frame)
{
    (void)transport;
    (void)frame;
    ++*(unsigned long long *)context;
    return 0;
}

static int
raise_frame(void *context, PyObject *transport, PyObject *frame)
{
    (void)context;
    (void)transport;
    (void)frame;
    PyErr_SetString(PyExc_ZeroDivisionError, "from C");
    return -1;
}

static int
raise_connected(void *context, PyObject *transport)
{
    (void)context;
    (void)transport;
    PyErr_SetString(PyExc_ZeroDivisionError, "from C");
    return -1;
}

/* Breaks the contract: -1 without an exception. */
static int
silent_frame(void *context, PyObject *transport, PyObject *frame)
{
    (void)context;
    (void)transport;
    (void)frame;
    return -1;
}

/* Breaks it the other way. */
static int
forget_frame(void *context, PyObject *transport, PyObject *frame)
{
    raise_frame(context, transport, frame);
    return 0;
}

/* Calls the context, which is a Python function. */
static int
call_frame(void *context, PyObject *transport, PyObject *frame)
{
    PyObject *result = PyObject_CallFunctionObjArgs(
        (PyObject *)context, transport, frame, (PyObject *)NULL);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

#define SIZE sizeof(PicowsC_Callbacks)

static const struct {
    const char *name;
    PicowsC_Callbacks callbacks;
} kinds[] = {
    {"keep", {SIZE, keep_frame, NULL, NULL}},
    {"keep all", {SIZE, keep_frame, keep_connected, keep_disconnected}},
    {"count", {SIZE, count_frame, NULL, NULL}},
    {"raise", {SIZE, raise_frame, NULL, NULL}},
    {"raise early", {SIZE, keep_frame, raise_connected, NULL}},
    {"silent", {SIZE, silent_frame, NULL, NULL}},
    {"forget", {SIZE, forget_frame, NULL, NULL}},
    {"call", {SIZE, call_frame, NULL, NULL}},
    {"short", {2 * sizeof(size_t), keep_frame, raise_connected, NULL}},
    {"none", {SIZE, NULL, NULL, NULL}},
    {"unsized", {0, keep_frame, NULL, NULL}},
    {"odd", {SIZE - 1, keep_frame, NULL, keep_disconnected}},
    {"oversized", {SIZE + sizeof(void *), keep_frame, NULL, NULL}},
};

/* The callbacks of |name|; 0 with ValueError where there are none.  "null" has
 * no struct at all. */
static int
find_kind(const char *name, const PicowsC_Callbacks **found)
{
    *found = NULL;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kinds[i].name, name) == 0) {
            *found = &kinds[i].callbacks;
        }
    }
    if (*found == NULL && strcmp(name, "null") != 0) {
        PyErr_Format(PyExc_KeyError, "%s", name);
        return 0;
    }
    return 1;
}

/* listener(kind, owner); the context is the owner, or the counter. */
static PyObject *
probe_listener(PyObject *module, PyObject *args)
{
    const char *name;
    PyObject *owner = NULL;
    const PicowsC_Callbacks *callbacks;
    if (!PyArg_ParseTuple(args, "s|O", &name, &owner) ||
        !find_kind(name, &callbacks)) {
        return NULL;
    }
    void *context = owner == NULL ? (void *)&counted : (void *)owner;
    return api_of(module)->listener_new(callbacks, context, owner);
}

/* bind(listener, kind, owner) */
static PyObject *
probe_bind(PyObject *module, PyObject *args)
{
    const char *name;
    PyObject *listener, *owner = NULL;
    const PicowsC_Callbacks *callbacks;
    if (!PyArg_ParseTuple(args, "Os|O", &listener, &name, &owner) ||
        !find_kind(name, &callbacks)) {
        return NULL;
    }
    void *context = owner == NULL ? (void *)&counted : (void *)owner;
    return done(api_of(module)->listener_bind(or_null(listener), callbacks,
                                              context, owner));
}

static PyObject *
probe_take_count(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    unsigned long long was = counted;
    counted = 0;
    return PyLong_FromUnsignedLongLong(was);
}

/* ---- module ---- */

static int
module_exec(PyObject *module)
{
    module_state *state = (module_state *)PyModule_GetState(module);
    state->api = PicowsC_Import();
    if (state->api == NULL) {
        return -1;
    }
    return PyModule_AddIntConstant(module, "VERSION", PICOWSC_API_VERSION);
}

static PyMethodDef module_methods[] = {
    {"check", probe_check, METH_VARARGS, NULL},
    {"kinds", probe_kinds, METH_O, NULL},
    {"frame_get", probe_frame_get, METH_O, NULL},
    {"send", probe_send, METH_VARARGS, NULL},
    {"send_in_place", probe_send_in_place, METH_VARARGS, NULL},
    {"send_close", probe_send_close, METH_VARARGS, NULL},
    {"listener", probe_listener, METH_VARARGS, NULL},
    {"bind", probe_bind, METH_VARARGS, NULL},
    {"take_count", probe_take_count, METH_NOARGS, NULL},
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
    PyModuleDef_HEAD_INIT,
    "probe",
    NULL,
    sizeof(module_state),
    module_methods,
    module_slots,
    NULL,
    NULL,
    NULL,
};

PyMODINIT_FUNC
PyInit_probe(void)
{
    return PyModuleDef_Init(&module_def);
}
