/* sockio_win.c - Windows has no descriptor that could be used behind the
 * proactor's back: nothing is taken, and everything goes through the loop. */
#ifdef _WIN32

#  include "sockio.h"

size_t
ws_sock_send(int fd, const void *p, size_t n)
{
    (void)fd;
    (void)p;
    (void)n;
    return 0;
}

size_t
ws_sock_send2(int fd, const void *a, size_t an, const void *b, size_t bn)
{
    (void)fd;
    (void)a;
    (void)an;
    (void)b;
    (void)bn;
    return 0;
}

#else
typedef int ws_sockio_win_is_empty;
#endif
