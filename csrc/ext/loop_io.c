#include "loop_io.h"

/* Gives everything from |from| on to the loop's transport. */
static int
loop_write(struct pyws_way *way, const struct pyws_out *out, size_t from)
{
    size_t n = pyws_out_len(out) - from;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)n);
    if (bytes == NULL) {
        return -1;
    }
    pyws_out_copy(out, from, (uint8_t *)PyBytes_AS_STRING(bytes), n);

    PyObject *target = Py_NewRef(way->target);
    PyObject *result =
        PyObject_CallMethodOneArg(target, way->state->str_write, bytes);
    Py_DECREF(target);
    Py_DECREF(bytes);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static PyObject *
loop_ask(struct pyws_way *way, PyObject *name)
{
    PyObject *target = Py_NewRef(way->target);
    PyObject *answer = PyObject_CallMethodNoArgs(target, name);
    Py_DECREF(target);
    return answer;
}

static Py_ssize_t
loop_waiting(struct pyws_way *way)
{
    PyObject *size = loop_ask(way, way->state->str_get_write_buffer_size);
    if (size == NULL) {
        return -1;
    }
    Py_ssize_t waiting = PyLong_AsSsize_t(size);
    Py_DECREF(size);
    if (waiting < 0 && !PyErr_Occurred()) {
        PyErr_Format(PyExc_ValueError,
                     "get_write_buffer_size() of the transport returned %zd",
                     waiting);
    }
    return waiting;
}

/* Whether the loop's transport is open and holds nothing that would be
 * overtaken.  A transport that began to close may have given its descriptor
 * back already: the number can belong to somebody else.  1, 0, or -1 with an
 * exception set. */
static int
loop_is_idle(struct pyws_way *way)
{
    PyObject *closing = loop_ask(way, way->state->str_is_closing);
    if (closing == NULL) {
        return -1;
    }
    int is_closing = PyObject_IsTrue(closing);
    Py_DECREF(closing);
    if (is_closing != 0) {
        return is_closing < 0 ? -1 : 0;
    }
    Py_ssize_t waiting = loop_waiting(way);
    return waiting < 0 ? -1 : waiting == 0;
}

static int
loop_send(struct pyws_way *way, const struct pyws_out *out)
{
    size_t sent = 0;

    if (way->fd >= 0) {
        int idle = loop_is_idle(way);
        if (idle < 0) {
            return -1;
        }
        /* The questions ran Python code: the descriptor may be gone. */
        if (idle && way->fd >= 0) {
            /* An error counts as nothing sent: the loop's transport meets it
             * again and reports it. */
            pyws_out_send(way->state, way->fd, out, &sent);
            if (sent == pyws_out_len(out)) {
                return 0;
            }
        }
    }
    return loop_write(way, out, sent);
}

const struct pyws_io pyws_loop_io = {
    .send = loop_send,
    .waiting = loop_waiting,
};
