/* transport.h - WSTransport: the sending side of a connection.
 *
 * Ownership: the transport owns its way out, its entropy pool, the block of
 * corked frames and a reference to its owner, the protocol, until the
 * connection is lost (that cycle is broken by _lost()).  The reader owns a
 * reference to the transport.
 */
#ifndef PYWS_TRANSPORT_H
#define PYWS_TRANSPORT_H

#include "deflate.h"
#include "entropy.h"
#include "way.h"
#include "ws_block.h"
#include "ws_close.h"
#include "ws_conn.h"

/* What was sent and received: frames whole, with their heads, before TLS. */
struct pyws_stats {
    uint64_t frames_sent, messages_sent, bytes_sent;
    uint64_t frames_received, messages_received, bytes_received;
    /* messages that the limit of the write buffer dropped */
    uint64_t dropped;
};

typedef struct {
    /* First what each frame needs, a few lines of the cache. */
    PyObject_HEAD
    pyws_state *state;
    /* thread is the one this connection belongs to. */
    unsigned long thread;
    /* conn has the rules of both directions; the reader uses it as well. */
    struct ws_conn conn;
    struct pyws_way way;
    /* entropy is NULL on a server: its frames are not masked. */
    struct ws_entropy *entropy;
    /* deflate is NULL where no compression was agreed on. */
    DeflateObject *deflate;
    /* write_limit bounds what waits to be written; 0 for none. */
    size_t write_limit;
    /* corks counts those who want frames to leave together, and coalescing is 1
     * while the reader does: another frame of the same read follows.  corked
     * has them, data[0..used), NULL where none waits. */
    struct ws_block *corked;
    unsigned corks;
    uint8_t coalescing;
    /* traced is 1 where the owner logs each frame. */
    uint8_t traced;
    /* drops says what becomes of a message over |write_limit|: dropped, or the
     * end of the connection; dropping is 1 inside a fragmented message that is
     * dropped. */
    uint8_t drops;
    uint8_t dropping;
    struct pyws_stats stats;
    /* Then what only some need. owner is the protocol, told of each CLOSE; NULL
     * once the connection is lost. */
    PyObject *owner;
    PyObject *weakrefs;
    /* write_paused is 1 while the way out holds more than its high watermark.
     */
    uint8_t write_paused;
    /* pong_waits is 1 while pong[0..pong_len) waits for the way out. */
    uint8_t pong_waits;
    uint8_t pong_len;
    uint8_t pong[WS_CONTROL_MAX];
} WSTransportObject;

/* pyws_transport_prefetch asks for the memory that the next frame will need. */
static inline void
pyws_transport_prefetch(const WSTransportObject *t)
{
    ws_prefetch(t, offsetof(WSTransportObject, owner));
}

/* pyws_is_transport returns whether |o| is a WSTransport, of any interpreter.
 */
int pyws_is_transport(PyObject *o);

/* pyws_transport_check raises RuntimeError and returns -1 where the calling
 * thread is not the connection's. */
int pyws_transport_check(WSTransportObject *t, const char *method);

/* pyws_transport_send sends one frame.  Nothing happens once CLOSE was sent or
 * the connection is lost.  Returns 0, or -1 with ValueError, OSError,
 * MemoryError or what the way out raised. */
int pyws_transport_send(WSTransportObject *t, unsigned opcode, int fin,
                        unsigned rsv, const uint8_t *payload, size_t len);

/* pyws_transport_send_reuse does the same with a payload that has
 * WS_HEAD_MAX writable bytes before it: the head goes there, and the payload
 * is masked where it lies. */
int pyws_transport_send_reuse(WSTransportObject *t, unsigned opcode, int fin,
                              unsigned rsv, uint8_t *payload, size_t len);

/* For frames that are built once for many connections.  pyws_transport_takes
 * returns whether a message of |len| bytes can be sent now, without anything
 * being done about it where not: 1, 0, or -1 with an exception set.
 * pyws_transport_send_made sends one, unmasked: 1; 0 where the connection takes
 * none any more; -1 with an exception set. */
int pyws_transport_takes(WSTransportObject *t, unsigned opcode, size_t len);
int pyws_transport_send_made(WSTransportObject *t, unsigned opcode,
                             unsigned rsv, const struct pyws_out *out);

/* pyws_transport_close sends CLOSE and tells the owner.  Returns as above. */
int pyws_transport_close(WSTransportObject *t, const struct ws_close *close);

/* pyws_transport_pong answers a PING.  While the way out is full the answers
 * collapse into the last one (RFC 6455, 5.5.3 allows that).  Returns as above.
 */
int pyws_transport_pong(WSTransportObject *t, const uint8_t *payload,
                        size_t len);

/* pyws_transport_flush lets what is corked leave.  Returns as above. */
int pyws_transport_flush(WSTransportObject *t);

/* pyws_transport_end_read lets what was coalesced leave, behind the last
 * callback of a read, unless a cork holds it.  Returns as above; an exception
 * that is set already stays. */
int pyws_transport_end_read(WSTransportObject *t);

/* pyws_transport_waiting returns how many bytes wait to be written, corked ones
 * included; -1 with an exception set. */
Py_ssize_t pyws_transport_waiting(WSTransportObject *t);

/* pyws_transport_trace tells the owner of a frame, where it wants to know.
 * Returns 0, or -1 with an exception set. */
int pyws_transport_trace(WSTransportObject *t, int sent, unsigned opcode,
                         int fin, unsigned rsv, size_t len);

/* pyws_transport_add_type is called once from the module's exec. */
int pyws_transport_add_type(PyObject *module, pyws_state *state);

#endif /* PYWS_TRANSPORT_H */
