/* transport.h - WSTransport: the sending side of a connection.
 *
 * Ownership: the transport owns its way out, its entropy pool and a reference
 * to its owner, the protocol, until the connection is lost (that cycle is
 * broken by pyws_transport_lost).  The reader owns a reference to the
 * transport.
 */
#ifndef PYWS_TRANSPORT_H
#define PYWS_TRANSPORT_H

#include "entropy.h"
#include "io.h"
#include "ws_close.h"
#include "ws_conn.h"

typedef struct {
    PyObject_HEAD
    pyws_state *state;
    /* thread is the one this connection belongs to. */
    unsigned long thread;
    /* conn has the rules of both directions; the reader uses it as well. */
    struct ws_conn conn;
    struct pyws_way way;
    /* entropy is NULL on a server: its frames are not masked. */
    struct ws_entropy *entropy;
    /* owner is the protocol, told of each CLOSE; NULL once the connection is
     * lost. */
    PyObject *owner;
    /* pong_waits is 1 while pong[0..pong_len) waits for the way out. */
    uint8_t pong_waits;
    uint8_t pong_len;
    /* write_paused is 1 while the way out holds more than its high watermark.
     */
    uint8_t write_paused;
    uint8_t pong[WS_CONTROL_MAX];
    PyObject *weakrefs;
} WSTransportObject;

/* pyws_transport_check raises RuntimeError and returns -1 where the calling
 * thread is not the connection's. */
int pyws_transport_check(WSTransportObject *t, const char *method);

/* pyws_transport_send sends one frame.  Nothing happens once CLOSE was sent or
 * the connection is lost.  Returns 0, or -1 with ValueError, OSError,
 * MemoryError or what the way out raised. */
int pyws_transport_send(WSTransportObject *t, unsigned opcode, int fin,
                        unsigned rsv, const uint8_t *payload, size_t len);

/* pyws_transport_close sends CLOSE and tells the owner.  Returns as above. */
int pyws_transport_close(WSTransportObject *t, const struct ws_close *close);

/* pyws_transport_pong answers a PING.  While the way out is full the answers
 * collapse into the last one (RFC 6455, 5.5.3 allows that).  Returns as above.
 */
int pyws_transport_pong(WSTransportObject *t, const uint8_t *payload,
                        size_t len);

/* pyws_transport_add_type is called once from the module's exec. */
int pyws_transport_add_type(PyObject *module, pyws_state *state);

#endif /* PYWS_TRANSPORT_H */
