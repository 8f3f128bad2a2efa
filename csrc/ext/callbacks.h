/* callbacks.h - Callbacks: the C functions that a listener carries, so that a
 * frame reaches them without a Python call.
 *
 * Ownership: a listener has one of these in its attribute _c_callbacks, and the
 * reader of each of its connections holds it from the first frame to the end.
 * It owns a reference to the object that keeps the functions' context alive.
 */
#ifndef PYWS_CALLBACKS_H
#define PYWS_CALLBACKS_H

#include "frame.h"
#include "picows_c.h"
#include "transport.h"

typedef struct {
    PyObject_HEAD
    /* table is ours; on_frame is never NULL. */
    PicowsC_Callbacks table;
    void *context;
    /* owner is NULL where the context needs nobody. */
    PyObject *owner;
} CallbacksObject;

/* pyws_callbacks_bind gives |listener| the functions in |table|.  Returns 0, or
 * -1 with an exception set. */
int pyws_callbacks_bind(pyws_state *state, PyObject *listener,
                        const PicowsC_Callbacks *table, void *context,
                        PyObject *owner);

/* pyws_callbacks_of stores in |*slot| what |listener| carries, a new reference,
 * or NULL.  Returns 0, or -1 with an exception set. */
int pyws_callbacks_of(pyws_state *state, PyObject *listener,
                      CallbacksObject **slot);

/* pyws_callbacks_frame gives |frame| to the function that takes frames.  The
 * caller owns a reference to |listener|, which may be the context.  Returns 0,
 * or -1 with an exception set. */
int pyws_callbacks_frame(CallbacksObject *c, WSTransportObject *t,
                         WSFrameObject *frame);

/* pyws_callbacks_add_type is called once from the module's exec. */
int pyws_callbacks_add_type(PyObject *module, pyws_state *state);

#endif /* PYWS_CALLBACKS_H */
