/* acceptor.h - Acceptor: a listening socket on a poller.
 *
 * Ownership: the acceptor owns its descriptor; its slot in the poller owns the
 * acceptor; the acceptor owns the server that is told of each connection.
 */
#ifndef PYWS_ACCEPTOR_H
#define PYWS_ACCEPTOR_H

#include "state.h"
#include "watch.h"

typedef struct {
    PyObject_HEAD
    pyws_state *state;
    /* poller keeps |watch| alive. */
    PyObject *poller;
    struct pyws_watch *watch;
    /* server has _accepted(fd) and _exhausted(acceptor, OSError). */
    PyObject *server;
    int fd;
    uint32_t slot;
} AcceptorObject;

/* pyws_acceptor_serve takes connections off the queue, a bounded number.
 * Returns 0, or -1 with an exception that is no Exception. */
int pyws_acceptor_serve(AcceptorObject *a);

/* pyws_acceptor_abandon closes the descriptor without a word. */
void pyws_acceptor_abandon(AcceptorObject *a);

/* pyws_acceptor_add_type is called once from the module's exec. */
int pyws_acceptor_add_type(PyObject *module, pyws_state *state);

#endif /* PYWS_ACCEPTOR_H */
