/* broadcast.h - broadcast(): one message to many connections of a server, its
 * frame built once.
 */
#ifndef PYWS_BROADCAST_H
#define PYWS_BROADCAST_H

#include "state.h"

/* The function of the module, METH_FASTCALL | METH_KEYWORDS, and its
 * docstring. */
PyObject *pyws_broadcast(PyObject *module, PyObject *const *args,
                         Py_ssize_t nargs, PyObject *kwnames);
extern const char pyws_broadcast_doc[];

#endif /* PYWS_BROADCAST_H */
