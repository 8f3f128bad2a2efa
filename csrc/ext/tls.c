#include "tls.h"

#include "tls_layer.h"

struct pyws_tls {
    struct pyws_layer layer;
    /* ended: the filter below has met its end. */
    uint8_t ended;
    /* busy: a call is on the stack; is_free: it frees the filter. */
    uint8_t busy, is_free;
    /* deferred is a list of bytes that were written from inside of a call, or
     * NULL; deferred_len is how many they are. */
    PyObject *deferred;
    size_t deferred_len;
    struct pyws_tls *below;
};

/* ---- life ---- */

struct pyws_tls *
pyws_tls_new(pyws_state *state, PyObject *wrap, PyObject *incoming,
             PyObject *outgoing)
{
    struct pyws_tls *t = PyMem_RawCalloc(1, sizeof(*t));
    if (t == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    if (pyws_layer_open(&t->layer, state, wrap, incoming, outgoing) < 0) {
        PyMem_RawFree(t);
        return NULL;
    }
    return t;
}

void
pyws_tls_put(struct pyws_tls *t, struct pyws_tls *below)
{
    WS_ASSERT(t->below == NULL && (below == NULL || !below->busy));
    t->below = below;
}

PyObject *
pyws_tls_object(const struct pyws_tls *t)
{
    return t->layer.sslobj;
}

int
pyws_tls_is_direct(const struct pyws_tls *t)
{
    return t->layer.ssl != NULL;
}

int
pyws_tls_is_busy(const struct pyws_tls *t)
{
    return t->busy;
}

void
pyws_tls_free(struct pyws_tls *t)
{
    if (t != NULL && t->busy) {
        t->is_free = 1;
        return;
    }
    while (t != NULL) {
        struct pyws_tls *below = t->below;
        pyws_layer_close(&t->layer);
        Py_XDECREF(t->deferred);
        PyMem_RawFree(t);
        t = below;
    }
}

int
pyws_tls_traverse(struct pyws_tls *t, visitproc visit, void *arg)
{
    for (; t != NULL; t = t->below) {
        int rc = pyws_layer_traverse(&t->layer, visit, arg);
        if (rc != 0) {
            return rc;
        }
        Py_VISIT(t->deferred);
    }
    return 0;
}

/* Begins a call that can run anything. */
static void
tls_enter(struct pyws_tls *t)
{
    WS_ASSERT(!t->busy);
    t->busy = 1;
}

/* Ends it, and the filter where it was let go of meanwhile: 0, or -1 with an
 * exception set. */
static int
tls_exit(struct pyws_tls *t)
{
    t->busy = 0;
    if (WS_LIKELY(!t->is_free)) {
        return 0;
    }
    PyObject *raised = pyws_take_raised();
    pyws_tls_free(t);
    if (raised == NULL) {
        pyws_ssl_raise_ended();
    }
    pyws_raise_again(raised);
    return -1;
}

/* ---- in ---- */

static struct pyws_tls *
tls_lowest(struct pyws_tls *t)
{
    while (t->below != NULL) {
        t = t->below;
    }
    return t;
}

int
pyws_tls_room(struct pyws_tls *t, uint8_t **room, size_t *len)
{
    return pyws_layer_room(&tls_lowest(t)->layer, room, len);
}

int
pyws_tls_took(struct pyws_tls *t, size_t n)
{
    tls_enter(t);
    int rc = pyws_layer_took(&tls_lowest(t)->layer, n);
    return tls_exit(t) < 0 ? -1 : rc;
}

void
pyws_tls_leave(struct pyws_tls *t)
{
    pyws_layer_leave(&tls_lowest(t)->layer);
}

/* Moves what the filter below can decrypt into |t|'s input.  0 or -1. */
static int
tls_pull(struct pyws_tls *t)
{
    struct pyws_tls *below = t->below;
    uint8_t *room;
    size_t len, n = 0;

    while (below != NULL) {
        int has =
            tls_pull(below) < 0 ? -1 : pyws_layer_has_input(&below->layer);
        if (has <= 0) {
            t->ended |= below->ended;
            return has;
        }
        if (pyws_layer_room(&t->layer, &room, &len) < 0) {
            return -1;
        }
        enum pyws_tls_result rc = pyws_layer_read(&below->layer, room, len, &n);
        if (rc != PYWS_TLS_DONE) {
            pyws_layer_leave(&t->layer);
            t->ended |= rc == PYWS_TLS_END || below->ended;
            return rc == PYWS_TLS_ERROR ? -1 : 0;
        }
        if (pyws_layer_took(&t->layer, n) < 0) {
            return -1;
        }
    }
    return 0;
}

/* Ends a step that gave |rc|: more input will not come from an end. */
static enum pyws_tls_result
tls_exit_step(struct pyws_tls *t, enum pyws_tls_result rc)
{
    if (rc == PYWS_TLS_AGAIN && t->ended) {
        rc = PYWS_TLS_END;
    }
    return tls_exit(t) < 0 ? PYWS_TLS_ERROR : rc;
}

enum pyws_tls_result
pyws_tls_handshake(struct pyws_tls *t)
{
    tls_enter(t);
    return tls_exit_step(
        t, tls_pull(t) < 0 ? PYWS_TLS_ERROR : pyws_layer_handshake(&t->layer));
}

enum pyws_tls_result
pyws_tls_ready(struct pyws_tls *t)
{
    tls_enter(t);
    int has = tls_pull(t) < 0 ? -1 : pyws_layer_has_input(&t->layer);
    return tls_exit_step(t, has < 0   ? PYWS_TLS_ERROR
                            : has > 0 ? PYWS_TLS_DONE
                                      : PYWS_TLS_AGAIN);
}

enum pyws_tls_result
pyws_tls_read(struct pyws_tls *t, PyObject *into, uint8_t *room, size_t len,
              size_t *got)
{
    tls_enter(t);
    return tls_exit_step(t,
                         pyws_layer_read_into(&t->layer, into, room, len, got));
}

/* ---- out ---- */

int
pyws_tls_write(struct pyws_tls *t, const uint8_t *p, size_t n)
{
    tls_enter(t);
    int rc = pyws_layer_write(&t->layer, p, n);
    return tls_exit(t) < 0 ? -1 : rc;
}

int
pyws_tls_defer(struct pyws_tls *t, PyObject *bytes)
{
    if (t->deferred == NULL && (t->deferred = PyList_New(0)) == NULL) {
        return -1;
    }
    if (PyList_Append(t->deferred, bytes) < 0) {
        return -1;
    }
    t->deferred_len += (size_t)PyBytes_GET_SIZE(bytes);
    return 0;
}

/* Writes what was deferred, behind what waits.  What is deferred meanwhile
 * comes the next time: whoever writes for each write must not keep us here. */
static int
tls_write_deferred(struct pyws_tls *t)
{
    PyObject *list = t->deferred;
    int rc = 0;

    if (WS_LIKELY(list == NULL)) {
        return 0;
    }
    t->deferred = NULL;
    t->deferred_len = 0;
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(list); i++) {
        PyObject *bytes = PyList_GET_ITEM(list, i);
        rc = pyws_layer_write(&t->layer,
                              (const uint8_t *)PyBytes_AS_STRING(bytes),
                              (size_t)PyBytes_GET_SIZE(bytes));
    }
    Py_DECREF(list);
    return rc;
}

