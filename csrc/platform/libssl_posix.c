/* libssl_posix.c - by dlsym(), from what the ssl module has loaded. */
#ifndef _WIN32

#  include <dlfcn.h>
#  include <pthread.h>
#  include <string.h>

#  include "libssl.h"

/* OpenSSL's types are opaque to us; its numbers are part of its ABI. */
typedef struct ws_ssl SSL;
typedef void BIO;

#  define LIBSSL_EX_INDEX_SSL 0
#  define LIBSSL_APP_DATA 0
#  define LIBSSL_ERROR_WANT_READ 2
#  define LIBSSL_ERROR_ZERO_RETURN 6
#  define LIBSSL_BIO_SOURCE_SINK 0x0400
#  define LIBSSL_BIO_RETRY_FLAGS 0x0f
#  define LIBSSL_BIO_RETRY_READ 0x09
#  define LIBSSL_BIO_CTRL_PENDING 10
#  define LIBSSL_BIO_CTRL_FLUSH 11

typedef void libssl_ex_call(void *parent, void *ptr, void *ad, int index,
                            long argl, void *argp);

/* The functions, in the order of libssl_names. */
static struct {
    int (*CRYPTO_get_ex_new_index)(int, long, void *, libssl_ex_call *, void *,
                                   libssl_ex_call *);
    int (*SSL_read_ex)(SSL *, void *, size_t, size_t *);
    int (*SSL_write_ex)(SSL *, const void *, size_t, size_t *);
    int (*SSL_pending)(const SSL *);
    int (*SSL_get_error)(const SSL *, int);
    BIO *(*SSL_get_rbio)(const SSL *);
    void *(*SSL_get_ex_data)(const SSL *, int);
    void (*SSL_set_bio)(SSL *, BIO *, BIO *);
    int (*BIO_get_new_index)(void);
    void *(*BIO_meth_new)(int, const char *);
    int (*BIO_meth_set_read)(void *, int (*)(BIO *, char *, int));
    int (*BIO_meth_set_write)(void *, int (*)(BIO *, const char *, int));
    int (*BIO_meth_set_ctrl)(void *, long (*)(BIO *, int, long, void *));
    BIO *(*BIO_new)(const void *);
    void (*BIO_set_data)(BIO *, void *);
    void *(*BIO_get_data)(BIO *);
    void (*BIO_set_init)(BIO *, int);
    void (*BIO_set_flags)(BIO *, int);
    void (*BIO_clear_flags)(BIO *, int);
    size_t (*BIO_ctrl_pending)(BIO *);
    unsigned long (*ERR_peek_error)(void);
    unsigned long (*ERR_peek_last_error)(void);
    const char *(*ERR_reason_error_string)(unsigned long);
    void (*ERR_clear_error)(void);
} libssl;

static const char *const libssl_names[] = {
    "CRYPTO_get_ex_new_index",
    "SSL_read_ex",
    "SSL_write_ex",
    "SSL_pending",
    "SSL_get_error",
    "SSL_get_rbio",
    "SSL_get_ex_data",
    "SSL_set_bio",
    "BIO_get_new_index",
    "BIO_meth_new",
    "BIO_meth_set_read",
    "BIO_meth_set_write",
    "BIO_meth_set_ctrl",
    "BIO_new",
    "BIO_set_data",
    "BIO_get_data",
    "BIO_set_init",
    "BIO_set_flags",
    "BIO_clear_flags",
    "BIO_ctrl_pending",
    "ERR_peek_error",
    "ERR_peek_last_error",
    "ERR_reason_error_string",
    "ERR_clear_error",
};

_Static_assert(sizeof(libssl) / sizeof(void *) ==
                   sizeof(libssl_names) / sizeof(libssl_names[0]),
               "a name for each function");

/* Our kind of BIO; NULL where there is no direct way. */
static void *libssl_method;

/* What this thread has made since ws_ssl_watch(). */
static _Thread_local SSL *made_last;
static _Thread_local int made_count;

/* Why the last call of this thread failed. */
static _Thread_local const char *last_error;

static void
ssl_is_made(void *parent, void *ptr, void *ad, int index, long argl, void *argp)
{
    (void)ptr;
    (void)ad;
    (void)index;
    (void)argl;
    (void)argp;
    made_last = parent;
    made_count++;
}

static void
ssl_is_freed(void *parent, void *ptr, void *ad, int index, long argl,
             void *argp)
{
    (void)ptr;
    (void)ad;
    (void)index;
    (void)argl;
    (void)argp;
    if (made_last == parent) {
        made_last = NULL;
    }
}

/* ---- the BIO: two rings ---- */

static int
rings_read(BIO *bio, char *p, int n)
{
    struct ws_ssl_io *io = libssl.BIO_get_data(bio);

    libssl.BIO_clear_flags(bio, LIBSSL_BIO_RETRY_FLAGS);
    if (io == NULL || n <= 0) {
        return -1;
    }
    io->used = 1;
    size_t len = ws_ring_len(&io->in);
    if (len == 0) {
        libssl.BIO_set_flags(bio, LIBSSL_BIO_RETRY_READ);
        return -1;
    }
    if (len > (size_t)n) {
        len = (size_t)n;
    }
    const uint8_t *from = ws_ring_peek(&io->in);
    WS_ASSERT(from != NULL); /* there is something in it */
    memcpy(p, from, len);
    ws_ring_consume(&io->in, len);
    return (int)len;
}

