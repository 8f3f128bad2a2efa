#include "poller.h"

#include "object.h"

#ifdef WS_POLL_KIND

#  include "acceptor.h"
#  include "clock.h"
#  include "raise.h"
#  include "stream.h"

/* One turn: so many frames of all connections, so many of one before the
 * others have had theirs, and so many bytes.  About a millisecond, so that
 * timers, call_soon and everybody's sockets wait no longer. */
#  define POLLER_FRAMES 640
#  define POLLER_SHARE 128
#  define POLLER_BYTES (1024 * 1024)

/* So often in a row the last active socket is asked before the kernel: more
 * would starve the others behind a peer that never pauses. */
#  define POLLER_HOT 16

/* ---- one turn ---- */

static PollerObject *
poller_of(struct pyws_watch *w)
{
    return (PollerObject *)((char *)w - offsetof(pyws_watcher, watch));
}

/* Input came for somebody who wants the next one fast. */
static void
poller_stay_busy(PollerObject *p, uint32_t busy_us)
{
    int64_t until = ws_clock_us() + busy_us;
    if (until > p->base.watch.busy_until) {
        p->base.watch.busy_until = until;
    }
}

static int
poller_is_busy(PollerObject *p)
{
    struct pyws_watch *w = &p->base.watch;
    if (WS_LIKELY(w->busy_until == 0)) {
        return 0;
    }
    if (w->used == 0 || ws_clock_us() >= w->busy_until) {
        w->busy_until = 0;
    }
    return w->busy_until != 0;
}

/* Serves the owner of one token with |bits|; a stale token does nothing. */
static int
poller_serve(PollerObject *p, uint64_t token, unsigned bits,
             struct pyws_budget *budget, int *got)
{
    struct pyws_slot *slot = pyws_watch_find(&p->base.watch, token);
    if (slot == NULL) {
        return 0;
    }
    if (slot->kind == PYWS_ACCEPTOR) {
        return pyws_acceptor_serve((AcceptorObject *)slot->owner);
    }
    StreamObject *s = (StreamObject *)slot->owner;
    uint32_t busy_us = s->busy_us;
    int share = budget->frames < POLLER_SHARE ? budget->frames : POLLER_SHARE;
    int had = 0;
    budget->share = share;
    int rc = pyws_stream_serve(s, bits, budget, &had);
    budget->frames -= share - budget->share;
    if (had) {
        *got = 1;
        if (WS_UNLIKELY(busy_us > 0)) {
            poller_stay_busy(p, busy_us);
        }
    }
    return rc;
}

static int
poller_has_budget(const struct pyws_budget *budget)
{
    return budget->frames > 0 && budget->bytes > 0;
}

/* Puts the tokens [from, to) of those who were to be served back, before those
 * who were served meanwhile and wait again: behind them the same ones would
 * wait each time. */
static void
poller_put_back(PollerObject *p, uint32_t from, uint32_t to)
{
    struct pyws_watch *w = &p->base.watch;
    uint64_t *rest = w->serving + from;
    uint32_t n = to - from, kept = 0;

    for (uint32_t i = 0; i < n; i++) {
        if (pyws_watch_find(w, rest[i]) != NULL) {
            rest[kept++] = rest[i];
        }
    }
    /* Each living slot waits at most once: without stale ones all fit. */
    pyws_watch_compact(w);
    memmove(w->pending + kept, w->pending, w->pending_len * sizeof(*rest));
    memcpy(w->pending, rest, kept * sizeof(*rest));
    w->pending_len += kept;
}

/* Serves everybody with unread input once, in the order in which they came to
 * wait. */
