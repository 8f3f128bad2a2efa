#include "watch.h"

#ifdef WS_POLL_KIND

#  include "raise.h"
#  include "sockio.h"

void
pyws_watch_init(struct pyws_watch *w)
{
    memset(w, 0, sizeof(*w));
    w->poll = ws_poll_open(&w->waker);
    w->free = PYWS_NO_SLOT;
    w->direct_fd = -1;
}

void
pyws_watch_free(struct pyws_watch *w)
{
    PyMem_RawFree(w->slots);
    PyMem_RawFree(w->pending);
    PyMem_RawFree(w->serving);
    w->slots = NULL;
    w->pending = w->serving = NULL;
    w->cap = w->pending_len = 0;
    w->free = PYWS_NO_SLOT;
}

/* Makes room for another slot. */
static int
watch_grow(struct pyws_watch *w)
{
    uint32_t cap = w->cap == 0 ? 16 : w->cap * 2;
    struct pyws_slot *slots;
    uint64_t **lists[] = {&w->pending, &w->serving};

    if (cap > PYWS_NO_SLOT / 2) {
        PyErr_NoMemory();
        return -1;
    }
    slots = PyMem_RawRealloc(w->slots, cap * sizeof(*slots));
    if (slots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    w->slots = slots;
    for (size_t i = 0; i < 2; i++) {
        uint64_t *list = PyMem_RawRealloc(*lists[i], cap * sizeof(*list));
        if (list == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        *lists[i] = list;
    }
    for (uint32_t i = w->cap; i < cap; i++) {
        slots[i] =
            (struct pyws_slot){.fd = -1, .generation = 1, .next = w->free};
        w->free = i;
    }
    w->cap = cap;
    return 0;
}

int
pyws_watch_add(struct pyws_watch *w, int fd, enum pyws_kind kind,
               PyObject *owner, uint32_t *slot)
{
    if (w->poll < 0) {
        PyErr_SetString(PyExc_RuntimeError, "the poller is closed");
        return -1;
    }
    if (w->free == PYWS_NO_SLOT && watch_grow(w) < 0) {
        return -1;
    }
    /* The loop begins to watch the kernel object while it is still empty. */
    if (w->used == 0 && w->first(w) < 0) {
        return -1;
    }
    uint32_t i = w->free;
    struct pyws_slot *s = &w->slots[i];
    w->free = s->next;
    w->used++;
    s->owner = Py_NewRef(owner);
    s->fd = fd;
    s->kind = (uint8_t)kind;
    s->bits = s->watched = s->pends = 0;
    *slot = i;
    return 0;
}

/* Watches the slot for |bits| instead. */
static int
watch_change(struct pyws_watch *w, struct pyws_slot *s, unsigned bits,
             uint64_t token)
{
    if (ws_poll_change(w->poll, s->fd, s->bits, bits, token) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    s->bits = (uint8_t)bits;
    return 0;
}

int
pyws_watch_direct(struct pyws_watch *w, uint64_t token)
{
    if (token == w->direct) {
        return 0;
    }
    if (pyws_watch_take_back(w) < 0) {
        return -1;
    }
    /* (Where the poller is gone so are its owners.) */
    struct pyws_slot *s = pyws_watch_find(w, token);
    if (s == NULL || s->bits != WS_POLL_IN) {
        return 0;
    }
    w->direct = token;
    w->direct_fd = s->fd;
    w->joining = 1;
    int rc = w->join(w, s->fd);
    w->joining = 0;
    s = pyws_watch_find(w, token);
    if (rc == 0 && s != NULL && w->direct == token) {
        rc = watch_change(w, s, WS_POLL_HUP, token);
        if (rc == 0) {
            return 0;
        }
    }
    /* Whatever the loop has of it now is taken back in the next turn. */
    w->direct = 0;
    return rc;
}

int
pyws_watch_take_back(struct pyws_watch *w)
{
    int fd = w->direct_fd;

    if (w->direct != 0) {
        /* First the one, then the other: no input is missed by both. */
        if (watch_change(w, &w->slots[(uint32_t)w->direct], WS_POLL_IN,
                         w->direct) < 0) {
            return -1;
        }
        w->direct = 0;
    }
    if (fd >= 0 && w->leave(w, fd) < 0) {
        return -1;
    }
    /* (It may have been taken back from inside that call.) */
    if (w->direct_fd == fd) {
        pyws_watch_drop_direct(w);
    }
    return 0;
}

void
pyws_watch_drop_direct(struct pyws_watch *w)
{
    w->direct = 0;
    if (w->direct_ended) {
        ws_sock_close(w->direct_fd, 0);
    }
    w->direct_ended = 0;
    w->direct_fd = -1;
}

int
pyws_watch_bits(struct pyws_watch *w, uint32_t slot, unsigned bits)
{
    struct pyws_slot *s = &w->slots[slot];
    uint64_t token = pyws_watch_token(w, slot);

    if (WS_UNLIKELY(token == w->direct)) {
        if (bits == WS_POLL_IN) {
            return 0;
        }
        /* Nothing of Python is called here: the next turn tells the loop. */
        w->direct = 0;
    }
    if (w->poll < 0 || (s->watched && s->bits == bits)) {
        return 0;
    }
    if (s->watched) {
        return watch_change(w, s, bits, token);
    }
    if (ws_poll_add(w->poll, s->fd, bits, token) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    s->bits = (uint8_t)bits;
    s->watched = 1;
    return 0;
}

void
pyws_watch_rearm(struct pyws_watch *w, uint64_t token)
{
    struct pyws_slot *s = pyws_watch_find(w, token);
    if (s != NULL && w->poll >= 0 && (s->bits & WS_POLL_HUP)) {
        /* From nothing to |bits|: an edge counts from here. */
        (void)ws_poll_change(w->poll, s->fd, 0, s->bits, token);
    }
}

/* The loop has a reader for the descriptor, which its owner is about to close.
 * 1 where it could not be taken back. */
static int
watch_end_direct(struct pyws_watch *w)
{
    w->direct = 0;
    if (w->poll >= 0) {
        PyObject *raised = pyws_take_raised();
        int rc = w->joining ? -1 : w->leave(w, w->direct_fd);
        if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_Exception)) {
            PyErr_Clear(); /* no memory: it is tried again */
        }
        else if (PyErr_Occurred()) {
            PyErr_WriteUnraisable(NULL);
        }
        pyws_raise_again(raised);
        if (rc < 0) {
            w->direct_ended = 1;
            return 1;
        }
    }
    pyws_watch_drop_direct(w);
    return 0;
}

int
pyws_watch_remove(struct pyws_watch *w, uint32_t slot)
{
    struct pyws_slot *s = &w->slots[slot];
    PyObject *owner = s->owner;
    int keeps = s->fd == w->direct_fd ? watch_end_direct(w) : 0;

    s = &w->slots[slot];
    if (w->poll >= 0 && s->watched) {
        ws_poll_remove(w->poll, s->fd, s->bits);
    }
    if (w->hot == pyws_watch_token(w, slot)) {
        w->hot_left = 0;
    }
    s->owner = NULL;
    s->kind = PYWS_FREE;
    s->fd = -1;
    s->bits = s->watched = s->pends = 0;
    /* (0 is nobody's token.) */
    s->generation += s->generation == UINT32_MAX ? 2 : 1;
    s->next = w->free;
    w->free = slot;
    w->used--;
    if (w->used == 0) {
        w->last(w);
    }
    Py_DECREF(owner);
    return keeps;
}

void
pyws_watch_compact(struct pyws_watch *w)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->pending_len; i++) {
        if (pyws_watch_find(w, w->pending[i]) != NULL) {
            w->pending[kept++] = w->pending[i];
        }
    }
    w->pending_len = kept;
}

int
pyws_watch_pend(struct pyws_watch *w, uint32_t slot)
{
    struct pyws_slot *s = &w->slots[slot];

    if (s->pends) {
        return 0;
    }
    s->pends = 1;
    if (w->pending_len == w->cap) {
        pyws_watch_compact(w); /* stale tokens fill the list */
    }
    w->pending[w->pending_len++] = pyws_watch_token(w, slot);
    return w->wake(w);
}

struct pyws_slot *
pyws_watch_find(struct pyws_watch *w, uint64_t token)
{
    uint32_t slot = (uint32_t)token;
    if (slot >= w->cap || w->slots[slot].kind == PYWS_FREE ||
        w->slots[slot].generation != (uint32_t)(token >> 32)) {
        return NULL;
    }
    return &w->slots[slot];
}

#else
typedef int pyws_watch_is_empty;
#endif
