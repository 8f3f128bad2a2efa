/* object.h - what every type of the module does the same way. */
#ifndef PYWS_OBJECT_H
#define PYWS_OBJECT_H

#include "compat.h"

/* pyws_dealloc_tail is the end of every tp_dealloc: the type of a heap type's
 * instance is referenced by it (since 3.8), so it goes last. */
static inline void
pyws_dealloc_tail(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* pyws_done turns the |result| of a call, which it drops, into 0 or -1. */
static inline int
pyws_done(PyObject *result)
{
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* pyws_add_type makes the type of |spec|, stores a reference in |*slot| and
 * adds it to the module.  Returns 0 or -1. */
static inline int
pyws_add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **slot)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    if (type == NULL) {
        return -1;
    }
    *slot = (PyTypeObject *)type;
    const char *dot = strrchr(spec->name, '.');
    return PyModule_AddObjectRef(module, dot + 1, type);
}

#endif /* PYWS_OBJECT_H */
