#include "ssl_module.h"

#include "libssl.h"

/* ---- errors ---- */

enum pyws_tls_result
pyws_ssl_raised(pyws_state *state)
{
    if (PyErr_ExceptionMatches(state->SSLWantReadError)) {
        PyErr_Clear();
        return PYWS_TLS_AGAIN;
    }
    if (PyErr_ExceptionMatches(state->SSLZeroReturnError)) {
        PyErr_Clear();
        return PYWS_TLS_END;
    }
    return PYWS_TLS_ERROR;
}

void
pyws_ssl_raise_ended(void)
{
    PyErr_SetString(PyExc_ConnectionResetError, "the TLS connection has ended");
}

void
pyws_ssl_raise(pyws_state *state)
{
    char reason[128];
    size_t n = 0;
    const char *text = ws_ssl_error();

    if (text == NULL) {
        pyws_ssl_raise_ended();
        return;
    }
    for (; text[n] != '\0' && n + 1 < sizeof(reason); n++) {
        reason[n] = text[n] == ' ' ? '_' : (char)Py_TOUPPER(text[n]);
    }
    reason[n] = '\0';
    PyObject *message = PyUnicode_FromFormat("[SSL: %s] %s", reason, text);
    PyObject *error = message == NULL ? NULL
                                      : PyObject_CallFunction(state->SSLError,
                                                              "iO", 1, message);
    PyObject *name = error == NULL ? NULL : PyUnicode_FromString(reason);
    PyObject *library = name == NULL ? NULL : PyUnicode_FromString("SSL");
    if (library != NULL && PyObject_SetAttrString(error, "reason", name) == 0 &&
        PyObject_SetAttrString(error, "library", library) == 0) {
        PyErr_SetObject(state->SSLError, error);
    }
    Py_XDECREF(message);
    Py_XDECREF(error);
    Py_XDECREF(name);
    Py_XDECREF(library);
}

/* ---- import ---- */

static int
ssl_take(PyObject *module, const char *name, PyObject **slot)
{
    *slot = PyObject_GetAttrString(module, name);
    return *slot == NULL ? -1 : 0;
}

/* Finds the OpenSSL below |module|, the ssl module's own in C.
 * PICOWS_C_TLS=objects does without. */
static int
ssl_load(pyws_state *state, PyObject *module)
{
#ifdef Py_GIL_DISABLED
    /* A free-threaded ssl module has a lock of its own around each call. */
    (void)state;
    (void)module;
#else
    const char *way = Py_GETENV("PICOWS_C_TLS");
    if (way != NULL && strcmp(way, "objects") == 0) {
        return 0;
    }
    PyObject *path = PyObject_GetAttrString(module, "__file__"), *bytes = NULL;
    if (path != NULL && PyUnicode_FSConverter(path, &bytes)) {
        state->libssl = ws_ssl_load(PyBytes_AS_STRING(bytes));
        Py_DECREF(bytes);
    }
    Py_XDECREF(path);
    if (PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            return -1;
        }
        PyErr_Clear(); /* it is built into the interpreter */
    }
#endif
    return 0;
}

int
pyws_ssl_import(pyws_state *state)
{
    PyObject *ssl = PyImport_ImportModule("ssl");
    PyObject *inside = ssl == NULL ? NULL : PyImport_ImportModule("_ssl");
    int rc = -1;

    if (inside != NULL &&
        ssl_take(ssl, "SSLZeroReturnError", &state->SSLZeroReturnError) == 0 &&
        ssl_take(ssl, "SSLWantReadError", &state->SSLWantReadError) == 0 &&
        ssl_take(ssl, "SSLError", &state->SSLError) == 0 &&
        ssl_take(ssl, "SSLObject", &state->SSLObject) == 0 &&
        ssl_take(inside, "_SSLSocket", &state->SSLSocket) == 0) {
        rc = ssl_load(state, inside);
    }
    Py_XDECREF(inside);
    Py_XDECREF(ssl);
    return rc;
}

/* Whether |sslobj| has the method |name| of ssl.SSLObject, bound to itself: 1
 * or 0, -1 with an exception set. */
static int
ssl_has_stock(pyws_state *state, PyObject *sslobj, PyObject *name)
{
    PyObject *mine = PyObject_GetAttr(sslobj, name);
    PyObject *stock =
        mine == NULL ? NULL : PyObject_GetAttr(state->SSLObject, name);
    int has = stock == NULL ? -1
                            : PyMethod_Check(mine) &&
                                  PyMethod_GET_FUNCTION(mine) == stock &&
                                  PyMethod_GET_SELF(mine) == sslobj;
    Py_XDECREF(mine);
    Py_XDECREF(stock);
    return has;
}

/* ssl.SSLObject only passes the arguments on to an object inside: that one
 * saves a Python frame a call.  A class that has methods of its own is called
 * by them, and so is one whose inner object is not the ssl module's. */
PyObject *
pyws_ssl_inner(pyws_state *state, PyObject *sslobj, int *stock)
{
    PyObject *names[] = {state->str_read, state->str_write, state->str_pending,
                         state->str_do_handshake, state->str_unwrap};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        int has = ssl_has_stock(state, sslobj, names[i]);
        if (has <= 0) {
            return has < 0 ? NULL : Py_NewRef(sslobj);
        }
    }
    PyObject *inner = PyObject_GetAttrString(sslobj, "_sslobj");
    if (inner == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return NULL;
        }
        PyErr_Clear();
        return Py_NewRef(sslobj);
    }
    if ((PyObject *)Py_TYPE(inner) == state->SSLSocket) {
        *stock = 1;
        return inner;
    }
    Py_DECREF(inner);
    return Py_NewRef(sslobj);
}
