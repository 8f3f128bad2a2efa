/* args.h - the arguments of vectorcall functions. */
#ifndef PYWS_ARGS_H
#define PYWS_ARGS_H

#include "state.h"

/* pyws_args_number returns the number in |o|, an int or an enum member; |err|
 * is the WS_ERR_* that says what is wrong with one that is not within
 * 0..|max|.  -1 with TypeError or ValueError set. */
long pyws_args_number(PyObject *o, long max, int err);

/* pyws_args_opcode returns the opcode in |o|, WSMsgType or int; -1 as above. */
int pyws_args_opcode(const pyws_state *state, PyObject *o);

/* pyws_args_sort sorts positional and keyword arguments of |method| into |out|,
 * by the |count| |names|, NULL where absent.  The first |required| must be
 * there.  Returns 0, or -1 with TypeError. */
int pyws_args_sort(const char *method, const char *const *names,
                   Py_ssize_t count, Py_ssize_t required, PyObject *const *args,
                   Py_ssize_t nargs, PyObject *kwnames, PyObject **out);

/* pyws_args_flag returns |o| as a flag, |otherwise| where it is absent.  -1
 * with an exception set. */
int pyws_args_flag(PyObject *o, int otherwise);

#endif /* PYWS_ARGS_H */
