/* sockio_posix.c - sockets on Linux, macOS and the BSDs. */
#ifndef _WIN32

#  if defined(__linux__)
#    define _GNU_SOURCE /* accept4() */
#  endif

#  include <errno.h>
#  include <arpa/inet.h>
#  include <fcntl.h>
#  include <netinet/in.h>
#  include <string.h>
#  include <sys/ioctl.h>
#  include <sys/types.h>
#  include <sys/socket.h>
#  include <sys/uio.h>
#  include <unistd.h>

#  include "sockio.h"

#  ifndef MSG_NOSIGNAL
#    define MSG_NOSIGNAL 0 /* CPython ignores SIGPIPE anyway */
#  endif

int
ws_sock_would_block(ptrdiff_t result)
{
    return result == -EAGAIN || result == -EWOULDBLOCK;
}

int
ws_sock_is_temporary(ptrdiff_t result)
{
    return result == -EMFILE || result == -ENFILE || result == -ENOBUFS ||
           result == -ENOMEM;
}

ptrdiff_t
ws_sock_recv(int fd, void *p, size_t n)
{
    ssize_t took;
    do {
        took = recv(fd, p, n, 0);
    } while (took < 0 && errno == EINTR);
    return took < 0 ? -errno : took;
}

size_t
ws_sock_unread(int fd)
{
    int n = 0;
    return ioctl(fd, FIONREAD, &n) == 0 && n > 0 ? (size_t)n : 0;
}

ptrdiff_t
ws_sock_peek(int fd)
{
    char byte;
    ssize_t took;
    do {
        took = recv(fd, &byte, 1, MSG_PEEK);
    } while (took < 0 && errno == EINTR);
    return took < 0 ? -errno : took;
}

ptrdiff_t
ws_sock_send(int fd, const void *p, size_t n)
{
    ssize_t took;
    do {
        took = send(fd, p, n, MSG_NOSIGNAL);
    } while (took < 0 && errno == EINTR);
    return took < 0 ? -errno : took;
}

ptrdiff_t
ws_sock_sendv(int fd, const struct ws_queue_span *spans, size_t count)
{
    struct iovec parts[WS_SOCK_SPANS];
    struct msghdr message = {.msg_iov = parts};
    ssize_t took;

    WS_ASSERT(count <= WS_SOCK_SPANS);
    for (size_t i = 0; i < count; i++) {
        parts[i].iov_base = (void *)spans[i].data;
        parts[i].iov_len = spans[i].len;
    }
    message.msg_iovlen = count;
    do {
        took = sendmsg(fd, &message, MSG_NOSIGNAL);
    } while (took < 0 && errno == EINTR);
    return took < 0 ? -errno : took;
}

static void
sock_addr(const struct sockaddr_storage *from, struct ws_sock_addr *to)
{
    memset(to, 0, sizeof(*to));
    if (from->ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, from, sizeof(in));
        to->port = ntohs(in.sin_port);
        if (inet_ntop(AF_INET, &in.sin_addr, to->host, sizeof(to->host))) {
            to->version = 4;
        }
    }
    else if (from->ss_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, from, sizeof(in));
        to->port = ntohs(in.sin6_port);
        to->flowinfo = ntohl(in.sin6_flowinfo);
        to->scope_id = in.sin6_scope_id;
        if (inet_ntop(AF_INET6, &in.sin6_addr, to->host, sizeof(to->host))) {
            to->version = 6;
        }
    }
}

ptrdiff_t
ws_sock_accept(int fd, struct ws_sock_addr *peer)
{
    struct sockaddr_storage from;
    socklen_t size;
    int taken;
    do {
        from.ss_family = AF_UNSPEC;
        size = sizeof(from);
#  if defined(__linux__) || defined(__FreeBSD__)
        taken = accept4(fd, (struct sockaddr *)&from, &size,
                        SOCK_NONBLOCK | SOCK_CLOEXEC);
#  else
        taken = accept(fd, (struct sockaddr *)&from, &size);
#  endif
    } while (taken < 0 && errno == EINTR);
    if (taken < 0) {
        return -errno;
    }
    sock_addr(&from, peer);
#  if !defined(__linux__) && !defined(__FreeBSD__)
    (void)fcntl(taken, F_SETFD, FD_CLOEXEC);
    (void)fcntl(taken, F_SETFL, fcntl(taken, F_GETFL) | O_NONBLOCK);
#  endif
#  ifdef SO_NOSIGPIPE
    int on = 1;
    (void)setsockopt(taken, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on));
#  endif
    return taken;
}

int
ws_sock_error(int fd)
{
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) {
        return errno;
    }
    return error;
}

int
ws_sock_end_writing(int fd)
{
    return shutdown(fd, SHUT_WR) < 0 ? -errno : 0;
}

int
ws_sock_dup(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return copy < 0 ? -errno : copy;
}

void
ws_sock_shut(int fd)
{
    (void)shutdown(fd, SHUT_RDWR);
}

void
ws_sock_close(int fd, int shut)
{
    if (shut) {
        ws_sock_shut(fd);
    }
    (void)close(fd);
}

#else
typedef int ws_sockio_posix_is_empty;
#endif