int
pyws_tls_retry(struct pyws_tls *t)
{
    int rc = 0;

    if (WS_LIKELY(pyws_tls_waiting(t) == 0)) {
        return 0;
    }
    tls_enter(t);
    for (struct pyws_tls *l = t; l != NULL && rc == 0; l = l->below) {
        rc = pyws_layer_retry(&l->layer);
    }
    if (rc == 0) {
        rc = tls_write_deferred(t);
    }
    return tls_exit(t) < 0 ? -1 : rc;
}

size_t
pyws_tls_waiting(const struct pyws_tls *t)
{
    size_t n = 0;
    for (; t != NULL; t = t->below) {
        n += t->layer.waiting_len + t->deferred_len;
    }
    return n;
}

/* Has the filter below encrypt what |t| made. */
static int
tls_pass_down(struct pyws_tls *t)
{
    struct ws_ring *out = &t->layer.io.out;

    if (pyws_layer_collect(&t->layer) < 0) {
        return -1;
    }
    size_t n = ws_ring_len(out);
    if (n == 0) {
        return 0;
    }
    /* Whoever has |t|'s SSLObject can write to it from inside of the call: the
     * bytes stay where they are, and what is added comes behind them. */
    struct ws_block *block = ws_ring_block(out);
    const uint8_t *p = ws_ring_peek(out);
    ws_block_incref(block);
    ws_ring_consume(out, n);
    int rc = pyws_layer_write(&t->below->layer, p, n);
    ws_block_decref(block);
    ws_ring_settle(out);
    return rc;
}

int
pyws_tls_end(struct pyws_tls *t)
{
    int rc = 0;

    tls_enter(t);
    for (struct pyws_tls *l = t; l != NULL && rc == 0; l = l->below) {
        rc = pyws_layer_end(&l->layer);
        if (rc == 0 && l->below != NULL) {
            rc = tls_pass_down(l);
        }
    }
    return tls_exit(t) < 0 ? -1 : rc;
}

int
pyws_tls_take(struct pyws_tls *t, const uint8_t **p, size_t *n)
{
    struct pyws_tls *lowest = t;
    int rc = 0;

    tls_enter(t);
    for (; lowest->below != NULL && rc == 0; lowest = lowest->below) {
        rc = tls_pass_down(lowest);
    }
    if (rc == 0) {
        rc = pyws_layer_collect(&lowest->layer);
    }
    if (tls_exit(t) < 0 || rc < 0) {
        return -1;
    }
    struct ws_ring *out = &lowest->layer.io.out;
    *p = ws_ring_peek(out);
    *n = ws_ring_len(out);
    ws_ring_consume(out, *n);
    return 0;
}

void
pyws_tls_taken(struct pyws_tls *t)
{
    ws_ring_settle(&tls_lowest(t)->layer.io.out);
}
