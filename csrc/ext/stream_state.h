/* stream_state.h - what a Stream is.
 *
 * Ownership: the stream owns its descriptor from the moment it is made, and
 * gives it up everywhere at once: out of the poller, shut down, closed.  Its
 * slot in the poller owns the stream; the stream owns the protocol, loop and
 * context until connection_lost() has run.
 */
#ifndef PYWS_STREAM_STATE_H
#define PYWS_STREAM_STATE_H

#include "reader.h"
#include "watch.h"
#include "ws_queue.h"

struct pyws_budget;
struct pyws_tls;

typedef struct {
    PyObject_HEAD
    pyws_state *state;
    /* thread is the loop's. */
    unsigned long thread;
    /* poller keeps |watch| alive. */
    PyObject *poller;
    struct pyws_watch *watch;
    PyObject *loop;
    /* context is entered for each call of the protocol. */
    PyObject *context;
    PyObject *protocol;
    /* reader is the protocol where it is a WSReader; borrowed from it. */
    WSReaderObject *reader;
    /* tls is the upper filter; NULL on a plain stream. */
    struct pyws_tls *tls;
    /* tls_done is called when the handshake ends: with None or an exception. */
    PyObject *tls_done;
    /* lost_for: lost, and the loop could not be told yet. */
    PyObject *lost_for;
    /* tls_failed is what ended decrypting, while frames before it are to be
     * delivered. */
    PyObject *tls_failed;
    /* out is what the kernel did not take yet. */
    struct ws_queue out;
    size_t high, low;
    /* fd is -1 once the connection is lost. */
    int fd;
    uint32_t slot;
    /* busy_us is how long after input the poller goes on asking for more. */
    uint32_t busy_us;
    /* write_error is the errno of a failed send, 0 for none. */
    int write_error;
    /* started: read interest is wanted at all. */
    unsigned started : 1;
    unsigned paused : 1;
    /* closing: close() or abort() was called, or the end came by itself. */
    unsigned closing : 1;
    unsigned eof_in : 1;
    /* eof_out: write_eof() was called; eof_sent: it was done. */
    unsigned eof_out : 1;
    unsigned eof_sent : 1;
    unsigned protocol_paused : 1;
    unsigned tls_handshaking : 1;
    /* tls_left: decrypting stopped before the input ended. */
    unsigned tls_left : 1;
    /* tls_owes_end: close_notify stands behind what cannot be encrypted yet. */
    unsigned tls_owes_end : 1;
    /* tls_retries: something was written from inside of the busy filter. */
    unsigned tls_retries : 1;
    /* tls_ended: the peer's close_notify came; frames before it are to be
     * delivered. */
    unsigned tls_ended : 1;
    /* tls_deaf: nothing can be decrypted any more, behind our own end. */
    unsigned tls_deaf : 1;
    /* writing: a frame is half encrypted, nobody may be called now. */
    unsigned writing : 1;
    /* told: connection_lost() has been called. */
    unsigned told : 1;
    /* serving: it is on the stack; muted: an event came for it meanwhile, from
     * a nested event loop, and nothing is watched for until it returns. */
    unsigned serving : 1;
    unsigned muted : 1;
    /* missed is what of that event comes only once. */
    unsigned missed : 4;
    PyObject *weakrefs;
} StreamObject;

#endif /* PYWS_STREAM_STATE_H */
