/* module.c - the module's definition and its life; nothing else. */
#include "acceptor.h"
#include "broadcast.h"
#include "c_api.h"
#include "callbacks.h"
#include "deflate.h"
#include "frame.h"
#include "head.h"
#include "poller.h"
#include "reader.h"
#include "ssl_module.h"
#include "state.h"
#include "stream.h"
#include "transport.h"

/* ---- functions ---- */

static PyObject *
module_forked(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    pyws_state *state = PyModule_GetState(module);
    state->fork_generation++;
    Py_RETURN_NONE;
}

static PyObject *
module_mask_kernel(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    pyws_state *state = PyModule_GetState(module);
    return PyUnicode_FromString(state->mask->name);
}

static PyMethodDef module_methods[] = {
    {"_forked", module_forked, METH_NOARGS,
     "_forked($module, /)\n--\n\nRuns in a forked child: forget all mask "
     "keys."},
    {"_request_fields", pyws_head_request_fields, METH_O,
     "_request_fields($module, head, /)\n--\n\nThe header fields of a request "
     "that was received, as pairs."},
    {"broadcast", (PyCFunction)(void (*)(void))pyws_broadcast,
     METH_FASTCALL | METH_KEYWORDS, pyws_broadcast_doc},
    {"mask_kernel", module_mask_kernel, METH_NOARGS,
     "mask_kernel($module, /)\n--\n\n"
     "Return the name of the mask kernel of new connections: \"avx512\", "
     "\"avx2\",\n"
     "\"sse2\", \"neon\" or \"generic\". The environment variable "
     "PICOWS_C_MASK forces "
     "one."},
    {NULL, NULL, 0, NULL},
};

/* ---- exec ---- */

static int
exec_names(pyws_state *state)
{
#define INTERN(name, text)                              \
  state->str_##name = PyUnicode_InternFromString(text); \
  if (state->str_##name == NULL) {                      \
    return -1;                                          \
  }
    PYWS_NAMES(INTERN)
#undef INTERN
    return 0;
}

static int
exec_enums(pyws_state *state)
{
    static const unsigned opcodes[] = {
        WS_OP_CONTINUATION, WS_OP_TEXT, WS_OP_BINARY,
        WS_OP_CLOSE,        WS_OP_PING, WS_OP_PONG,
    };
    PyObject *enums = PyImport_ImportModule("picows_c.enums");
    if (enums == NULL) {
        return -1;
    }
    PyObject *msg_type = PyObject_GetAttrString(enums, "WSMsgType");
    state->WSCloseCode = PyObject_GetAttrString(enums, "WSCloseCode");
    Py_DECREF(enums);
    if (msg_type == NULL || state->WSCloseCode == NULL) {
        Py_XDECREF(msg_type);
        return -1;
    }
    for (size_t i = 0; i < sizeof(opcodes) / sizeof(opcodes[0]); i++) {
        state->msg_types[opcodes[i]] =
            PyObject_CallFunction(msg_type, "I", opcodes[i]);
        if (state->msg_types[opcodes[i]] == NULL) {
            Py_DECREF(msg_type);
            return -1;
        }
    }
    Py_DECREF(msg_type);
    return 0;
}

/* PICOWS_C_MASK names the kernel; the best one otherwise. */
static int
exec_mask(pyws_state *state)
{
    const char *name = Py_GETENV("PICOWS_C_MASK");
    state->mask = ws_mask_select(name);
    if (state->mask == NULL) {
        PyErr_Format(PyExc_ImportError,
                     "PICOWS_C_MASK=%s: no such mask kernel on this machine",
                     name);
        return -1;
    }
    return 0;
}

static int
module_exec(PyObject *module)
{
    pyws_state *state = PyModule_GetState(module);
    if (exec_mask(state) < 0 || exec_names(state) < 0 ||
        exec_enums(state) < 0 || pyws_ssl_import(state) < 0 ||
        pyws_frame_add_type(module, state) < 0 ||
        pyws_deflate_add_type(module, state) < 0 ||
        pyws_transport_add_type(module, state) < 0 ||
        pyws_callbacks_add_type(module, state) < 0 ||
        pyws_head_add_type(module, state) < 0 ||
        pyws_reader_add_type(module, state) < 0 ||
        pyws_poller_add_type(module, state) < 0 ||
        pyws_stream_add_type(module, state) < 0 ||
        pyws_acceptor_add_type(module, state) < 0 ||
        pyws_c_api_add(module) < 0) {
        return -1;
    }
    return 0;
}

/* ---- life ---- */

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    pyws_state *state = PyModule_GetState(module);
#define VISIT_OBJECT(type, name) Py_VISIT(state->name);
#define VISIT_NAME(name, text) Py_VISIT(state->str_##name);
    PYWS_OBJECTS(VISIT_OBJECT)
    PYWS_NAMES(VISIT_NAME)
#undef VISIT_OBJECT
#undef VISIT_NAME
    for (size_t i = 0; i < 16; i++) {
        Py_VISIT(state->msg_types[i]);
    }
    return 0;
}

static int
module_clear(PyObject *module)
{
    pyws_state *state = PyModule_GetState(module);
#define CLEAR_OBJECT(type, name) Py_CLEAR(state->name);
#define CLEAR_NAME(name, text) Py_CLEAR(state->str_##name);
    PYWS_OBJECTS(CLEAR_OBJECT)
    PYWS_NAMES(CLEAR_NAME)
#undef CLEAR_OBJECT
#undef CLEAR_NAME
    for (size_t i = 0; i < 16; i++) {
        Py_CLEAR(state->msg_types[i]);
    }
    return 0;
}

static void
module_free(void *module)
{
    pyws_state *state = PyModule_GetState((PyObject *)module);
    (void)module_clear((PyObject *)module);
    ws_spare_clear(&state->spare);
    ws_spare_clear(&state->tls_spare);
}

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

PyModuleDef pyws_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "picows_c._core",
    .m_doc = "The data path of picows_c in C.",
    .m_size = sizeof(pyws_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&pyws_module);
}
