/* compat.h - what differs between CPython 3.9 and the newest: each shim is used
 * elsewhere under CPython's own newest name, or under a pyws_ name where the
 * meaning is ours.
 */
#ifndef PYWS_COMPAT_H
#define PYWS_COMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>  // T_OBJECT, READONLY before 3.12

#if PY_VERSION_HEX < 0x03090000
#  error "picows_c needs CPython 3.9 or newer"
#endif

/* The core counts references atomically exactly where Python does. */
#include "ws_block.h"
#if defined(Py_GIL_DISABLED) && !WS_ATOMIC_REFS
#  error "a free-threaded build needs WS_ATOMIC_REFS=1 (setup.py defines it)"
#endif

#if PY_VERSION_HEX < 0x030A0000
static inline PyObject *
pyws_new_ref(PyObject *o)
{
    Py_INCREF(o);
    return o;
}
static inline PyObject *
pyws_xnew_ref(PyObject *o)
{
    Py_XINCREF(o);
    return o;
}
#  define Py_NewRef(o) pyws_new_ref((PyObject *)(o))
#  define Py_XNewRef(o) pyws_xnew_ref((PyObject *)(o))

static inline int
PyModule_AddObjectRef(PyObject *module, const char *name, PyObject *value)
{
    Py_INCREF(value);
    if (PyModule_AddObject(module, name, value) < 0) {
        Py_DECREF(value);
        return -1;
    }
    return 0;
}
#endif

/* A flag that older versions do not know is none there. */
#ifndef Py_TPFLAGS_IMMUTABLETYPE
#  define Py_TPFLAGS_IMMUTABLETYPE 0
#endif

#if PY_VERSION_HEX < 0x030B0000
/* The first type of |type|'s resolution order that |def| made. */
static inline PyObject *
PyType_GetModuleByDef(PyTypeObject *type, PyModuleDef *def)
{
    PyObject *mro = type->tp_mro;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(mro); i++) {
        PyTypeObject *base = (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
        if (!PyType_HasFeature(base, Py_TPFLAGS_HEAPTYPE)) {
            continue;
        }
        PyObject *module = ((PyHeapTypeObject *)base)->ht_module;
        if (module != NULL && PyModule_GetDef(module) == def) {
            return module;
        }
    }
    PyErr_Format(PyExc_TypeError, "%s is no type of picows_c", type->tp_name);
    return NULL;
}
#endif

/* pyws_take_raised moves the raised exception to the caller, as an object with
 * its traceback; NULL where none is raised. */
static inline PyObject *
pyws_take_raised(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(value, traceback);
        Py_DECREF(traceback);
    }
    Py_XDECREF(type);
    return value;
#endif
}

/* pyws_raise_again raises what pyws_take_raised() took, and takes it over; NULL
 * does nothing. */
static inline void
pyws_raise_again(PyObject *raised)
{
    if (raised != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(raised), raised);
        Py_DECREF(raised);
    }
}

/* pyws_is_unique returns whether the caller's reference is the only one. */
static inline int
pyws_is_unique(PyObject *o)
{
#if PY_VERSION_HEX >= 0x030E0000
    return PyUnstable_Object_IsUniquelyReferenced(o);
#else
    return Py_REFCNT(o) == 1;
#endif
}

/* pyws_context_out leaves the contextvars context that this code runs in, so
 * that others can enter it meanwhile, and returns it; NULL where there is none.
 * pyws_context_back enters it again; -1 with an exception set. */
static inline PyObject *
pyws_context_out(void)
{
    PyObject *context = Py_XNewRef(PyThreadState_Get()->context);
    if (context != NULL && PyContext_Exit(context) < 0) {
        PyErr_Clear();
        Py_CLEAR(context);
    }
    return context;
}

static inline int
pyws_context_back(PyObject *context)
{
    int rc = context == NULL ? 0 : PyContext_Enter(context);
    Py_XDECREF(context);
    return rc;
}

/* One byte that several threads may write; who reads it wants no order. */
#if defined(Py_GIL_DISABLED) && (defined(__GNUC__) || defined(__clang__))
#  define PYWS_STORE_BYTE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#  define PYWS_LOAD_BYTE(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#else
#  define PYWS_STORE_BYTE(p, v) (*(volatile uint8_t *)(p) = (v))
#  define PYWS_LOAD_BYTE(p) (*(volatile uint8_t *)(p))
#endif

#endif /* PYWS_COMPAT_H */
