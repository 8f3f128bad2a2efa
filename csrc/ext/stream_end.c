/* stream_end.c - how a stream ends, and who hears of it. */
#include "stream.h"

#ifdef WS_POLL_KIND

#  include "raise.h"
#  include "sockio.h"
#  include "tls.h"

/* ---- calls ---- */

/* Reports |raised|, which is taken over, the way asyncio's transports do. */
void
pyws_stream_report(StreamObject *s, PyObject *raised, const char *message)
{
    PyObject *result = NULL;
    PyObject *context =
        Py_BuildValue("{s:s, s:O, s:O, s:O}", "message", message, "exception",
                      raised, "transport", (PyObject *)s, "protocol",
                      s->protocol == NULL ? Py_None : s->protocol);
    PyObject *loop = Py_XNewRef(s->loop);
    if (context != NULL && loop != NULL) {
        result =
            PyObject_CallMethod(loop, "call_exception_handler", "O", context);
    }
    Py_XDECREF(loop);
    if (result == NULL && PyErr_Occurred()) {
        PyErr_WriteUnraisable((PyObject *)s);
    }
    Py_XDECREF(result);
    Py_XDECREF(context);
    Py_DECREF(raised);
}

/* loop.call_soon(self.|method|, |arg|).  (The method enters the connection's
 * context: the loop could not where a nested one runs inside of it.) */
static int
stream_call_soon(StreamObject *s, const char *method, PyObject *arg)
{
    PyObject *loop = Py_NewRef(s->loop);
    PyObject *bound = PyObject_GetAttrString((PyObject *)s, method);
    PyObject *handle = bound == NULL ? NULL
                                     : PyObject_CallMethod(loop, "call_soon",
                                                           "OO", bound, arg);
    Py_DECREF(loop);
    Py_XDECREF(bound);
    Py_XDECREF(handle);
    return handle == NULL ? -1 : 0;
}

PyObject *
pyws_stream_enter(StreamObject *s)
{
    PyObject *context = Py_NewRef(s->context);
    if (PyContext_Enter(context) == 0) {
        return context;
    }
    PyObject *copy = NULL;
    if (PyErr_ExceptionMatches(PyExc_RuntimeError)) {
        PyErr_Clear();
        copy = PyContext_Copy(context);
        if (copy != NULL && PyContext_Enter(copy) < 0) {
            Py_CLEAR(copy);
        }
    }
    Py_DECREF(context);
    return copy;
}

/* An exception that is set stays. */
void
pyws_stream_leave(StreamObject *s, PyObject *context)
{
    PyObject *raised = PyErr_Occurred() ? pyws_take_raised() : NULL;
    if (PyContext_Exit(context) < 0) {
        PyErr_WriteUnraisable((PyObject *)s);
    }
    Py_DECREF(context);
    pyws_raise_again(raised);
}

/* ---- the end ---- */

/* Takes the descriptor out of the world: the poller first, then the
 * connection, then the number, which may be somebody else's at once. */
static void
stream_release(StreamObject *s, int shut)
{
    int fd = s->fd;
    if (fd < 0) {
        return;
    }
    s->fd = -1;
    int is_kept = 0;
    if (s->slot != PYWS_NO_SLOT) {
        uint32_t slot = s->slot;
        s->slot = PYWS_NO_SLOT;
        is_kept = pyws_watch_remove(s->watch, slot);
    }
    if (is_kept) {
        ws_sock_shut(fd);
    }
    else {
        /* Where both sides have said that they are done nobody waits. */
        int is_over = s->eof_sent && s->eof_in && s->tls == NULL;
        ws_sock_close(fd, shut && !is_over);
    }
    ws_queue_free(&s->out);
}

void
pyws_stream_forget(StreamObject *s)
{
    s->reader = NULL;
    Py_CLEAR(s->protocol);
    Py_CLEAR(s->loop);
    Py_CLEAR(s->lost_for);
    Py_CLEAR(s->tls_done);
    Py_CLEAR(s->tls_failed);
    struct pyws_tls *tls = s->tls;
    s->tls = NULL;
    pyws_tls_free(tls);
}

void
pyws_stream_abandon(StreamObject *s, int shut)
{
    Py_INCREF(s);
    s->closing = 1;
    stream_release(s, shut);
    pyws_stream_forget(s);
    Py_DECREF(s);
}

/* Has the loop tell whoever has to know, in its next iteration. */
static int
stream_tell(StreamObject *s, PyObject *exc)
{
    if (!s->tls_handshaking || s->tls_done == NULL) {
        return s->protocol == NULL ? 0 : stream_call_soon(s, "_lost", exc);
    }
    /* Nobody has seen the connection yet. */
    PyObject *error = exc;
    if (exc == Py_None) {
        error = PyObject_CallFunction(
            PyExc_ConnectionResetError, "s",
            "the connection was closed during the TLS handshake");
    }
    else {
        Py_INCREF(error);
    }
    int rc = error == NULL ? -1 : stream_call_soon(s, "_tls_failed", error);
    Py_XDECREF(error);
    return rc;
}