static int
poller_serve_pending(PollerObject *p, struct pyws_budget *budget)
{
    struct pyws_watch *w = &p->base.watch;
    uint32_t count = w->pending_len, i;
    int rc = 0, got = 0;
    uint64_t *list = w->pending;

    w->pending = w->serving;
    w->serving = list;
    w->pending_len = 0;
    for (i = 0; rc == 0 && i < count && poller_has_budget(budget); i++) {
        /* (The table, and this list with it, may grow meanwhile.) */
        uint64_t token = w->serving[i];
        struct pyws_slot *slot = pyws_watch_find(w, token);
        if (slot != NULL && slot->pends) {
            slot->pends = 0;
            rc = poller_serve(p, token, 0, budget, &got);
        }
    }
    if (i < count) {
        poller_put_back(p, i, count);
    }
    return rc;
}

/* Who is always the one that had input moves into the loop: the system looks
 * through one kernel object for it, not through two.  (Busy polling asks ours,
 * and does not wait.) */
static int
poller_settle(PollerObject *p)
{
    struct pyws_watch *w = &p->base.watch;
    struct pyws_slot *slot = pyws_watch_find(w, w->hot);

    if (!WS_POLL_QUIET || p->indirect || slot == NULL ||
        slot->kind != PYWS_STREAM ||
        ((StreamObject *)slot->owner)->busy_us > 0) {
        return 0;
    }
    if (pyws_watch_direct(w, w->hot) < 0) {
        /* Whoever had no memory for it may have some the next time. */
        p->indirect = !PyErr_ExceptionMatches(PyExc_MemoryError);
        if (!PyErr_ExceptionMatches(PyExc_Exception)) {
            return -1;
        }
        PyErr_Clear();
    }
    return 0;
}

/* The last active socket first: in ping-pong that saves asking the kernel who
 * it was.  1 where it had input. */
static int
poller_serve_hot(PollerObject *p, struct pyws_budget *budget)
{
    struct pyws_watch *w = &p->base.watch;
    int got = 0;

    if (w->hot_left <= 0) {
        return 0;
    }
    w->hot_left--;
    if (poller_serve(p, w->hot, WS_POLL_IN, budget, &got) < 0) {
        return -1;
    }
    if (!got) {
        w->hot_left = 0;
    }
    else if (w->hot_left == 0 && poller_settle(p) < 0) {
        return -1;
    }
    return got;
}

/* Drops the waker's event: it has done its work.  Returns how many are left. */
static int
poller_skip_waker(struct ws_poll_event *events, int n)
{
    for (int i = 0; i < n; i++) {
        if (events[i].token == WS_POLL_WAKER) {
            memmove(events + i, events + i + 1,
                    (size_t)(n - i - 1) * sizeof(*events));
            return n - 1;
        }
    }
    return n;
}

/* Where connections are many each one's memory has left the caches when its
 * turn comes: it is asked for while those before it are served. First the slot,
 * then the stream that it names, then that one's reader. */
#  define POLLER_AHEAD 2

static void
poller_prefetch(struct pyws_watch *w, const struct ws_poll_event *events, int n,
                int i)
{
    const struct pyws_slot *slot;

    if (i + 3 * POLLER_AHEAD < n) {
        uint32_t number = (uint32_t)events[i + 3 * POLLER_AHEAD].token;
        WS_PREFETCH(w->slots + (number < w->cap ? number : 0));
    }
    if (i + 2 * POLLER_AHEAD < n) {
        slot = pyws_watch_find(w, events[i + 2 * POLLER_AHEAD].token);
        if (slot != NULL) {
            WS_PREFETCH(slot->owner);
            WS_PREFETCH((const char *)slot->owner + 64);
            WS_PREFETCH((const char *)slot->owner + 128);
        }
    }
    if (i + POLLER_AHEAD < n) {
        slot = pyws_watch_find(w, events[i + POLLER_AHEAD].token);
        if (slot != NULL && slot->kind == PYWS_STREAM) {
            const char *reader =
                (const char *)((StreamObject *)slot->owner)->reader;
            if (reader != NULL) {
                WS_PREFETCH(reader);
                WS_PREFETCH(reader + 64);
                WS_PREFETCH(reader + 128);
                WS_PREFETCH(reader + 192);
            }
        }
    }
}

