/* deflate.h - Deflate: permessage-deflate (RFC 7692) of one connection, over
 * the objects of a zlib-compatible module.
 *
 * What both sides agreed on is the package's business (picows_c/deflate.py);
 * here are the two contexts, made when they are first needed, and what goes
 * through them.
 *
 * Ownership: reader and transport of a connection share one; it owns its
 * contexts and the two functions that make them.
 */
#ifndef PYWS_DEFLATE_H
#define PYWS_DEFLATE_H

#include "state.h"
#include "ws_message.h"

typedef struct {
    PyObject_HEAD
    pyws_state *state;
    /* make_compressor() returns an object with compress() and flush(),
     * make_decompressor(zdict) one with decompress(), unconsumed_tail,
     * unused_data and eof. */
    PyObject *make_compressor, *make_decompressor;
    /* compressor and decompressor are NULL until they are needed, and between
     * messages where the context is not taken over. */
    PyObject *compressor, *decompressor;
    /* flush is the mode that ends each fragment. */
    PyObject *flush;
    /* threshold is the least that is compressed, in bytes. */
    size_t threshold;
    /* pool has compressors that are between messages, for all connections that
     * may share them; NULL where the context is taken over. */
    PyObject *pool;
    uint8_t resets_in;
    /* sending is 1 inside a message that is compressed. */
    uint8_t sending;
    /* busy is 1 while the compressor is called; who compresses asks first. */
    uint8_t busy;
} DeflateObject;

/* A payload as it was received. */
struct pyws_masked {
    const uint8_t *data;
    size_t len;
    /* key is NULL where the payload is not masked. */
    const uint8_t *key;
    ws_mask_fn mask;
};

/* What pyws_deflate_inflate() returns for an exception, beside WS_ERR_*. */
#define PYWS_RAISED (-1000)

/* pyws_deflate_inflate appends what |in| holds to |m|; |fin| says that the
 * message ends with it.  Never more than one byte beyond the message's limit is
 * inflated.  Calls Python.  Returns 0, WS_ERR_DEFLATE, WS_ERR_MESSAGE_SIZE,
 * WS_ERR_TEXT, or PYWS_RAISED with an exception set. */
int pyws_deflate_inflate(DeflateObject *d, struct ws_message *m,
                         const struct pyws_masked *in, int fin);

/* pyws_deflate_wants returns whether the first frame of a message is worth it:
 * |len| bytes, all of it or only its beginning. */
static inline int
pyws_deflate_wants(const DeflateObject *d, size_t len)
{
    return len >= d->threshold;
}

/* pyws_deflate_compress returns |len| bytes compressed, |*sent| of which are to
 * be sent; |fin| as above.  Not while |busy|.  Calls Python.  NULL with an
 * exception set. */
PyObject *pyws_deflate_compress(DeflateObject *d, const uint8_t *p, size_t len,
                                int fin, size_t *sent);

/* pyws_deflate_unsent says that what was compressed last does not reach the
 * peer: what comes next must not refer to it.  Calls Python. */
void pyws_deflate_unsent(DeflateObject *d);

/* pyws_deflate_add_type is called once from the module's exec. */
int pyws_deflate_add_type(PyObject *module, pyws_state *state);

#endif /* PYWS_DEFLATE_H */
