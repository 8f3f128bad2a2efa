#include "head.h"

#include "object.h"
#include "ws_field.h"

PyObject *
pyws_head_bytes(const uint8_t *head, struct ws_http_span span)
{
    return PyBytes_FromStringAndSize((const char *)head + span.off, span.len);
}

/* Copies a folded value, each fold with the blanks around it as one SP (RFC
 * 9112, 5.2).  Returns how long it is now. */
static size_t
head_unfold(const uint8_t *value, size_t len, char *to)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        if (value[i] != '\r') {
            to[n++] = (char)value[i];
            continue;
        }
        while (n > 0 && (to[n - 1] == ' ' || to[n - 1] == '\t')) {
            n--;
        }
        to[n++] = ' ';
        while (i + 1 < len && (value[i + 1] == '\n' || value[i + 1] == ' ' ||
                               value[i + 1] == '\t')) {
            i++;
        }
    }
    return n;
}

static PyObject *
head_text(const uint8_t *head, struct ws_http_span span)
{
    const uint8_t *text = head + span.off;

    if (memchr(text, '\r', span.len) == NULL) {
        return PyUnicode_DecodeASCII((const char *)text, span.len,
                                     "surrogateescape");
    }
    char *unfolded = PyMem_RawMalloc(span.len);
    if (unfolded == NULL) {
        return PyErr_NoMemory();
    }
    size_t len = head_unfold(text, span.len, unfolded);
    PyObject *result =
        PyUnicode_DecodeASCII(unfolded, (Py_ssize_t)len, "surrogateescape");
    PyMem_RawFree(unfolded);
    return result;
}

PyObject *
pyws_head_fields(const struct ws_http *h, const uint8_t *head)
{
    PyObject *list = PyList_New((Py_ssize_t)h->field_count);
    if (list == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < h->field_count; i++) {
        PyObject *pair = PyTuple_New(2);
        if (pair == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, pair);
        for (int part = 0; part < 2; part++) {
            PyObject *text = head_text(
                head, part == 0 ? h->fields[i].name : h->fields[i].value);
            if (text == NULL) {
                Py_DECREF(list);
                return NULL;
            }
            PyTuple_SET_ITEM(pair, part, text);
        }
    }
    return list;
}

/* Puts |text|, whose reference it takes, behind what stands at |*place|. */
static int
head_add(PyObject **place, PyObject *text)
{
    int rc = -1;

    if (*place == Py_None) {
        Py_DECREF(*place);
        *place = text;
        return 0;
    }
    if (!PyList_Check(*place)) {
        PyObject *list = PyList_New(1);
        if (list == NULL) {
            Py_DECREF(text);
            return -1;
        }
        PyList_SET_ITEM(list, 0, *place);
        *place = list;
    }
    rc = PyList_Append(*place, text);
    Py_DECREF(text);
    return rc;
}

PyObject *
pyws_head_known(pyws_state *state, const struct ws_http *h, const uint8_t *head)
{
    PyObject *known[WS_FIELDS];
    PyObject *fields = PyStructSequence_New(state->RequestFields_type);
    if (fields == NULL) {
        return NULL;
    }
    for (int i = 0; i < WS_FIELDS; i++) {
        known[i] = Py_NewRef(Py_None);
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < h->field_count; i++) {
        struct ws_http_span name = h->fields[i].name;
        enum ws_field which = ws_field_of(head + name.off, name.len);
        if (which == WS_FIELDS) {
            continue;
        }
        PyObject *text = head_text(head, h->fields[i].value);
        rc = text == NULL ? -1 : head_add(&known[which], text);
    }
    for (int i = 0; i < WS_FIELDS; i++) {
        PyStructSequence_SetItem(fields, i, known[i]);
    }
    if (rc < 0) {
        Py_CLEAR(fields);
    }
    return fields;
}

PyObject *
pyws_head_request_fields(PyObject *Py_UNUSED(module), PyObject *head)
{
    struct ws_http h;

    if (!PyBytes_Check(head)) {
        return PyErr_Format(PyExc_TypeError, "head must be bytes, not %s",
                            Py_TYPE(head)->tp_name);
    }
    const uint8_t *p = (const uint8_t *)PyBytes_AS_STRING(head);
    ws_http_init(&h, 0);
    if (ws_http_feed(&h, p, (size_t)PyBytes_GET_SIZE(head)) <= 0) {
        PyErr_SetString(PyExc_ValueError, "no head of a request");
        return NULL;
    }
    return pyws_head_fields(&h, p);
}

/* ---- type ---- */

static PyStructSequence_Field request_fields[] = {
#define FIELD(field, variable, name) {#variable, "The header field " name "."},
    WS_FIELD_LIST(FIELD)
#undef FIELD
        {NULL, NULL},
};

static PyStructSequence_Desc RequestFields_desc = {
    .name = "picows_c._core.RequestFields",
    .doc =
        "What the opening handshake reads of a request: None where there is "
        "no such field,\na list where there are several.",
    .fields = request_fields,
    .n_in_sequence = WS_FIELDS,
};

int
pyws_head_add_type(PyObject *module, pyws_state *state)
{
    state->RequestFields_type = PyStructSequence_NewType(&RequestFields_desc);
    if (state->RequestFields_type == NULL) {
        return -1;
    }
    return PyModule_AddType(module, state->RequestFields_type);
}
