/* way.h - the way out of a connection: how a transport reaches the socket
 * without knowing what carries its bytes.
 *
 * Ownership: the transport owns the pyws_way and, in it, the target.
 */
#ifndef PYWS_WAY_H
#define PYWS_WAY_H

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
    /* whole is where all of it lies as it goes over the wire, NULL where head
     * and payload are still apart. */
    const uint8_t *whole;
};

static inline size_t
pyws_out_len(const struct pyws_out *out)
{
    return out->head_len + out->payload_len;
}

/* pyws_out_copy writes bytes [from, from + n) of the frame to |dst|, masked. */
void pyws_out_copy(const struct pyws_out *out, size_t from, uint8_t *dst,
                   size_t n);

/* pyws_out_send hands as much of the frame as the system takes to the socket
 * |fd|; |*sent| says how much that was.  A large masked frame goes out piece by
 * piece, each small enough to stay in the cache between mask and send(2).
 * Returns 0, or -errno where the system refused for another reason than a full
 * buffer. */
int pyws_out_send(pyws_state *state, int fd, const struct pyws_out *out,
                  size_t *sent);

struct pyws_way;

/* What a way can do. */
struct pyws_io {
    /* send takes the whole of |out|, now or later; its payload is not looked
     * at after the call.  Returns 0, or -1 with an exception set: a part may
     * have left, so the connection cannot go on.  It can call Python. */
    int (*send)(struct pyws_way *way, const struct pyws_out *out);
    /* waiting returns how many bytes the system did not take yet, or -1 with
     * an exception set.  It can call Python. */
    Py_ssize_t (*waiting)(struct pyws_way *way);
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

#endif /* PYWS_WAY_H */
