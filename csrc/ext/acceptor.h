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

struct pyws_budget;

/* pyws_acceptor_serve takes connections off the queue, while there is time.
 * Returns 0, or -1 with KeyboardInterrupt or SystemExit set. */
int pyws_acceptor_serve(AcceptorObject *a, struct pyws_budget *budget);

/* pyws_acceptor_abandon closes the descriptor without a word. */
void pyws_acceptor_abandon(AcceptorObject *a);

/* pyws_drop_fd closes |fd|, together with the stream or acceptor that has taken
 * it: what was to take it raised, and nobody else knows how far it came. */
void pyws_drop_fd(struct pyws_watch *w, int fd);

/* pyws_acceptor_add_type is called once from the module's exec. */
int pyws_acceptor_add_type(PyObject *module, pyws_state *state);

#endif /* PYWS_ACCEPTOR_H */
