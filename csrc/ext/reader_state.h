/* reader_state.h - what a WSReader is.
 *
 * Ownership: the reader owns its ring, and references to the transport and the
 * listener until the connection is lost.  A buffer that get_buffer() lent holds
 * the ring's block, which nobody else fills meanwhile (ws_block_lend).
 */
#ifndef PYWS_READER_STATE_H
#define PYWS_READER_STATE_H

#include "callbacks.h"
#include "deflate.h"
#include "frame.h"
#include "transport.h"
#include "ws_http.h"
#include "ws_ring.h"

/* What received bytes are. */
enum pyws_reader_mode {
    /* the opening handshake's HTTP: a head, then the content of a refusal */
    PYWS_READ_HEAD,
    /* frames */
    PYWS_READ_FRAMES,
    /* of no interest any more: after an error, CLOSE or disconnect() */
    PYWS_READ_DISCARD,
};

/* Whether a frame is the answer to our ping. */
enum pyws_pong {
    /* none is expected */
    PYWS_PONG_NONE,
    /* a PONG is */
    PYWS_PONG_OPCODE,
    /* the listener's is_user_specific_pong() says so */
    PYWS_PONG_ASK,
};

/* Room in a reader's ring that somebody else fills: |len| bytes of |block|, to
 * which it has a reference, from |at| on. */
struct pyws_lent {
    struct ws_block *block;
    size_t at, len;
};

typedef struct {
    /* First what each frame needs, a few lines of the cache. */
    PyObject_HEAD
    pyws_state *state;
    /* thread is the one this connection belongs to. */
    unsigned long thread;
    uint8_t mode;
    /* running is 1 while the parse loop is on the stack. */
    uint8_t running;
    /* decrypting is 1 while what is lent is filled by a TLS filter. */
    uint8_t decrypting;
    /* paused is 1 while frames that were read wait for resume_reading(). */
    uint8_t paused;
    /* stopped is 1 where the parse loop ended before the ring did: paused, or
     * out of its budget. */
    uint8_t stopped;
    /* watches: input is counted and its time noted, for the keepalive. */
    uint8_t watches;
    /* expects_pong says how the answer to our ping is known, where one is
     * expected. */
    uint8_t expects_pong;
    /* assembles: the listener gets whole messages. */
    uint8_t assembles;
    /* coalesces: what is sent from the callbacks of one read leaves together.
     */
    uint8_t coalesces;
    /* made: __init__ has run; begun: frames have begun. Both happen once. */
    uint8_t made, begun;
    WSTransportObject *transport;
    PyObject *listener;
    /* callbacks has the listener's C functions, NULL where it has none. */
    CallbacksObject *callbacks;
    /* spare is the last frame delivered, where nobody kept it. */
    WSFrameObject *spare;
    struct ws_ring ring;
    struct ws_parser parser;
    /* checked is how much of the payload of the frame that is not complete yet
     * was unmasked and found to be text. */
    size_t checked;
    /* deflate is NULL where no compression was agreed on. */
    DeflateObject *deflate;
    /* has_ahead: |ahead| is the head of the frame at the ring's front, parsed
     * already to see whether the one before it was the last. */
    uint8_t has_ahead;
    /* Then what only some need. */
    struct ws_head ahead;
    /* input_ms is when the last input came (ws_clock_ms), input counts reads;
     * while |watches|. */
    int64_t input_ms;
    uint64_t input;
    /* message is what its fragments have given so far. */
    struct ws_message message;
    /* lent is the room that was lent last, NULL block for none. */
    struct pyws_lent lent;
    /* discard_left bounds what DISCARD still takes before the package is told
     * to give up on the peer. */
    size_t discard_left;
    /* http is NULL once the head is complete: content may follow. */
    struct ws_http *http;
} WSReaderObject;

#endif /* PYWS_READER_STATE_H */
