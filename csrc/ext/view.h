/* view.h - the bytes of an argument, pinned for the length of a call.
 *
 * Ownership: the argument's caller keeps the object; a buffer export pins its
 * bytes until pyws_view_release().
 */
#ifndef PYWS_VIEW_H
#define PYWS_VIEW_H

#include "compat.h"

struct pyws_view {
    const uint8_t *data;
    size_t len;
    /* buffer.obj is NULL where there is nothing to release. */
    Py_buffer buffer;
};

/* pyws_view_get fills |*v| from |o|: None or absent (NULL) is empty, str its
 * UTF-8, anything else its C-contiguous buffer.  It can run Python code: check
 * the connection afterwards.  Returns 0, or -1 with an exception set:
 * TypeError, UnicodeEncodeError (a lone surrogate), BufferError. */
int pyws_view_get(struct pyws_view *v, PyObject *o);

/* pyws_view_release ends the export; a view that pyws_view_get() refused has
 * none. */
static inline void
pyws_view_release(struct pyws_view *v)
{
    if (v->buffer.obj != NULL) {
        PyBuffer_Release(&v->buffer);
    }
}

#endif /* PYWS_VIEW_H */
