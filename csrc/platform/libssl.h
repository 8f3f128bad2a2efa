/* libssl.h - the OpenSSL that Python's ssl module runs on, called directly.
 *
 * Nothing is linked: the functions are looked up in the library that the ssl
 * module has loaded, all of them public and the same from OpenSSL 1.1.1 on.
 * Where one is missing, or the module has OpenSSL inside itself, there is no
 * direct way, and the caller keeps to the module's objects.
 *
 * How the SSL of a Python object is found without looking into the object:
 * OpenSSL tells whoever has reserved room in each SSL of a new one.  Whoever
 * hears nothing talks to another copy of the library.
 *
 * Ownership: an SSL belongs to the Python object that made it; the rings to the
 * caller, who calls ws_ssl_leave() before they or the SSL go.
 */
#ifndef WS_LIBSSL_H
#define WS_LIBSSL_H

#include "ws_base.h"
#include "ws_ring.h"

/* An SSL of OpenSSL. */
struct ws_ssl;

/* ws_ssl_load looks the functions up in what the shared library at |path|, the
 * ssl module's, has loaded; the first call decides for the process.  1 or 0. */
int ws_ssl_load(const char *path);

/* ws_ssl_watch begins to look for an SSL that this thread makes; ws_ssl_made
 * ends that and returns it, NULL where none was made, or several. */
void ws_ssl_watch(void);
struct ws_ssl *ws_ssl_made(void);

/* ws_ssl_owner returns the object of the ssl module that has made |ssl| and
 * keeps it, NULL for none. */
const void *ws_ssl_owner(const struct ws_ssl *ssl);

/* ws_ssl_has_input returns how many bytes lie in |ssl|'s own BIO. */
size_t ws_ssl_has_input(struct ws_ssl *ssl);

/* What |ssl| reads and writes. */
struct ws_ssl_io {
    /* bio is OpenSSL's; borrowed from the SSL. */
    void *bio;
    /* in is the ciphertext that came, out what is to be sent. */
    struct ws_ring in, out;
    /* used is set by each read and write of the SSL. */
    int used;
};

/* ws_ssl_enter has |ssl| read from |io->in| and write to |io->out|, which are
 * initialized, instead of its own BIOs.  0, or -1: out of memory, nothing has
 * changed. */
int ws_ssl_enter(struct ws_ssl *ssl, struct ws_ssl_io *io);

/* ws_ssl_leave cuts the SSL off from |io|: it meets an error. */
void ws_ssl_leave(struct ws_ssl_io *io);

/* What a call did. */
enum ws_ssl_result {
    WS_SSL_ERROR = -1,
    WS_SSL_AGAIN = 0, /* more input is needed */
    WS_SSL_DONE = 1,
    WS_SSL_END = 2, /* the peer sent close_notify */
};

/* ws_ssl_read decrypts up to |n| > 0 bytes, of one record. */
enum ws_ssl_result ws_ssl_read(struct ws_ssl *ssl, void *p, size_t n,
                               size_t *got);

/* ws_ssl_write encrypts |n| > 0 bytes, all or none. */
enum ws_ssl_result ws_ssl_write(struct ws_ssl *ssl, const void *p, size_t n);

/* ws_ssl_pending returns how many decrypted bytes OpenSSL holds. */
size_t ws_ssl_pending(const struct ws_ssl *ssl);

/* ws_ssl_error returns why the last call of this thread failed, NULL where
 * nobody knows. */
const char *ws_ssl_error(void);

#endif /* WS_LIBSSL_H */
