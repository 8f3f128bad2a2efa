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

/* The objects of the state, X(type, name); NULL where this platform has none.
 */
#define PYWS_OBJECTS(X)                                                \
  /* frame.c, transport.c, deflate.c, callbacks.c, reader.c, head.c */ \
  X(PyTypeObject, WSFrame_type)                                        \
  X(PyTypeObject, WSTransport_type)                                    \
  X(PyTypeObject, Deflate_type)                                        \
  X(PyTypeObject, Callbacks_type)                                      \
  X(PyTypeObject, WSReader_type)                                       \
  X(PyTypeObject, RequestFields_type)                                  \
  /* stream.c, acceptor.c and poller.c */                              \
  X(PyTypeObject, Stream_type)                                         \
  X(PyTypeObject, Acceptor_type)                                       \
  X(PyTypeObject, Poller_type)                                         \
  X(PyTypeObject, PollerHandle_type)                                   \
  /* picows_c.enums */                                                 \
  X(PyObject, WSCloseCode)                                             \
  /* the ssl module */                                                 \
  X(PyObject, SSLWantReadError)                                        \
  X(PyObject, SSLZeroReturnError)                                      \
  X(PyObject, SSLError)                                                \
  X(PyObject, SSLObject)                                               \
  X(PyObject, SSLSocket)

/* The interned names of what is called or asked for, X(name, text): the state
 * has them as str_name. */
#define PYWS_NAMES(X)                                 \
  /* of a listener: its C functions, its callbacks */ \
  X(c_callbacks, "_c_callbacks")                      \
  X(on_ws_frame, "on_ws_frame")                       \
  X(is_user_specific_pong, "is_user_specific_pong")   \
  /* of the loop's transport */                       \
  X(write, "write")                                   \
  X(is_closing, "is_closing")                         \
  X(get_write_buffer_size, "get_write_buffer_size")   \
  /* of an SSLObject and its BIOs */                  \
  X(read, "read")                                     \
  X(pending, "pending")                               \
  X(do_handshake, "do_handshake")                     \
  X(unwrap, "unwrap")                                 \
  X(shutdown, "shutdown")                             \
  /* of compressors and decompressors */              \
  X(compress, "compress")                             \
  X(flush, "flush")                                   \
  X(decompress, "decompress")                         \
  X(unconsumed_tail, "unconsumed_tail")               \
  X(unused_data, "unused_data")                       \
  X(eof, "eof")                                       \
  X(pop, "pop")                                       \
  /* of the protocol */                               \
  X(connection_lost, "connection_lost")               \
  X(head_received, "_head_received")                  \
  X(callback_failed, "_callback_failed")              \
  X(close_complete, "_close_complete")                \
  X(discard_exhausted, "_discard_exhausted")

typedef struct pyws_state {
    /* Fill for the next reader; see ws_block.h. */
    struct ws_spare spare;
    /* The same for the ciphertext of TLS. */
    struct ws_spare tls_spare;
    /* The mask kernel of new connections. */
    const struct ws_mask_kernel *mask;
    /* Changes in a forked child, so that no mask key is used twice. */
    unsigned fork_generation;

#define PYWS_OBJECT_FIELD(type, name) type *name;
#define PYWS_NAME_FIELD(name, text) PyObject *str_##name;
    PYWS_OBJECTS(PYWS_OBJECT_FIELD)
    PYWS_NAMES(PYWS_NAME_FIELD)
#undef PYWS_OBJECT_FIELD
#undef PYWS_NAME_FIELD

    /* Members of WSMsgType by opcode; NULL where the opcode is reserved. */
    PyObject *msg_types[16];

    /* Whether OpenSSL can be called directly. */
    int libssl;
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
