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
    w->slots = NULL;
    w->pending = NULL;
    w->cap = w->pending_len = 0;
    w->free = PYWS_NO_SLOT;
}

/* The place of the queue's |i|th token; |cap| is a power of two. */
static uint64_t *
watch_pending(struct pyws_watch *w, uint32_t i)
{
    return &w->pending[(w->pending_at + i) & (w->cap - 1)];
}

/* Makes room for another slot. */
static int
watch_grow(struct pyws_watch *w)
{
    uint32_t cap = w->cap == 0 ? 16 : w->cap * 2;
    uint64_t *pending = NULL;
    struct pyws_slot *slots = NULL;

    if (cap <= PYWS_NO_SLOT / 2) {
        pending = PyMem_RawMalloc(cap * sizeof(*pending));
    }
    if (pending != NULL) {
        slots = PyMem_RawRealloc(w->slots, cap * sizeof(*slots));
    }
    if (slots == NULL) {
        PyMem_RawFree(pending);
        PyErr_NoMemory();
        return -1;
    }
    for (uint32_t i = 0; i < w->pending_len; i++) {
        pending[i] = *watch_pending(w, i);
    }
    PyMem_RawFree(w->pending);
    w->pending = pending;
    w->pending_at = 0;
    w->slots = slots;
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
    /* The loop begins to watch the kernel object while it is still empty.  That
     * is Python's: it can add others, and end it all. */
    if (w->poll >= 0 && w->used == 0 && w->first(w) < 0) {
        return -1;
    }
    if (w->poll < 0) {
        PyErr_SetString(PyExc_RuntimeError, "the poller is closed");
        return -1;
    }
    if (w->free == PYWS_NO_SLOT && watch_grow(w) < 0) {
        return -1;
    }
    uint32_t i = w->free;
    struct pyws_slot *s = &w->slots[i];
    w->free = s->next;
    w->used++;
    s->owner = Py_NewRef(owner);
    s->fd = fd;
    s->kind = (uint8_t)kind;
    s->bits = s->watched = s->pends = s->carried = 0;
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
    if (token == w->direct || w->joining) {
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
    if (w->joining) {
        return 0; /* the loop has it behind this call: the next turn asks */
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
    s->bits = s->watched = s->pends = s->carried = 0;
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

/* Drops the stale tokens from the queue: each living slot stands there once. */
static void
watch_compact(struct pyws_watch *w)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->pending_len; i++) {
        uint64_t token = *watch_pending(w, i);
        if (pyws_watch_find(w, token) != NULL) {
            *watch_pending(w, kept++) = token;
        }
    }
    w->pending_len = kept;
}

static void
watch_queue(struct pyws_watch *w, uint32_t slot)
{
    if (w->slots[slot].pends) {
        return;
    }
    w->slots[slot].pends = 1;
    if (w->pending_len == w->cap) {
        watch_compact(w);
    }
    *watch_pending(w, w->pending_len++) = pyws_watch_token(w, slot);
}

int
pyws_watch_pend(struct pyws_watch *w, uint32_t slot)
{
    watch_queue(w, slot);
    return w->poll < 0 ? 0 : w->wake(w);
}

void
pyws_watch_carry(struct pyws_watch *w, uint64_t token, unsigned bits)
{
    struct pyws_slot *s = pyws_watch_find(w, token);
    if (s != NULL) {
        s->carried |= (uint8_t)bits;
        watch_queue(w, (uint32_t)token);
    }
}

int
pyws_watch_next(struct pyws_watch *w, uint64_t *token, unsigned *bits)
{
    while (w->pending_len > 0) {
        *token = *watch_pending(w, 0);
        w->pending_at = (w->pending_at + 1) & (w->cap - 1);
        w->pending_len--;
        struct pyws_slot *s = pyws_watch_find(w, *token);
        if (s != NULL) {
            *bits = s->carried;
            s->pends = s->carried = 0;
            return 1;
        }
    }
    return 0;
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

struct pyws_slot *
pyws_watch_find_fd(struct pyws_watch *w, int fd)
{
    for (uint32_t i = 0; i < w->cap; i++) {
        if (w->slots[i].kind != PYWS_FREE && w->slots[i].fd == fd) {
            return &w->slots[i];
        }
    }
    return NULL;
}

#else
typedef int pyws_watch_is_empty;
#endif
