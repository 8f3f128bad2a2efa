/* head.h - a complete HTTP head as Python's objects: what the opening handshake
 * reads of it at once, all of it when somebody asks.
 *
 * Ownership: every function returns a new reference, or NULL with MemoryError
 * set.  |head| are the bytes that |h| was parsed from.
 */
#ifndef PYWS_HEAD_H
#define PYWS_HEAD_H

#include "state.h"
#include "ws_http.h"

PyObject *pyws_head_bytes(const uint8_t *head, struct ws_http_span span);

/* pyws_head_fields returns all fields, a list of pairs of str.  Values may hold
 * obs-text, which survives as surrogates. */
PyObject *pyws_head_fields(const struct ws_http *h, const uint8_t *head);

/* pyws_head_known returns RequestFields, the values of those that enum ws_field
 * names: str, None where there is none, a list of str where there are more. */
PyObject *pyws_head_known(pyws_state *state, const struct ws_http *h,
                          const uint8_t *head);

/* pyws_head_request_fields is the module's _request_fields(head): the fields of
 * a request that was received.  ValueError: it is none. */
PyObject *pyws_head_request_fields(PyObject *module, PyObject *head);

int pyws_head_add_type(PyObject *module, pyws_state *state);

#endif /* PYWS_HEAD_H */
