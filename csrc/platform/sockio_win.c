/* sockio_win.c - Windows has no descriptor that could be used behind the
 * proactor's back: nothing is taken, and everything goes through the loop. */
#ifdef _WIN32

#  include <errno.h>

#  include "sockio.h"

int
ws_sock_would_block(ptrdiff_t result)
{
    return result == -EAGAIN;
}

ptrdiff_t
ws_sock_send(int fd, const void *p, size_t n)
{
    (void)fd;
    (void)p;
    (void)n;
    return -EAGAIN;
}

ptrdiff_t
ws_sock_sendv(int fd, const struct ws_queue_span *spans, size_t count)
{
    (void)fd;
    (void)spans;
    (void)count;
    return -EAGAIN;
}

#else
typedef int ws_sockio_win_is_empty;
#endif
