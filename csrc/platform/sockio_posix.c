/* sockio_posix.c - send(2) and sendmsg(2). */
#ifndef _WIN32

#  include <errno.h>
#  include <sys/types.h>
#  include <sys/socket.h>
#  include <sys/uio.h>

#  include "sockio.h"

#  ifndef MSG_NOSIGNAL
#    define MSG_NOSIGNAL 0 /* CPython ignores SIGPIPE anyway */
#  endif

size_t
ws_sock_send(int fd, const void *p, size_t n)
{
    ssize_t took;
    do {
        took = send(fd, p, n, MSG_NOSIGNAL);
    } while (took < 0 && errno == EINTR);
    return took < 0 ? 0 : (size_t)took;
}

size_t
ws_sock_send2(int fd, const void *a, size_t an, const void *b, size_t bn)
{
    struct iovec parts[2] = {
        {.iov_base = (void *)a, .iov_len = an},
        {.iov_base = (void *)b, .iov_len = bn},
    };
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t took;
    do {
        took = sendmsg(fd, &message, MSG_NOSIGNAL);
    } while (took < 0 && errno == EINTR);
    return took < 0 ? 0 : (size_t)took;
}

#else
typedef int ws_sockio_posix_is_empty;
#endif