static int
poller_serve_events(PollerObject *p, struct pyws_budget *budget)
{
    struct pyws_watch *w = &p->base.watch;
    struct ws_poll_event events[WS_POLL_BATCH];
    int got = 0, rc = 0, i;

    int n = ws_poll_wait(w->poll, events, WS_POLL_BATCH);
    if (n < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    if (p->awake) {
        n = poller_skip_waker(events, n);
    }
    for (i = 0; rc == 0 && i < n; i++) {
        /* The budget bounds frames and bytes, not events: each gets its read,
         * and what that brought waits in user space when nothing is left. A
         * batch is never left early: the same ones would starve each time. */
        if (w->poll < 0) {
            break;
        }
        poller_prefetch(w, events, n, i);
        /* More than input: from here on it is watched as the others are. */
        if (WS_UNLIKELY(events[i].token == w->direct) &&
            pyws_watch_indirect(w) < 0) {
            PyErr_Clear(); /* its next event comes from the loop */
        }
        rc = poller_serve(p, events[i].token, events[i].bits, budget, &got);
    }
    if (rc < 0) {
        /* KeyboardInterrupt and the like: levels are reported again. */
        for (; i < n; i++) {
            pyws_watch_rearm(w, events[i].token);
        }
    }
    w->hot_left = 0;
    if (rc == 0 && n == 1 && got) {
        w->hot = events[0].token;
        w->hot_left = pyws_watch_find(w, w->hot) != NULL ? POLLER_HOT : 0;
    }
    return rc;
}

/* In a forked child the kernel object and the connections are the parent's. */
static void
poller_abandon(PollerObject *p, int shut)
{
    struct pyws_watch *w = &p->base.watch;
    int poll = w->poll;

    w->poll = -1; /* from here on nothing is taken out of the kernel object */
    for (uint32_t i = 0; i < w->cap; i++) {
        if (w->slots[i].kind == PYWS_STREAM) {
            pyws_stream_abandon((StreamObject *)w->slots[i].owner, shut);
        }
        else if (w->slots[i].kind == PYWS_ACCEPTOR) {
            pyws_acceptor_abandon((AcceptorObject *)w->slots[i].owner);
        }
    }
    if (poll >= 0) {
        ws_poll_close(poll, w->waker);
    }
}

/* Has the loop come back without an event, or not any more.  The kernel object
 * is readable for as long as that: the loop allocates nothing for it, and does
 * its other work once in between. */
static int
poller_set_awake(PollerObject *p, int awake)
{
    struct pyws_watch *w = &p->base.watch;

    if (p->awake == awake || w->poll < 0) {
        return 0;
    }
    if (ws_poll_wake(w->poll, w->waker, awake) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    p->awake = (uint8_t)awake;
    return 0;
}

/* Serves whoever is ready. */
static int
poller_serve_all(PollerObject *p, struct pyws_budget *budget)
{
    struct pyws_watch *w = &p->base.watch;
    int rc = w->pending_len == 0 ? poller_serve_hot(p, budget) : 0;

    if (rc != 0) {
        return rc;
    }
    rc = poller_serve_pending(p, budget);
    if (rc == 0 && w->poll >= 0) {
        rc = poller_serve_events(p, budget);
    }
    /* What is left of the budget goes round among those who still wait. */
    while (rc == 0 && w->pending_len > 0 && poller_has_budget(budget)) {
        rc = poller_serve_pending(p, budget);
    }
    return rc;
}

/* Serves the socket whose input the loop has seen by itself.  Nobody else is
 * always the one then. */
static int
poller_serve_direct(PollerObject *p, struct pyws_budget *budget)
{
    int got = 0;
    p->base.watch.hot_left = 0;
    return poller_serve(p, p->base.watch.direct, WS_POLL_IN, budget, &got);
}

static int
poller_turn(PollerObject *p,
            int (*serve)(PollerObject *p, struct pyws_budget *budget))
{
    struct pyws_budget budget = {POLLER_FRAMES, POLLER_SHARE, POLLER_BYTES};

    if (p->turning || p->base.watch.poll < 0) {
        return 0;
    }
    Py_INCREF(p);
    p->turning = 1;
    p->turns++;
    int rc = serve(p, &budget);
    p->turning = 0;
    PyObject *raised = rc < 0 ? pyws_take_raised() : NULL;
    /* Busy polling goes through the loop, too: its timers and what else is
     * ready have their turn, and a task that answers runs. */
    if (poller_set_awake(
            p, p->base.watch.pending_len > 0 || poller_is_busy(p)) < 0) {
        if (raised != NULL) {
            PyErr_WriteUnraisable((PyObject *)p);
        }
        else {
            rc = -1;
        }
    }
    pyws_raise_again(raised);
    Py_DECREF(p);
    return rc < 0 ? -1 : 0;
}

/* ---- the table's calls ---- */

static int
poller_call(struct pyws_watch *w, const char *method)
{
    PyObject *result =
        PyObject_CallMethod((PyObject *)poller_of(w), method, NULL);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int
poller_wake(struct pyws_watch *w)
{
    PollerObject *p = poller_of(w);
    /* A turn looks at its end. */
    return p->turning ? 0 : poller_set_awake(p, 1);
}

static int
poller_join(struct pyws_watch *w, int fd)
{
    PyObject *result =
        PyObject_CallMethod((PyObject *)poller_of(w), "_join", "i", fd);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static void
poller_leave(struct pyws_watch *w, int fd)
{
    PollerObject *p = poller_of(w);
    PyObject *raised = pyws_take_raised();
    PyObject *result = PyObject_CallMethod((PyObject *)p, "_leave", "i", fd);
    if (result == NULL) {
        /* No memory: once more, since a loop that goes on believing that it
         * watches the number is wrong about its next owner. */
        PyErr_Clear();
        result = PyObject_CallMethod((PyObject *)p, "_leave", "i", fd);
    }
    if (result == NULL) {
        p->indirect = 1;
        PyErr_WriteUnraisable((PyObject *)p);
    }
    Py_XDECREF(result);
    pyws_raise_again(raised);
}

static int
poller_first(struct pyws_watch *w)
{
    return poller_call(w, "_first");
}

static void
poller_last(struct pyws_watch *w)
{
    if (w->poll >= 0) {
        PyObject *raised = pyws_take_raised();
        if (poller_call(w, "_last") < 0) {
            PyErr_WriteUnraisable((PyObject *)poller_of(w));
        }
        pyws_raise_again(raised);
    }
}

/* ---- methods ---- */

/* The loop calls: whichever thread runs it is ours from now on, as it is for
 * the loop. */
static void
poller_enter(PollerObject *p)
{
    p->base.thread = PyThread_get_thread_ident();
    if (p->generation != p->state->fork_generation && p->base.watch.poll >= 0) {
        poller_abandon(p, 0);
    }
}

static PyObject *
Poller_turn(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PollerObject *p = (PollerObject *)self;
    poller_enter(p);
    if (poller_turn(p, poller_serve_all) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Poller_turn_direct(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    PollerObject *p = (PollerObject *)self;
    poller_enter(p);
    if (poller_turn(p, poller_serve_direct) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
Poller_forked(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    poller_abandon((PollerObject *)self, 0);
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
    p->base.watch.wake = poller_wake;
    p->base.watch.first = poller_first;
    p->base.watch.last = poller_last;
    p->base.watch.join = poller_join;
    p->base.watch.leave = poller_leave;
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
    poller_abandon(p, p->generation == p->state->fork_generation);
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
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot Poller_slots[] = {
    {Py_tp_doc,
     (void *)"All sockets of a loop behind one descriptor; internal. The "
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
    poller_enter(p);
    if (poller_turn(p, poller_serve_all) < 0) {
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
            poller_abandon(p, p->generation == p->state->fork_generation);
            pyws_raise_again(raised);
        }
        Py_DECREF(p);
    }
    pyws_dealloc_tail(self);
}

static PyType_Slot PollerHandle_slots[] = {
    {Py_tp_doc,
     (void *)"What the loop holds of a Poller: called when it is ready; "
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
