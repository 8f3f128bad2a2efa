/* reader.h - WSReader: the receiving side of a connection, from bytes to the
 * call of the listener.  Internal: the package's protocol derives from it.
 *
 * Its asyncio face is the pair of asyncio.BufferedProtocol: get_buffer() lends
 * room in the ring, buffer_updated() runs the parse loop.
 *
 * Ownership: the reader owns its ring, and references to the transport and the
 * listener until the connection is lost.  A buffer that get_buffer() lent holds
 * the ring's block, which nobody else fills meanwhile (ws_block_lend).
 */
#ifndef PYWS_READER_H
#define PYWS_READER_H

#include "callbacks.h"
#include "deflate.h"
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
    /* http is NULL once the head is complete. */
    struct ws_http *http;
} WSReaderObject;

/* The stream's face.  pyws_reader_room() gives room for a read, |*len| bytes at
 * |*ptr|; 0, or -1 with MemoryError.  |unread| is how many bytes are known to
 * wait in the system, 0 for not known; worth finding out where
 * pyws_reader_expects() is true.  pyws_reader_took() says that |n| bytes
 * came and parses, pyws_reader_run() goes on where the budget had ended; both
 * take what they deliver from |*frames| and stop at 0, where |frames| is not
 * NULL.  0, or -1 with an exception set that ends the connection.  The caller
 * need not hold the reader. */
int pyws_reader_room(WSReaderObject *r, size_t unread, uint8_t **ptr,
                     size_t *len);
int pyws_reader_took(WSReaderObject *r, size_t n, int *frames);
int pyws_reader_run(WSReaderObject *r, int *frames);

/* pyws_reader_lend gives room that is filled by a call into Python or OpenSSL:
 * the reader's buffer is this room meanwhile.  pyws_reader_filled ends that:
 * |n| bytes came, which pyws_reader_run() parses.  0, or -1 with MemoryError;
 * with RuntimeError where the ring has changed under the call.  The caller
 * holds the reader. */
int pyws_reader_lend(WSReaderObject *r, uint8_t **ptr, size_t *len);
int pyws_reader_filled(WSReaderObject *r, size_t n);

/* pyws_reader_wanted returns how many bytes are best taken before the next run:
 * up to the end of a large frame, else a block with what is there. */
size_t pyws_reader_wanted(const WSReaderObject *r);

/* pyws_reader_take_back forgets what is lent; whoever has it may still write to
 * it, and nobody reads that. */
void pyws_reader_take_back(WSReaderObject *r);

static inline int
pyws_reader_expects(const WSReaderObject *r)
{
    return ws_ring_expects(&r->ring) > 0;
}

/* pyws_reader_leave says that nothing came into the room: an idle connection
 * holds none. */
static inline void
pyws_reader_leave(WSReaderObject *r)
{
    ws_ring_settle(&r->ring);
}

/* pyws_reader_prefetch asks for the memory that the next frame will need: first
 * the reader's own, and once that is there, what it names. */
void pyws_reader_prefetch(const WSReaderObject *r);
void pyws_reader_prefetch_more(const WSReaderObject *r);

/* pyws_reader_discard has everything that comes thrown away from now on. */
void pyws_reader_discard(WSReaderObject *r);

/* pyws_reader_pause holds back frames, also those already read, or lets them
 * go; the caller sees to it that pyws_reader_run() follows. */
static inline void
pyws_reader_pause(WSReaderObject *r, int paused)
{
    r->paused = (uint8_t)paused;
}

/* pyws_reader_has_input returns whether there is something to parse. */
static inline int
pyws_reader_has_input(const WSReaderObject *r)
{
    return ws_ring_len(&r->ring) > 0;
}

/* pyws_reader_has_work returns whether a run would find something to do. */
static inline int
pyws_reader_has_work(const WSReaderObject *r)
{
    return r->stopped && !r->paused;
}

/* pyws_reader_add_type is called once from the module's exec. */
int pyws_reader_add_type(PyObject *module, pyws_state *state);

#endif /* PYWS_READER_H */
