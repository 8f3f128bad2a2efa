/* state.h - the module's state: everything that would be a global elsewhere.
 * Each object of the module caches the pointer, so that no slot looks it up.
 *
 * Ownership: the module owns all references here; an object keeps its type, its
 * type keeps the module, so the state outlives every object.
 */
#ifndef PYWS_STATE_H
#define PYWS_STATE_H

#include "compat.h"
#include "ws_mask.h"

typedef struct pyws_state {
    /* Fill for the next reader; see ws_block.h. */
    struct ws_spare spare;
    /* The same for the ciphertext of TLS. */
    struct ws_spare tls_spare;
    /* The mask kernel of new connections. */
    const struct ws_mask_kernel *mask;
    /* Changes in a forked child, so that no mask key is used twice. */
    unsigned fork_generation;

    // From frame.c
    PyTypeObject *WSFrame_type;
    // From transport.c
    PyTypeObject *WSTransport_type;
    // From deflate.c
    PyTypeObject *Deflate_type;
    // From callbacks.c
    PyTypeObject *Callbacks_type;
    // From reader.c
    PyTypeObject *WSReader_type;
    // From stream.c, acceptor.c and poller.c; NULL where there is no poller
    PyTypeObject *Stream_type;
    PyTypeObject *Acceptor_type;
    PyTypeObject *Poller_type;
    PyTypeObject *PollerHandle_type;

    // From picows_c.enums
    PyObject *WSCloseCode;
    /* Members of WSMsgType by opcode; NULL where the opcode is reserved. */
    PyObject *msg_types[16];

    /* Whether OpenSSL can be called directly. */
    int libssl;

    // From the ssl module
    PyObject *SSLWantReadError;
    PyObject *SSLZeroReturnError;
    PyObject *SSLError;
    PyObject *SSLObject;
    PyObject *SSLSocket;

    // The attribute of a listener that has its C functions
    PyObject *str_c_callbacks;
    // Names of the methods that are called on the listener
    PyObject *str_on_ws_frame;
    PyObject *str_is_user_specific_pong;
    // ... on the loop's transport
    PyObject *str_write;
    PyObject *str_is_closing;
    PyObject *str_get_write_buffer_size;
    // ... on an SSLObject and its BIOs
    PyObject *str_read;
    PyObject *str_pending;
    PyObject *str_do_handshake;
    PyObject *str_unwrap;
    PyObject *str_shutdown;
    // ... on compressors and decompressors
    PyObject *str_compress;
    PyObject *str_flush;
    PyObject *str_decompress;
    PyObject *str_unconsumed_tail;
    PyObject *str_unused_data;
    PyObject *str_eof;
    PyObject *str_pop;
    // ... on the protocol
    PyObject *str_connection_lost;
    PyObject *str_head_received;
    PyObject *str_callback_failed;
    PyObject *str_close_complete;
    PyObject *str_discard_exhausted;
} pyws_state;

/* The module's definition; module.c. */
extern PyModuleDef pyws_module;

/* pyws_state_of returns the state behind |type|, one of ours or a subclass of
 * it; NULL with TypeError set otherwise. */
static inline pyws_state *
pyws_state_of(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &pyws_module);
    return module == NULL ? NULL : (pyws_state *)PyModule_GetState(module);
}

/* pyws_mem is CPython's raw allocator: traced by tracemalloc, safe without the
 * GIL, so that a frame may be freed on any thread. */
extern const struct ws_mem pyws_mem;

/* pyws_scratch_take returns a block to work in, of |size| bytes, and of
 * WS_BLOCK_SIZE_MAX where that is more: a spare one where nobody holds bytes of
 * it; its |used| is 0.  NULL without an exception: out of memory.
 * pyws_scratch_give gives it back. */
struct ws_block *pyws_scratch_take(pyws_state *state, size_t size);
void pyws_scratch_give(pyws_state *state, struct ws_block *b);

#endif /* PYWS_STATE_H */
