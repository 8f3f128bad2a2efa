#include "tls.h"

#include "tls_layer.h"

struct pyws_tls {
    struct pyws_layer layer;
    /* ended: the filter below has met its end. */
    int ended;
    struct pyws_tls *below;
};

/* ---- life ---- */

struct pyws_tls *
pyws_tls_new(pyws_state *state, PyObject *wrap, PyObject *incoming,
             PyObject *outgoing, struct pyws_tls *below)
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
    t->below = below;
    return t;
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

void
pyws_tls_free(struct pyws_tls *t)
{
    while (t != NULL) {
        struct pyws_tls *below = t->below;
        pyws_layer_close(&t->layer);
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
    }
    return 0;
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
    return pyws_layer_took(&tls_lowest(t)->layer, n);
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

/* What a step did that gave |rc|: more input will not come from an end. */
static enum pyws_tls_result
tls_result(const struct pyws_tls *t, enum pyws_tls_result rc)
{
    return rc == PYWS_TLS_AGAIN && t->ended ? PYWS_TLS_END : rc;
}

enum pyws_tls_result
pyws_tls_handshake(struct pyws_tls *t)
{
    if (tls_pull(t) < 0) {
        return PYWS_TLS_ERROR;
    }
    return tls_result(t, pyws_layer_handshake(&t->layer));
}

enum pyws_tls_result
pyws_tls_ready(struct pyws_tls *t)
{
    int has = tls_pull(t) < 0 ? -1 : pyws_layer_has_input(&t->layer);
    if (has < 0) {
        return PYWS_TLS_ERROR;
    }
    return has ? PYWS_TLS_DONE : tls_result(t, PYWS_TLS_AGAIN);
}

enum pyws_tls_result
pyws_tls_read(struct pyws_tls *t, PyObject *into, uint8_t *room, size_t len,
              size_t *got)
{
    return tls_result(t, pyws_layer_read_into(&t->layer, into, room, len, got));
}

/* ---- out ---- */

int
pyws_tls_write(struct pyws_tls *t, const uint8_t *p, size_t n)
{
    return pyws_layer_write(&t->layer, p, n);
}

int
pyws_tls_retry(struct pyws_tls *t)
{
    int rc = 0;
    for (; t != NULL && rc == 0; t = t->below) {
        rc = pyws_layer_retry(&t->layer);
    }
    return rc;
}

size_t
pyws_tls_waiting(const struct pyws_tls *t)
{
    size_t n = 0;
    for (; t != NULL; t = t->below) {
        n += t->layer.waiting_len;
    }
    return n;
}

/* Has the filter below encrypt what |t| made. */
static int
tls_pass_down(struct pyws_tls *t)
{
    if (pyws_layer_collect(&t->layer) < 0) {
        return -1;
    }
    size_t n = ws_ring_len(&t->layer.io.out);
    int rc =
        pyws_layer_write(&t->below->layer, ws_ring_peek(&t->layer.io.out), n);
    ws_ring_consume(&t->layer.io.out, n);
    ws_ring_settle(&t->layer.io.out);
    return rc;
}

int
pyws_tls_end(struct pyws_tls *t)
{
    for (; t != NULL; t = t->below) {
        if (pyws_layer_end(&t->layer) < 0 ||
            (t->below != NULL && tls_pass_down(t) < 0)) {
            return -1;
        }
    }
    return 0;
}

int
pyws_tls_take(struct pyws_tls *t, const uint8_t **p, size_t *n)
{
    for (; t->below != NULL; t = t->below) {
        if (tls_pass_down(t) < 0) {
            return -1;
        }
    }
    if (pyws_layer_collect(&t->layer) < 0) {
        return -1;
    }
    *p = ws_ring_peek(&t->layer.io.out);
    *n = ws_ring_len(&t->layer.io.out);
    ws_ring_consume(&t->layer.io.out, *n);
    return 0;
}

void
pyws_tls_taken(struct pyws_tls *t)
{
    ws_ring_settle(&tls_lowest(t)->layer.io.out);
}