/* The loop could not be told, for want of memory or by a Ctrl-C: the poller
 * comes back to the stream, and it is told then.  A descriptor whose write side
 * was shut down is always writable. */
static void
stream_tell_later(StreamObject *s, PyObject *exc)
{
    PyObject *raised = pyws_take_raised();

    if (s->lost_for == NULL) {
        s->lost_for = Py_NewRef(exc);
    }
    (void)ws_sock_end_writing(s->fd);
    if (pyws_stream_update(s) < 0) {
        PyErr_Clear();
    }
    pyws_raise_again(raised);
}

/* Whether the exception of call_soon() means that nobody is there to be told:
 * the loop is closed. */
static int
stream_has_no_loop(StreamObject *s)
{
    PyObject *raised = pyws_take_raised();
    PyObject *loop = Py_XNewRef(s->loop);
    int is_closed = loop == NULL;

    if (loop != NULL) {
        PyObject *closed = PyObject_CallMethod(loop, "is_closed", NULL);
        is_closed = closed != NULL && PyObject_IsTrue(closed) > 0;
        Py_XDECREF(closed);
        Py_DECREF(loop);
    }
    PyErr_Clear();
    pyws_raise_again(raised);
    return is_closed;
}

/* The connection is lost, for |exc| (an exception or None, borrowed): nothing
 * is sent or received any more, and connection_lost() runs in the loop's next
 * iteration, never inside a call of the user.  -1 with KeyboardInterrupt or
 * SystemExit set, which hit the telling. */
int
pyws_stream_lost(StreamObject *s, PyObject *exc)
{
    if (s->fd < 0) {
        return 0;
    }
    Py_INCREF(s);
    s->closing = 1;
    exc = Py_NewRef(s->lost_for != NULL ? s->lost_for : exc);
    int rc = stream_tell(s, exc);
    int is_alone = rc < 0 && stream_has_no_loop(s);
    if (rc < 0 && !is_alone && s->slot != PYWS_NO_SLOT) {
        stream_tell_later(s, exc);
    }
    else {
        s->tls_handshaking = 0;
        stream_release(s, 1);
        if (is_alone) {
            pyws_stream_forget(s);
        }
    }
    if (rc < 0 && (is_alone || !pyws_raised_exit())) {
        PyErr_Clear();
        rc = 0;
    }
    Py_DECREF(exc);
    Py_DECREF(s);
    return rc;
}

/* connection_lost(), in the loop's next iteration. */
PyObject *
pyws_stream_tell_lost(StreamObject *s, PyObject *exc)
{
    /* (Told, and by a Ctrl-C not known to be: nobody comes back to it.) */
    stream_release(s, 1);
    if (s->protocol == NULL || s->context == NULL || s->told) {
        Py_RETURN_NONE;
    }
    PyObject *context = pyws_stream_enter(s);
    if (context == NULL) {
        return NULL;
    }
    /* (It is scheduled twice where call_soon() ends the connection itself.) */
    s->told = 1;
    PyObject *protocol = Py_XNewRef(s->protocol), *result = NULL;
    if (protocol != NULL) {
        result = PyObject_CallMethodOneArg(protocol,
                                           s->state->str_connection_lost, exc);
    }
    Py_XDECREF(protocol);
    pyws_stream_leave(s, context);
    PyObject *raised = pyws_take_raised();
    pyws_stream_forget(s);
    pyws_raise_again(raised);
    return result;
}

/* What start_tls() waits for, in the loop's next iteration. */
PyObject *
pyws_stream_tell_failed(StreamObject *s, PyObject *exc)
{
    PyObject *done = Py_XNewRef(s->tls_done), *result = NULL;

    stream_release(s, 1);
    if (done == NULL || s->context == NULL) {
        Py_XDECREF(done);
        Py_RETURN_NONE;
    }
    pyws_stream_forget(s);
    PyObject *context = pyws_stream_enter(s);
    if (context != NULL) {
        result = PyObject_CallOneArg(done, exc);
        pyws_stream_leave(s, context);
    }
    Py_DECREF(done);
    return result;
}

int
pyws_stream_lost_errno(StreamObject *s, int error)
{
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    PyObject *raised = pyws_take_raised();
    int rc = pyws_stream_lost(s, raised);
    Py_DECREF(raised);
    return rc;
}

/* An exception of ours or of the protocol ends the connection.
 * KeyboardInterrupt and SystemExit go on to the loop: -1. */
int
pyws_stream_fatal(StreamObject *s, const char *message)
{
    int passes = pyws_raised_exit();
    int is_os_error = PyErr_ExceptionMatches(PyExc_OSError);
    PyObject *raised = pyws_take_raised();
    if (pyws_stream_lost(s, raised) < 0) {
        Py_DECREF(raised); /* that one goes on */
        return -1;
    }
    if (passes) {
        pyws_raise_again(raised);
        return -1;
    }
    if (is_os_error) {
        Py_DECREF(
            raised); /* the peer's or the network's; connection_lost() tells */
        return 0;
    }
    pyws_stream_report(s, raised, message);
    return 0;
}

#else
typedef int pyws_stream_end_is_empty;
#endif
