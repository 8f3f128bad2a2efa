/* poller.h - Poller: all sockets of a loop behind one descriptor.
 *
 * The loop watches that descriptor and calls a PollerHandle; one call serves
 * every connection that is ready, without a Python call for each.  A socket
 * that is always the one with input is watched by the loop itself meanwhile
 * (watch.h), which calls Poller._turn_direct.
 *
 * Ownership: the loop owns the PollerHandle, the handle (and that method) owns
 * the Poller, the Poller's slots own streams and acceptors.  Nothing of ours
 * keeps the loop but the connections themselves.  When the loop lets go of the
 * handle (it was closed) the Poller closes what is left, without a callback.
 */
#ifndef PYWS_POLLER_H
#define PYWS_POLLER_H

#include "state.h"
#include "watch.h"

typedef struct {
    /* base.watch is the table. */
    pyws_watcher base;
    pyws_state *state;
    /* generation is the state's fork generation when this was made: another
     * one means that we are in a child. */
    unsigned generation;
    /* awake is 1 while the loop calls us in each of its iterations. */
    uint8_t awake;
    /* nests is 1 where a callback can run the loop again: asyncio's can be made
     * to, by nest_asyncio in notebooks. */
    char nests;
    /* indirect is 1 once the loop refused to watch a socket itself. */
    uint8_t indirect;
    /* turns counts how often it has. */
    uint64_t turns;
    PyObject *weakrefs;
} PollerObject;

/* pyws_poller_turn serves every connection that is ready, within the budget;
 * pyws_poller_turn_direct the one that the loop watches itself.  Where a
 * callback runs the loop again they are called from inside of a turn, and serve
 * all connections but those that are on the stack.  The calling thread is the
 * loop's from then on.  Return 0, or -1 with KeyboardInterrupt or the like set.
 */
int pyws_poller_turn(PollerObject *p);
int pyws_poller_turn_direct(PollerObject *p);

/* pyws_poller_bind gives the table what it calls. */
void pyws_poller_bind(PollerObject *p);

/* pyws_poller_abandon closes everything without a callback: the loop is gone,
 * or this is a forked child (|shut| 0 then). */
void pyws_poller_abandon(PollerObject *p, int shut);

/* pyws_poller_add_type is called once from the module's exec. */
int pyws_poller_add_type(PyObject *module, pyws_state *state);

#endif /* PYWS_POLLER_H */
