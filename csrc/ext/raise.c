#include "raise.h"

#include "ws_err.h"
#include "ws_opcode.h"

PyObject *
pyws_raise_err(int err)
{
    if (err == WS_ERR_NOMEM) {
        return PyErr_NoMemory();
    }
    PyErr_SetString(PyExc_ValueError, ws_err_text(err));
    return NULL;
}

PyObject *
pyws_raise_thread(const char *type_name, const char *method,
                  unsigned long owner)
{
    return PyErr_Format(PyExc_RuntimeError,
                        "%s.%s called from a wrong thread: transport thread "
                        "id=%lu, curr thread_id=%lu",
                        type_name, method, owner, PyThread_get_thread_ident());
}

PyObject *
pyws_raise_payload(PyObject *o)
{
    return PyErr_Format(PyExc_TypeError,
                        "a payload is str, None or an object with a "
                        "C-contiguous buffer, not %.100s",
                        Py_TYPE(o)->tp_name);
}

PyObject *
pyws_raise_not_close(const char *method)
{
    return PyErr_Format(PyExc_ValueError, "%s() needs a CLOSE frame", method);
}

PyObject *
pyws_raise_offset(Py_ssize_t offset, Py_ssize_t len)
{
    return PyErr_Format(PyExc_ValueError,
                        "msg_offset must be between %d and the buffer's %zd "
                        "bytes, not %zd",
                        WS_HEAD_MAX, len, offset);
}

PyObject *
pyws_raise_reuse(int is_close)
{
    PyErr_SetString(PyExc_ValueError, is_close ? "CLOSE is sent by send_close()"
                                               : "buffer cannot be None");
    return NULL;
}

PyObject *
pyws_raise_entropy(void)
{
    PyErr_SetString(PyExc_OSError,
                    "the operating system gives no entropy for masking keys");
    return NULL;
}

PyObject *
pyws_raise_lent(Py_ssize_t given, size_t lent)
{
    return PyErr_Format(PyExc_RuntimeError,
                        "buffer_updated(%zd) after get_buffer() with room "
                        "for %zu bytes",
                        given, lent);
}

PyObject *
pyws_raise_type(const char *method, const char *wanted, PyObject *o)
{
    return PyErr_Format(PyExc_TypeError, "%s() takes a %s, not %.100s", method,
                        wanted, o == NULL ? "NULL" : Py_TYPE(o)->tp_name);
}

PyObject *
pyws_raise_memory(const char *method, size_t len)
{
    return PyErr_Format(PyExc_ValueError,
                        "%s() was given no memory with %zu bytes", method, len);
}

PyObject *
pyws_raise_callback(const char *name, int rc)
{
    return PyErr_Format(PyExc_SystemError,
                        "the C function %s returned %d without an exception",
                        name, rc);
}

int
pyws_raised_exit(void)
{
    return PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) ||
           PyErr_ExceptionMatches(PyExc_SystemExit);
}

PyObject *
pyws_raise_args(const char *method, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    PyObject *what = PyUnicode_FromFormatV(format, args);
    va_end(args);
    if (what != NULL) {
        PyErr_Format(PyExc_TypeError, "%s() %U", method, what);
        Py_DECREF(what);
    }
    return NULL;
}
