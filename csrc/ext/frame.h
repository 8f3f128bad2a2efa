/* frame.h - WSFrame: one received frame and its payload.
 *
 * Ownership: a payload of up to PYWS_FRAME_INLINE bytes is a copy inside the
 * object; a longer one stays in the block it was received in, and the frame
 * holds a reference to that block from creation to dealloc.  A view of the
 * frame holds the frame.  So both may be kept for any length of time and freed
 * on any thread.
 */
#ifndef PYWS_FRAME_H
#define PYWS_FRAME_H

#include "state.h"
#include "ws_block.h"
#include "ws_parser.h"

#define PYWS_FRAME_INLINE 128

typedef struct {
    PyObject_HEAD
    pyws_state *state;
    /* block holds a longer payload; NULL for one in |bytes|. */
    struct ws_block *block;
    /* payload points into |bytes| or into the block. */
    const uint8_t *payload;
    size_t payload_len;
    /* tail_size is how many bytes had been received after this frame. */
    size_t tail_size;
    uint8_t opcode;
    uint8_t fin;
    uint8_t rsv;
    uint8_t last_in_buffer;
    /* text_failed is 1 once get_payload_as_utf8_text() raised
     * UnicodeDecodeError. */
    uint8_t text_failed;
    /* ascii says that the payload is known to be nothing but ASCII. */
    uint8_t ascii;
    uint8_t bytes[PYWS_FRAME_INLINE];
} WSFrameObject;

/* pyws_frame_new returns an empty frame, to be filled by the reader; NULL with
 * MemoryError set. */
WSFrameObject *pyws_frame_new(pyws_state *state);

/* pyws_is_frame returns whether |o| is a WSFrame, of any interpreter. */
int pyws_is_frame(PyObject *o);

/* pyws_frame_reset lets go of |f|'s payload, so that the reader can fill it
 * again.  The caller's reference is the only one. */
static inline void
pyws_frame_reset(WSFrameObject *f)
{
    ws_block_decref(f->block);
    f->block = NULL;
    f->payload = f->bytes;
    f->payload_len = 0;
}

/* pyws_frame_add_type is called once from the module's exec. */
int pyws_frame_add_type(PyObject *module, pyws_state *state);

#endif /* PYWS_FRAME_H */
