/* libssl_win.c - no poller, no filters of ours: nothing to be called. */
#ifdef _WIN32

#  include "libssl.h"

int
ws_ssl_load(const char *path)
{
    (void)path;
    return 0;
}

void
ws_ssl_watch(void)
{
}

struct ws_ssl *
ws_ssl_made(void)
{
    return NULL;
}

size_t
ws_ssl_has_input(struct ws_ssl *ssl)
{
    (void)ssl;
    return 0;
}

const void *
ws_ssl_owner(const struct ws_ssl *ssl)
{
    (void)ssl;
    return NULL;
}

int
ws_ssl_enter(struct ws_ssl *ssl, struct ws_ssl_io *io)
{
    (void)ssl;
    (void)io;
    return -1;
}

void
ws_ssl_leave(struct ws_ssl_io *io)
{
    (void)io;
}

enum ws_ssl_result
ws_ssl_read(struct ws_ssl *ssl, void *p, size_t n, size_t *got)
{
    (void)ssl;
    (void)p;
    (void)n;
    *got = 0;
    return WS_SSL_ERROR;
}

enum ws_ssl_result
ws_ssl_write(struct ws_ssl *ssl, const void *p, size_t n)
{
    (void)ssl;
    (void)p;
    (void)n;
    return WS_SSL_ERROR;
}

size_t
ws_ssl_pending(const struct ws_ssl *ssl)
{
    (void)ssl;
    return 0;
}

const char *
ws_ssl_error(void)
{
    return NULL;
}

#else
typedef int ws_libssl_win_is_empty;
#endif
