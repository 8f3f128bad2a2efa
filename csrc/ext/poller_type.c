#include "poller.h"

#include "object.h"

#ifdef WS_POLL_KIND

#  include "acceptor.h"
#  include "raise.h"

/* ---- methods ---- */

static PyObject *
Poller_turn(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PollerObject *p = (PollerObject *)self;
    if (pyws_poller_turn(p) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Poller_turn_direct(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PollerObject *p = (PollerObject *)self;
    if (pyws_poller_turn_direct(p) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Poller_forked(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    pyws_poller_abandon((PollerObject *)self, 0);
    Py_RETURN_NONE;
}

static PyObject *
Poller_drop(PyObject *self, PyObject *arg)
{
    long fd = PyLong_AsLong(arg);
    if (fd < 0 || fd > INT_MAX) {
        return PyErr_Occurred() ? NULL
                                : PyErr_Format(PyExc_ValueError,
                                               "not a descriptor: %ld", fd);
    }
    pyws_drop_fd(&((PollerObject *)self)->base.watch, (int)fd);
    Py_RETURN_NONE;
}

static PyObject *
Poller_fileno(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromLong(((PollerObject *)self)->base.watch.poll);
}

static PyObject *
Poller_get_count(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(((PollerObject *)self)->base.watch.used);
}

static PyObject *
Poller_get_direct(PyObject *self, void *Py_UNUSED(closure))
{
    struct pyws_watch *w = &((PollerObject *)self)->base.watch;
    struct pyws_slot *slot = pyws_watch_find(w, w->direct);
    return PyLong_FromLong(slot == NULL ? -1 : slot->fd);
}

static PyObject *
Poller_get_turns(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(((PollerObject *)self)->turns);
}

/* ---- life ---- */

static PyObject *
Poller_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    pyws_state *state = pyws_state_of(type);
    if (state == NULL) {
        return NULL;
    }
    PollerObject *p = (PollerObject *)type->tp_alloc(type, 0);
    if (p == NULL) {
        return NULL;
    }
    p->state = state;
    p->base.thread = PyThread_get_thread_ident();
    p->generation = state->fork_generation;
    pyws_watch_init(&p->base.watch);
    pyws_poller_bind(p);
    if (p->base.watch.poll < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        Py_DECREF(p);
        return NULL;
    }
    return (PyObject *)p;
}

static int
Poller_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct pyws_watch *w = &((PollerObject *)self)->base.watch;
    Py_VISIT(Py_TYPE(self));
    for (uint32_t i = 0; i < w->cap; i++) {
        Py_VISIT(w->slots[i].owner);
    }
    return 0;
}

static int
Poller_clear(PyObject *self)
{
    PollerObject *p = (PollerObject *)self;
    pyws_poller_abandon(p, p->generation == p->state->fork_generation);
    return 0;
}

static void
Poller_dealloc(PyObject *self)
{
    PollerObject *p = (PollerObject *)self;
    PyObject_GC_UnTrack(self);
    if (p->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    (void)Poller_clear(self);
    pyws_watch_free(&p->base.watch);
    pyws_dealloc_tail(self);
}

/* ---- type ---- */

static PyMethodDef Poller_methods[] = {
    {"_turn", Poller_turn, METH_NOARGS,
     "_turn($self, /)\n--\n\nServe every connection that is ready, within the "
     "budget."},
    {"_turn_direct", Poller_turn_direct, METH_NOARGS,
     "_turn_direct($self, /)\n--\n\nServe the connection that the loop watches "
     "itself."},
    {"_forked", Poller_forked, METH_NOARGS,
     "_forked($self, /)\n--\n\nIn a child: close our copies, touch nothing "
     "else."},
    {"_drop", Poller_drop, METH_O,
     "_drop($self, fd, /)\n--\n\nClose a descriptor, together with the stream "
     "or acceptor that has taken it."},
    {"fileno", Poller_fileno, METH_NOARGS,
     "fileno($self, /)\n--\n\nReturn the descriptor that the loop watches, or "
     "-1."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef Poller_getset[] = {
    {"count", Poller_get_count, NULL,
     "int: how many sockets it has, listening ones too.", NULL},
    {"direct", Poller_get_direct, NULL,
     "int: the descriptor that the loop watches itself for input; -1 for none.",
     NULL},
    {"turns", Poller_get_turns, NULL, "int: how often the loop has called.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef Poller_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(PollerObject, weakrefs),
     READONLY, NULL},
    {"_nests", T_BOOL, offsetof(PollerObject, nests), 0,
     "bool: whether a callback may run the loop again."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot Poller_slots[] = {
    {Py_tp_doc,
     (void *)"Poller()\n--\n\n"
             "All sockets of a loop behind one descriptor; internal. The "
             "package's Poller\nderives from it and adds what talks to "
             "the loop."},
    {Py_tp_new, Poller_new},
    {Py_tp_dealloc, Poller_dealloc},
    {Py_tp_traverse, Poller_traverse},
    {Py_tp_clear, Poller_clear},
    {Py_tp_methods, Poller_methods},
    {Py_tp_getset, Poller_getset},
    {Py_tp_members, Poller_members},
    {0, NULL},
};

static PyType_Spec Poller_spec = {
    .name = "picows_c._core.Poller",
    .basicsize = sizeof(PollerObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = Poller_slots,
};

/* ---- the handle ---- */

typedef struct {
    PyObject_HEAD
    PollerObject *poller;
} PollerHandleObject;

static PyObject *
PollerHandle_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *poller;
    (void)kwargs;
    pyws_state *state = pyws_state_of(type);
    if (state == NULL || !PyArg_ParseTuple(args, "O!:PollerHandle",
                                           state->Poller_type, &poller)) {
        return NULL;
    }
    PollerHandleObject *h = (PollerHandleObject *)type->tp_alloc(type, 0);
    if (h != NULL) {
        h->poller = (PollerObject *)Py_NewRef(poller);
    }
    return (PyObject *)h;
}

static PyObject *
PollerHandle_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    PollerObject *p = ((PollerHandleObject *)self)->poller;
    (void)args;
    (void)kwargs;
    if (p == NULL) {
        Py_RETURN_NONE;
    }
    if (pyws_poller_turn(p) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static int
PollerHandle_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((PollerHandleObject *)self)->poller);
    return 0;
}

static int
PollerHandle_clear(PyObject *self)
{
    Py_CLEAR(((PollerHandleObject *)self)->poller);
    return 0;
}

static void
PollerHandle_dealloc(PyObject *self)
{
    PollerHandleObject *h = (PollerHandleObject *)self;
    PyObject_GC_UnTrack(self);
    PollerObject *p = h->poller;
    h->poller = NULL;
    if (p != NULL) {
        if (p->base.watch.used > 0) {
            /* The loop let go of us with live connections: it was closed. */
            PyObject *raised = pyws_take_raised();
            if (PyErr_ResourceWarning(
                    (PyObject *)p, 1,
                    "event loop closed with %u open sockets of "
                    "picows_c",
                    (unsigned)p->base.watch.used) < 0) {
                PyErr_WriteUnraisable((PyObject *)p);
            }
            pyws_poller_abandon(p, p->generation == p->state->fork_generation);
            pyws_raise_again(raised);
        }
        Py_DECREF(p);
    }
    pyws_dealloc_tail(self);
}

static PyType_Slot PollerHandle_slots[] = {
    {Py_tp_doc,
     (void *)"PollerHandle(poller, /)\n--\n\n"
             "What the loop holds of a Poller: called when it is ready; "
             "internal."},
    {Py_tp_new, PollerHandle_new},
    {Py_tp_call, PollerHandle_call},
    {Py_tp_dealloc, PollerHandle_dealloc},
    {Py_tp_traverse, PollerHandle_traverse},
    {Py_tp_clear, PollerHandle_clear},
    {0, NULL},
};

static PyType_Spec PollerHandle_spec = {
    .name = "picows_c._core.PollerHandle",
    .basicsize = sizeof(PollerHandleObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = PollerHandle_slots,
};

int
pyws_poller_add_type(PyObject *module, pyws_state *state)
{
    if (pyws_add_type(module, &Poller_spec, &state->Poller_type) < 0 ||
        pyws_add_type(module, &PollerHandle_spec, &state->PollerHandle_type) <
            0) {
        return -1;
    }
    return PyModule_AddStringConstant(module, "POLLER", WS_POLL_KIND);
}

#else

/* The package derives from these types: they exist everywhere, and cannot be
 * made where there is no poller. */

static PyObject *
absent_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args;
    (void)kwargs;
    return PyErr_Format(PyExc_NotImplementedError,
                        "%s: there is no poller on this system", type->tp_name);
}

static PyType_Slot absent_slots[] = {
    {Py_tp_new, absent_new},
    {0, NULL},
};

int
pyws_poller_add_type(PyObject *module, pyws_state *state)
{
    static const char *const names[] = {
        "picows_c._core.Poller",
        "picows_c._core.PollerHandle",
        "picows_c._core.Stream",
        "picows_c._core.Acceptor",
    };
    PyTypeObject **slots[] = {
        &state->Poller_type,
        &state->PollerHandle_type,
        &state->Stream_type,
        &state->Acceptor_type,
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        PyType_Spec spec = {
            .name = names[i],
            .basicsize = sizeof(PyObject),
            .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
            .slots = absent_slots,
        };
        if (pyws_add_type(module, &spec, slots[i]) < 0) {
            return -1;
        }
    }
    return PyModule_AddObjectRef(module, "POLLER", Py_None);
}

#endif
