#include "args.h"

#include "raise.h"
#include "ws_err.h"
#include "ws_opcode.h"

long
pyws_args_number(PyObject *o, long max, int err)
{
    /* PyLong_AsLong() takes floats before 3.10. */
    PyObject *index = PyNumber_Index(o);
    if (index == NULL) {
        return -1;
    }
    int overflow;
    long value = PyLong_AsLongAndOverflow(index, &overflow);
    Py_DECREF(index);
    if (overflow != 0 || value < 0 || value > max) {
        pyws_raise_err(err);
        return -1;
    }
    return value;
}

int
pyws_args_opcode(const pyws_state *state, PyObject *o)
{
    /* Nearly always a member of the enum, and one of these two. */
    if (o == state->msg_types[WS_OP_BINARY]) {
        return WS_OP_BINARY;
    }
    if (o == state->msg_types[WS_OP_TEXT]) {
        return WS_OP_TEXT;
    }
    long value = pyws_args_number(o, 0xF, WS_ERR_SEND_OPCODE);
    if (value >= 0 && !ws_opcode_is_known((unsigned)value)) {
        pyws_raise_err(WS_ERR_SEND_OPCODE);
        return -1;
    }
    return (int)value;
}

int
pyws_args_sort(const char *method, const char *const *names, Py_ssize_t count,
               Py_ssize_t required, PyObject *const *args, Py_ssize_t nargs,
               PyObject *kwnames, PyObject **out)
{
    if (nargs > count) {
        pyws_raise_args(method, "takes at most %zd arguments, %zd were given",
                        count, nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        out[i] = i < nargs ? args[i] : NULL;
    }
    Py_ssize_t nkw = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t k = 0; k < nkw; k++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, k);
        Py_ssize_t i = 0;
        while (i < count &&
               PyUnicode_CompareWithASCIIString(name, names[i]) != 0) {
            i++;
        }
        if (i == count) {
            pyws_raise_args(method, "got an unexpected keyword argument '%U'",
                            name);
            return -1;
        }
        if (out[i] != NULL) {
            pyws_raise_args(method, "got '%s' twice", names[i]);
            return -1;
        }
        out[i] = args[nargs + k];
    }
    for (Py_ssize_t i = 0; i < required; i++) {
        if (out[i] == NULL) {
            pyws_raise_args(method, "misses the argument '%s'", names[i]);
            return -1;
        }
    }
    return 0;
}

int
pyws_args_flag(PyObject *o, int otherwise)
{
    if (o == NULL) {
        return otherwise;
    }
    return o == Py_True ? 1 : o == Py_False ? 0 : PyObject_IsTrue(o);
}
