/* tls_layer.h - one layer of TLS: an ssl.SSLObject over two MemoryBIOs, or its
 * OpenSSL called past them.  tls.h puts layers on top of each other.
 *
 * Ownership: a layer owns its three objects.  The SSL is the SSLObject's; its
 * BIO refers to |io| until pyws_layer_close(), so a layer stays where it was
 * opened.
 */
#ifndef PYWS_TLS_LAYER_H
#define PYWS_TLS_LAYER_H

#include "libssl.h"
#include "ssl_module.h"

/* Whether a read may find something without more ciphertext. */
enum pyws_layer_input {
    PYWS_LAYER_INPUT_NONE,
    PYWS_LAYER_INPUT_SOME,
    /* the objects are to be asked */
    PYWS_LAYER_INPUT_UNKNOWN,
};

struct pyws_layer {
    pyws_state *state;
    PyObject *sslobj, *incoming, *outgoing;
    /* ssl is what |inner| wraps, where OpenSSL is called directly; else the
     * bytes go through the objects' methods. */
    struct ws_ssl *ssl;
    /* inner has the methods that are called, and keeps |ssl|. */
    PyObject *inner;
    /* io.in is ciphertext that came, io.out what is to be sent. */
    struct ws_ssl_io io;
    /* The bound methods of the data path: looked up once. */
    PyObject *read, *write, *pending, *put, *take;
    enum pyws_layer_input input;
    /* stock: inner is the ssl module's, inside of an ssl.SSLObject whose own
     * methods only pass their arguments on. */
    int stock;
    /* waiting is a list of bytes that could not be encrypted yet, or NULL;
     * waiting_len is how many they are. */
    PyObject *waiting;
    size_t waiting_len;
};

/* pyws_layer_open makes a layer of |l|, which is zeroed: |wrap| is called for
 * the SSLObject over the two BIOs.  0, or -1 with an exception set: there is
 * nothing to close. */
int pyws_layer_open(struct pyws_layer *l, pyws_state *state, PyObject *wrap,
                    PyObject *incoming, PyObject *outgoing);

/* pyws_layer_close drops what |l| owns. */
void pyws_layer_close(struct pyws_layer *l);

int pyws_layer_traverse(struct pyws_layer *l, visitproc visit, void *arg);

/* pyws_layer_room gives room for ciphertext, pyws_layer_took says that |n| > 0
 * bytes came, pyws_layer_leave that none came.  0, or -1 with an exception
 * set. */
int pyws_layer_room(struct pyws_layer *l, uint8_t **room, size_t *len);
int pyws_layer_took(struct pyws_layer *l, size_t n);
void pyws_layer_leave(struct pyws_layer *l);

/* pyws_layer_has_input returns whether the BIO or OpenSSL itself has something
 * to read: 1 or 0, -1 with an exception set. */
int pyws_layer_has_input(struct pyws_layer *l);

/* pyws_layer_handshake goes on with the handshake. */
enum pyws_tls_result pyws_layer_handshake(struct pyws_layer *l);

/* pyws_layer_read decrypts up to |len| bytes to |room| and stores their number;
 * pyws_layer_read_into has the objects decrypt straight to |room|, which is the
 * writable buffer of |into|; the caller owns a reference to that. */
enum pyws_tls_result pyws_layer_read(struct pyws_layer *l, uint8_t *room,
                                     size_t len, size_t *got);
enum pyws_tls_result pyws_layer_read_into(struct pyws_layer *l, PyObject *into,
                                          uint8_t *room, size_t len,
                                          size_t *got);

/* pyws_layer_write encrypts |n| bytes.  What cannot be encrypted yet waits for
 * pyws_layer_retry().  0, or -1 with an exception set. */
int pyws_layer_write(struct pyws_layer *l, const uint8_t *p, size_t n);
int pyws_layer_write_bytes(struct pyws_layer *l, PyObject *bytes);
int pyws_layer_retry(struct pyws_layer *l);

/* pyws_layer_end makes close_notify.  0, or -1 with an exception set; a
 * connection that has nothing left to end is no error. */
int pyws_layer_end(struct pyws_layer *l);

/* pyws_layer_collect brings all ciphertext that there is into |io.out|.  0, or
 * -1 with an exception set. */
int pyws_layer_collect(struct pyws_layer *l);

#endif /* PYWS_TLS_LAYER_H */