static int
rings_write(BIO *bio, const char *p, int n)
{
    struct ws_ssl_io *io = libssl.BIO_get_data(bio);

    libssl.BIO_clear_flags(bio, LIBSSL_BIO_RETRY_FLAGS);
    if (io == NULL || n <= 0) {
        return -1;
    }
    io->used = 1;
    return ws_ring_append(&io->out, p, (size_t)n) != 0 ? -1 : n;
}

static long
rings_ctrl(BIO *bio, int command, long number, void *p)
{
    struct ws_ssl_io *io;

    (void)number;
    (void)p;
    switch (command) {
    case LIBSSL_BIO_CTRL_FLUSH:
        return 1;
    case LIBSSL_BIO_CTRL_PENDING:
        io = libssl.BIO_get_data(bio);
        return io == NULL ? 0 : (long)ws_ring_len(&io->in);
    default:
        return 0;
    }
}

/* ---- loading ---- */

static const char *load_path;

static void
libssl_load(void)
{
    /* It is loaded: this finds it, and keeps it from being unloaded. */
    void *module = dlopen(load_path, RTLD_LAZY | RTLD_NOLOAD);
    char *slot = (char *)&libssl;

    if (module == NULL) {
        return;
    }
    for (size_t i = 0; i < sizeof(libssl_names) / sizeof(libssl_names[0]);
         i++, slot += sizeof(void *)) {
        void *found = dlsym(module, libssl_names[i]);
        if (found == NULL) {
            return;
        }
        memcpy(slot, &found, sizeof(found));
    }
    void *method = libssl.BIO_meth_new(
        libssl.BIO_get_new_index() | LIBSSL_BIO_SOURCE_SINK, "picows_c");
    if (method == NULL || !libssl.BIO_meth_set_read(method, rings_read) ||
        !libssl.BIO_meth_set_write(method, rings_write) ||
        !libssl.BIO_meth_set_ctrl(method, rings_ctrl) ||
        libssl.CRYPTO_get_ex_new_index(LIBSSL_EX_INDEX_SSL, 0, NULL,
                                       ssl_is_made, NULL, ssl_is_freed) < 0) {
        return;
    }
    libssl_method = method;
}

int
ws_ssl_load(const char *path)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

    (void)pthread_mutex_lock(&lock);
    load_path = path;
    (void)pthread_once(&once, libssl_load);
    load_path = NULL;
    (void)pthread_mutex_unlock(&lock);
    return libssl_method != NULL;
}

/* ---- finding ---- */

void
ws_ssl_watch(void)
{
    made_last = NULL;
    made_count = 0;
}

struct ws_ssl *
ws_ssl_made(void)
{
    SSL *ssl = made_count == 1 ? made_last : NULL;
    ws_ssl_watch();
    return ssl;
}

const void *
ws_ssl_owner(const struct ws_ssl *ssl)
{
    return libssl.SSL_get_ex_data(ssl, LIBSSL_APP_DATA);
}

size_t
ws_ssl_has_input(struct ws_ssl *ssl)
{
    BIO *bio = libssl.SSL_get_rbio(ssl);
    return bio == NULL ? 0 : libssl.BIO_ctrl_pending(bio);
}

int
ws_ssl_enter(struct ws_ssl *ssl, struct ws_ssl_io *io)
{
    BIO *bio = libssl.BIO_new(libssl_method);
    if (bio == NULL) {
        libssl.ERR_clear_error();
        return -1;
    }
    libssl.BIO_set_data(bio, io);
    libssl.BIO_set_init(bio, 1);
    io->bio = bio;
    libssl.SSL_set_bio(ssl, bio, bio);
    return 0;
}

void
ws_ssl_leave(struct ws_ssl_io *io)
{
    if (io->bio != NULL) {
        libssl.BIO_set_data(io->bio, NULL);
        io->bio = NULL;
    }
}

/* ---- the way of the bytes ---- */

/* The thread's queue of errors is to be empty before a call, so that what is in
 * it afterwards is the call's.  Emptying costs more than looking. */
static void
ssl_begin(void)
{
    if (WS_UNLIKELY(libssl.ERR_peek_error() != 0)) {
        libssl.ERR_clear_error();
    }
}

/* Why a call failed; the queue of errors was empty before it. */
static enum ws_ssl_result
ssl_failed(const SSL *ssl)
{
    int error = libssl.SSL_get_error(ssl, 0);
    last_error = libssl.ERR_reason_error_string(libssl.ERR_peek_last_error());
    libssl.ERR_clear_error();
    switch (error) {
    case LIBSSL_ERROR_WANT_READ:
        return WS_SSL_AGAIN;
    case LIBSSL_ERROR_ZERO_RETURN:
        return WS_SSL_END;
    default:
        return WS_SSL_ERROR;
    }
}

enum ws_ssl_result
ws_ssl_read(struct ws_ssl *ssl, void *p, size_t n, size_t *got)
{
    ssl_begin();
    return libssl.SSL_read_ex(ssl, p, n, got) == 1 ? WS_SSL_DONE
                                                   : ssl_failed(ssl);
}

enum ws_ssl_result
ws_ssl_write(struct ws_ssl *ssl, const void *p, size_t n)
{
    size_t took = 0;

    ssl_begin();
    if (libssl.SSL_write_ex(ssl, p, n, &took) == 1) {
        return WS_SSL_DONE;
    }
    return ssl_failed(ssl) == WS_SSL_AGAIN ? WS_SSL_AGAIN : WS_SSL_ERROR;
}

size_t
ws_ssl_pending(const struct ws_ssl *ssl)
{
    int n = libssl.SSL_pending(ssl);
    return n > 0 ? (size_t)n : 0;
}

const char *
ws_ssl_error(void)
{
    return last_error;
}

#else
typedef int ws_libssl_posix_is_empty;
#endif
