#include "acceptor.h"

#ifdef WS_POLL_KIND

#  include "budget.h"
#  include "object.h"
#  include "raise.h"
#  include "sockio.h"
#  include "stream.h"

/* ---- accepting ---- */

/* Calls the server; what it raises does not end the turn, unless the process is
 * asked to end. */
static int
acceptor_call(AcceptorObject *a, PyObject *result)
{
    if (result != NULL) {
        Py_DECREF(result);
        return 0;
    }
    if (pyws_raised_exit()) {
        return -1;
    }
    PyErr_WriteUnraisable((PyObject *)a);
    return 0;
}

/* What getpeername() would return for an IP socket; None otherwise, also where
 * a scope needs its zone's name. */
static PyObject *
acceptor_peername(const struct ws_sock_addr *peer)
{
    if (peer->version == 4) {
        return Py_BuildValue("(sI)", peer->host, peer->port);
    }
    if (peer->version == 6 && peer->scope_id == 0) {
        return Py_BuildValue("(sIII)", peer->host, peer->port, peer->flowinfo,
                             peer->scope_id);
    }
    Py_RETURN_NONE;
}

/* Hands |fd| to the server: _accepted() makes a stream of it, and it is closed
 * where that fails, whoever has it then; _begun() does the rest.  Both are
 * there before the first is called, so that no stream is left without anybody
 * who begins with it. */
static int
acceptor_begin(AcceptorObject *a, int fd, const struct ws_sock_addr *peer)
{
    PyObject *server = Py_NewRef(a->server);
    PyObject *accepted = PyObject_GetAttrString(server, "_accepted");
    PyObject *begun = PyObject_GetAttrString(server, "_begun");
    PyObject *made = NULL, *result = NULL;

    if (accepted != NULL && begun != NULL) {
        made =
            PyObject_CallFunction(accepted, "iN", fd, acceptor_peername(peer));
    }
    if (made == NULL) {
        pyws_drop_fd(a->watch, fd);
    }
    else {
        result = PyObject_CallOneArg(begun, made);
    }
    Py_XDECREF(made);
    Py_XDECREF(begun);
    Py_XDECREF(accepted);
    Py_DECREF(server);
    return acceptor_call(a, result);
}

static int
acceptor_exhausted(AcceptorObject *a, int error)
{
    errno = error;
    PyErr_SetFromErrno(PyExc_OSError);
    PyObject *raised = pyws_take_raised();
    /* Watching on would spin: the server turns us on again later. */
    int rc = pyws_watch_bits(a->watch, a->slot, 0);
    if (rc == 0) {
        rc = acceptor_call(a, PyObject_CallMethod(a->server, "_exhausted", "OO",
                                                  (PyObject *)a, raised));
    }
    Py_DECREF(raised);
    return rc;
}

int
pyws_acceptor_serve(AcceptorObject *a, struct pyws_budget *budget)
{
    int rc = 0;

    Py_INCREF(a);
    /* What there is no time for is still in the queue. */
    while (rc == 0 && budget->share > 0 && a->fd >= 0) {
        struct ws_sock_addr peer;
        int64_t begun = ws_clock_us();
        ptrdiff_t fd = ws_sock_accept(a->fd, &peer);
        if (fd >= 0) {
            rc = acceptor_begin(a, (int)fd, &peer);
            budget->share--;
            pyws_budget_charge(&budget->share, begun);
        }
        else if (ws_sock_would_block(fd)) {
            break;
        }
        else if (ws_sock_is_temporary(fd)) {
            rc = acceptor_exhausted(a, (int)-fd);
            break;
        }
        else {
            /* One connection's trouble: it was reset before we took it. The
             * next one may be fine. */
            budget->share -= 10;
        }
    }
    Py_DECREF(a);
    return rc;
}

static void
acceptor_release(AcceptorObject *a)
{
    int fd = a->fd;
    uint32_t slot = a->slot;
    if (fd < 0) {
        return;
    }
    a->fd = -1;
    a->slot = PYWS_NO_SLOT;
    if (slot != PYWS_NO_SLOT) {
        (void)pyws_watch_remove(a->watch, slot);
    }
    /* No shutdown: a listening descriptor may be shared with other processes.
     */
    ws_sock_close(fd, 0);
}

void
pyws_acceptor_abandon(AcceptorObject *a)
{
    Py_INCREF(a);
    acceptor_release(a);
    Py_DECREF(a);
}

void
pyws_drop_fd(struct pyws_watch *w, int fd)
{
    struct pyws_slot *slot = pyws_watch_find_fd(w, fd);
    if (slot == NULL) {
        ws_sock_close(fd, 1);
    }
    else if (slot->kind == PYWS_STREAM) {
        pyws_stream_abandon((StreamObject *)slot->owner, 1);
    }
    else {
        pyws_acceptor_abandon((AcceptorObject *)slot->owner);
    }
}

