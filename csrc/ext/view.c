#include "view.h"

#include "raise.h"

int
pyws_view_get(struct pyws_view *v, PyObject *o)
{
    v->buffer.obj = NULL;
    if (o != NULL && PyBytes_CheckExact(o)) {
        v->data = (const uint8_t *)PyBytes_AS_STRING(o);
        v->len = (size_t)PyBytes_GET_SIZE(o);
        return 0;
    }
    if (o == NULL || o == Py_None) {
        v->data = (const uint8_t *)"";
        v->len = 0;
        return 0;
    }
    if (PyUnicode_Check(o)) {
        Py_ssize_t len;
        const char *text = PyUnicode_AsUTF8AndSize(o, &len);
        if (text == NULL) {
            return -1;
        }
        v->data = (const uint8_t *)text;
        v->len = (size_t)len;
        return 0;
    }
    if (!PyObject_CheckBuffer(o)) {
        pyws_raise_payload(o);
        return -1;
    }
    if (PyObject_GetBuffer(o, &v->buffer, PyBUF_SIMPLE) < 0) {
        v->buffer.obj = NULL;
        return -1;
    }
    v->data = v->buffer.buf;
    v->len = (size_t)v->buffer.len;
    return 0;
}
