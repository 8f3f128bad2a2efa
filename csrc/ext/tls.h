/* tls.h - the TLS filter of a stream: an ssl.SSLObject over two MemoryBIOs,
 * driven by its public methods, so that any SSLContext works (tls_layer.h).
 *
 * Where reading and writing are those of ssl.SSLObject itself, and its OpenSSL
 * can be called (libssl.h), that is done instead, past the BIOs; the handshake
 * and the end are the object's either way.
 *
 * Filters stack: the bytes that the upper one makes are the plaintext of the
 * one below (TLS inside TLS, through an HTTPS proxy).
 *
 * Each call into an object, or into OpenSSL, which calls back (server names,
 * messages), can run anything: the filter is busy meanwhile, and what is asked
 * of it from inside waits or is refused.  Where it is let go of from inside it
 * lives until that call is over.
 *
 * Ownership: a filter owns its three objects and the filter below it.
 */
#ifndef PYWS_TLS_H
#define PYWS_TLS_H

#include "ssl_module.h"

struct pyws_tls;

/* pyws_tls_new makes a filter of the socket; pyws_tls_put puts it on top of
 * |below|, which it takes over.  |wrap| is called for the SSLObject over the
 * two BIOs.  NULL with an exception set. */
struct pyws_tls *pyws_tls_new(pyws_state *state, PyObject *wrap,
                              PyObject *incoming, PyObject *outgoing);
void pyws_tls_put(struct pyws_tls *t, struct pyws_tls *below);

/* pyws_tls_object returns the SSLObject; borrowed. */
PyObject *pyws_tls_object(const struct pyws_tls *t);

/* pyws_tls_is_direct returns whether OpenSSL is called past the objects. */
int pyws_tls_is_direct(const struct pyws_tls *t);

/* pyws_tls_is_busy returns whether a call of ours is on the stack: only
 * pyws_tls_defer(), pyws_tls_waiting() and pyws_tls_free() are for then. */
int pyws_tls_is_busy(const struct pyws_tls *t);

/* pyws_tls_free drops |t| and everything below it, once it is not busy; NULL
 * does nothing. */
void pyws_tls_free(struct pyws_tls *t);

int pyws_tls_traverse(struct pyws_tls *t, visitproc visit, void *arg);

/* What follows returns an error, ConnectionResetError at least, where |t| was
 * let go of from inside: it is gone then. */

/* pyws_tls_room gives room for ciphertext from the socket, pyws_tls_took says
 * that |n| > 0 bytes came, pyws_tls_leave that none came.  0 or -1. */
int pyws_tls_room(struct pyws_tls *t, uint8_t **room, size_t *len);
int pyws_tls_took(struct pyws_tls *t, size_t n);
void pyws_tls_leave(struct pyws_tls *t);

/* pyws_tls_handshake goes on with the handshake of the upper filter. */
enum pyws_tls_result pyws_tls_handshake(struct pyws_tls *t);

/* pyws_tls_ready returns DONE where a read may find something without more from
 * the socket. */
enum pyws_tls_result pyws_tls_ready(struct pyws_tls *t);

/* pyws_tls_read decrypts up to |len| bytes to |room| and stores their number.
 * |into| is the object whose writable buffer that is; the caller owns a
 * reference to it, and to the memory. */
enum pyws_tls_result pyws_tls_read(struct pyws_tls *t, PyObject *into,
                                   uint8_t *room, size_t len, size_t *got);

/* pyws_tls_write encrypts |n| bytes.  What cannot be encrypted yet (the peer
 * asked for a new handshake) waits for pyws_tls_retry().  0 or -1. */
int pyws_tls_write(struct pyws_tls *t, const uint8_t *p, size_t n);

/* pyws_tls_defer has |bytes| wait for pyws_tls_retry(), behind all else: they
 * were written from inside of a busy filter.  0 or -1. */
int pyws_tls_defer(struct pyws_tls *t, PyObject *bytes);

/* pyws_tls_retry encrypts what waited.  0 or -1. */
int pyws_tls_retry(struct pyws_tls *t);

/* pyws_tls_waiting returns how many bytes wait for that. */
size_t pyws_tls_waiting(const struct pyws_tls *t);

/* pyws_tls_end makes the close_notify of every filter, the upper one's first.
 * 0 or -1. */
int pyws_tls_end(struct pyws_tls *t);

/* pyws_tls_take takes out the ciphertext for the socket: |*n| bytes at |*p|,
 * maybe none, which stay until pyws_tls_taken() or until something is written.
 * 0 or -1. */
int pyws_tls_take(struct pyws_tls *t, const uint8_t **p, size_t *n);
void pyws_tls_taken(struct pyws_tls *t);

/* What one record holds: larger writes are cut. */
#define PYWS_TLS_RECORD 16384

#endif /* PYWS_TLS_H */