/* ---- methods ---- */

static int
acceptor_check(AcceptorObject *a, const char *method)
{
    unsigned long thread =
        a->poller == NULL ? 0 : ((pyws_watcher *)a->poller)->thread;
    if (thread != PyThread_get_thread_ident()) {
        pyws_raise_thread("Acceptor", method, thread);
        return -1;
    }
    return 0;
}

static PyObject *
Acceptor_close(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    AcceptorObject *a = (AcceptorObject *)self;
    if (acceptor_check(a, "close") < 0) {
        return NULL;
    }
    pyws_acceptor_abandon(a);
    Py_RETURN_NONE;
}

static PyObject *
Acceptor_resume(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    AcceptorObject *a = (AcceptorObject *)self;
    if (acceptor_check(a, "resume") < 0 ||
        (a->fd >= 0 && pyws_watch_bits(a->watch, a->slot, WS_POLL_IN) < 0)) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* ---- life ---- */

static PyObject *
Acceptor_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"poller", "fd", "server", NULL};
    PyObject *poller, *server;
    int fd;

    pyws_state *state = pyws_state_of(type);
    if (state == NULL || !PyArg_ParseTupleAndKeywords(
                             args, kwargs, "O!iO:Acceptor", names,
                             state->Poller_type, &poller, &fd, &server)) {
        return NULL;
    }
    AcceptorObject *a = (AcceptorObject *)type->tp_alloc(type, 0);
    if (a == NULL) {
        return NULL;
    }
    a->state = state;
    a->fd = -1;
    a->slot = PYWS_NO_SLOT;
    a->poller = Py_NewRef(poller);
    a->watch = &((pyws_watcher *)poller)->watch;
    a->server = Py_NewRef(server);
    if (pyws_watch_add(a->watch, fd, PYWS_ACCEPTOR, (PyObject *)a, &a->slot) <
        0) {
        Py_DECREF(a);
        return NULL;
    }
    if (pyws_watch_bits(a->watch, a->slot, WS_POLL_IN) < 0) {
        (void)pyws_watch_remove(a->watch, a->slot);
        a->slot = PYWS_NO_SLOT;
        Py_DECREF(a);
        return NULL;
    }
    a->fd = fd;
    return (PyObject *)a;
}

static int
Acceptor_traverse(PyObject *self, visitproc visit, void *arg)
{
    AcceptorObject *a = (AcceptorObject *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(a->poller);
    Py_VISIT(a->server);
    return 0;
}

static int
Acceptor_clear(PyObject *self)
{
    AcceptorObject *a = (AcceptorObject *)self;
    pyws_acceptor_abandon(a);
    Py_CLEAR(a->server);
    Py_CLEAR(a->poller);
    return 0;
}

static void
Acceptor_dealloc(PyObject *self)
{
    AcceptorObject *a = (AcceptorObject *)self;
    PyObject_GC_UnTrack(self);
    if (a->fd >= 0) {
        ws_sock_close(a->fd, 0);
        a->fd = -1;
    }
    Py_CLEAR(a->server);
    Py_CLEAR(a->poller);
    pyws_dealloc_tail(self);
}

/* ---- type ---- */

static PyMethodDef Acceptor_methods[] = {
    {"close", Acceptor_close, METH_NOARGS,
     "close($self, /)\n--\n\nListen no more."},
    {"resume", Acceptor_resume, METH_NOARGS,
     "resume($self, /)\n--\n\nAccept again after _exhausted()."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Acceptor_slots[] = {
    {Py_tp_doc, (void *)"Acceptor(poller, fd, server)\n--\n\n"
                        "A listening socket on a poller; internal."},
    {Py_tp_new, Acceptor_new},
    {Py_tp_dealloc, Acceptor_dealloc},
    {Py_tp_traverse, Acceptor_traverse},
    {Py_tp_clear, Acceptor_clear},
    {Py_tp_methods, Acceptor_methods},
    {0, NULL},
};

static PyType_Spec Acceptor_spec = {
    .name = "picows_c._core.Acceptor",
    .basicsize = sizeof(AcceptorObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = Acceptor_slots,
};

int
pyws_acceptor_add_type(PyObject *module, pyws_state *state)
{
    return pyws_add_type(module, &Acceptor_spec, &state->Acceptor_type);
}

#else

int
pyws_acceptor_add_type(PyObject *module, pyws_state *state)
{
    (void)module;
    (void)state;
    return 0;
}

#endif
