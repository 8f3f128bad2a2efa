/* reader.h - WSReader: the receiving side of a connection, from bytes to the
 * call of the listener.  Internal: the package's protocol derives from it.
 *
 * Its asyncio face is the pair of asyncio.BufferedProtocol: get_buffer() lends
 * room in the ring, buffer_updated() runs the parse loop.
 *
 * Ownership: the reader owns its ring, and references to the transport and the
 * listener until the connection is lost.  A buffer that get_buffer() lent holds
 * the ring's block.
 */
#ifndef PYWS_READER_H
#define PYWS_READER_H

#include "frame.h"
#include "transport.h"
#include "ws_http.h"
#include "ws_ring.h"

/* What received bytes are. */
enum pyws_reader_mode {
    /* the opening handshake's HTTP head */
    PYWS_READ_HEAD,
    /* frames */
    PYWS_READ_FRAMES,
    /* of no interest any more: after an error, CLOSE or disconnect() */
    PYWS_READ_DISCARD,
};

typedef struct {
    PyObject_HEAD
    pyws_state *state;
    /* thread is the one this connection belongs to. */
    unsigned long thread;
    uint8_t mode;
    /* running is 1 while the parse loop is on the stack. */
    uint8_t running;
    /* lent is how much room the last get_buffer() gave. */
    size_t lent;
    /* discard_left bounds what DISCARD still takes before the package is told
     * to give up on the peer. */
    size_t discard_left;
    struct ws_ring ring;
    struct ws_parser parser;
    /* http is NULL once the head is complete. */
    struct ws_http *http;
    WSTransportObject *transport;
    PyObject *listener;
    /* spare is the last frame delivered, where nobody kept it. */
    WSFrameObject *spare;
} WSReaderObject;

/* pyws_reader_add_type is called once from the module's exec. */
int pyws_reader_add_type(PyObject *module, pyws_state *state);

#endif /* PYWS_READER_H */
