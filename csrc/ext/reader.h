/* reader.h - WSReader: the receiving side of a connection, from bytes to the
 * call of the listener.  Internal: the package's protocol derives from it.
 *
 * Its asyncio face is the pair of asyncio.BufferedProtocol: get_buffer() lends
 * room in the ring, buffer_updated() runs the parse loop.
 * Who owns what: reader_state.h.
 */
#ifndef PYWS_READER_H
#define PYWS_READER_H

#include "reader_state.h"

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

/* pyws_reader_head goes on with the opening handshake's head, and with the
 * content behind it (reader_head.c); for the parse loop.  0 or -1. */
int pyws_reader_head(WSReaderObject *r);

/* pyws_reader_add_type is called once from the module's exec. */
int pyws_reader_add_type(PyObject *module, pyws_state *state);

#endif /* PYWS_READER_H */
