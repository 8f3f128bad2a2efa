/* io.h - the way out of a connection: how a transport reaches the socket
 * without knowing what carries its bytes.
 *
 * Ownership: the transport owns the pyws_way and, in it, the target.
 */
#ifndef PYWS_IO_H
#define PYWS_IO_H

#include "state.h"
#include "ws_opcode.h"

/* One frame on its way out. */
struct pyws_out {
    uint8_t head[WS_HEAD_MAX];
    uint8_t head_len;
    /* masked says that |key| applies to the payload; |mask| does it. */
    uint8_t masked;
    uint8_t key[4];
    ws_mask_fn mask;
    const uint8_t *payload;
    size_t payload_len;
};

struct pyws_way;

/* What a way can do. */
struct pyws_io {
    /* send takes the whole of |out|, now or later; its payload is not looked
     * at after the call.  Returns 0, or -1 with an exception set: a part may
     * have left, so the connection cannot go on.  It can call Python. */
    int (*send)(struct pyws_way *way, const struct pyws_out *out);
};

struct pyws_way {
    const struct pyws_io *io;
    pyws_state *state;
    /* target is the object that carries the bytes: the loop's transport. */
    PyObject *target;
    /* fd is the socket where bytes may be handed to the system directly, -1
     * otherwise.  It belongs to the target; -1 from the moment that the target
     * is asked to close. */
    int fd;
};

#endif /* PYWS_IO_H */
