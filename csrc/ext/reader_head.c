/* reader_head.c - the opening handshake's head, and the content behind it. */
#include "head.h"
#include "object.h"
#include "reader.h"
#include "ws_err.h"

/* Puts |arg|, whose reference it takes, behind the |*n| that stand at |args|.
 * Returns whether there is one. */
static int
head_add_arg(PyObject **args, size_t *n, PyObject *arg)
{
    args[*n] = arg;
    *n += arg != NULL;
    return arg != NULL;
}

/* Hands a complete head of |head_len| bytes to the package, which answers it
 * and goes on to frames or not. */
static int
head_complete(WSReaderObject *r, const struct ws_http *h, const uint8_t *head,
              int head_len)
{
    PyObject *result = NULL;

    struct ws_http_span all = {.off = 0, .len = (uint16_t)head_len};
    PyObject *args[7] = {NULL, (PyObject *)r};
    size_t n = 2;
    int made =
        h->is_response
            ? head_add_arg(args, &n, PyLong_FromUnsignedLong(h->status))
            : head_add_arg(args, &n, pyws_head_bytes(head, h->method)) &&
                  head_add_arg(args, &n, pyws_head_bytes(head, h->target));
    made = made && head_add_arg(args, &n, pyws_head_bytes(head, h->version));
    /* A client reads all of its one response; a server what it needs of each
     * of its many requests. */
    made = made &&
           head_add_arg(args, &n,
                        h->is_response ? pyws_head_fields(h, head)
                                       : pyws_head_known(r->state, h, head));
    made = made && head_add_arg(args, &n, pyws_head_bytes(head, all));
    if (made) {
        result = PyObject_VectorcallMethod(
            r->state->str_head_received, args + 1,
            (n - 1) | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    for (size_t i = 2; i < n; i++) {
        Py_DECREF(args[i]);
    }
    return pyws_done(result);
}

/* Ends with the head, which has |len| bytes, or where |err| is not 0 with what
 * came of it.  The reader is done with it before Python runs, which a new
 * object can by itself (the collector): the bytes stay where they are. */
static int
head_end(WSReaderObject *r, size_t len, int err)
{
    struct ws_http *h = r->http;
    struct ws_block *block = ws_ring_block(&r->ring);
    const uint8_t *head = ws_ring_peek(&r->ring);
    int rc;

    ws_block_incref(block);
    r->http = NULL;
    pyws_reader_discard(r);
    ws_ring_consume(&r->ring, len);
    if (err == 0) {
        rc = head_complete(r, h, head, (int)len);
    }
    else {
        rc = pyws_done(PyObject_CallMethod(
            (PyObject *)r, "_head_failed", "Isy#", ws_err_http_status(err),
            ws_err_text(err), (const char *)head, (Py_ssize_t)len));
    }
    PyMem_RawFree(h);
    ws_block_decref(block);
    return rc;
}

/* Hands what has come of a refusal's content to the package. */
static int
head_body(WSReaderObject *r)
{
    size_t len = ws_ring_len(&r->ring);

    if (len == 0) {
        return 0;
    }
    PyObject *data = PyBytes_FromStringAndSize(
        (const char *)ws_ring_peek(&r->ring), (Py_ssize_t)len);
    ws_ring_consume(&r->ring, len);
    if (data == NULL) {
        return -1;
    }
    return pyws_done(
        PyObject_CallMethod((PyObject *)r, "_body_received", "N", data));
}

int
pyws_reader_head(WSReaderObject *r)
{
    if (r->http == NULL) {
        return head_body(r);
    }
    for (;;) {
        int len = ws_http_feed(r->http, ws_ring_peek(&r->ring),
                               ws_ring_len(&r->ring));
        int interim = len > 0 ? ws_http_interim(r->http) : len;
        if (interim < 0) {
            return head_end(r, ws_ring_len(&r->ring), interim);
        }
        if (len == 0) {
            return 0;
        }
        if (interim == 0) {
            return head_end(r, (size_t)len, 0);
        }
        ws_ring_consume(&r->ring, (size_t)len);
    }
}
