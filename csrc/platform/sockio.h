/* sockio.h - moving bytes through a non-blocking stream socket.
 *
 * Every call returns what the system did: a count, or an errno value as a
 * negative number.  A call that a signal interrupted is made again.
 */
#ifndef WS_SOCKIO_H
#define WS_SOCKIO_H

#include "ws_base.h"
#include "ws_queue.h"

/* WS_SOCKIO says whether the system has descriptors to use directly. */
#ifdef _WIN32
#  define WS_SOCKIO 0
#else
#  define WS_SOCKIO 1
#endif

/* ws_sock_would_block returns whether |result| only says "not now". */
int ws_sock_would_block(ptrdiff_t result);

/* ws_sock_recv receives up to |n| bytes to |p|; 0 is the end of the stream. */
ptrdiff_t ws_sock_recv(int fd, void *p, size_t n);

/* ws_sock_unread returns how many bytes recv() could give now; 0 where that is
 * not known. */
size_t ws_sock_unread(int fd);

/* ws_sock_peek returns whether recv() would give something: 1, 0 at the end of
 * the stream, -EAGAIN where nothing is there.  An error that it returns is
 * taken from the socket. */
ptrdiff_t ws_sock_peek(int fd);

/* ws_sock_send sends up to |n| bytes at |p|.  Never raises SIGPIPE where the
 * system lets us say so. */
ptrdiff_t ws_sock_send(int fd, const void *p, size_t n);

/* ws_sock_sendv sends several runs of bytes, one behind the other, in one call
 * to the system; at most WS_SOCK_SPANS of them. */
#define WS_SOCK_SPANS 16
ptrdiff_t ws_sock_sendv(int fd, const struct ws_queue_span *spans,
                        size_t count);

/* The address of an IP socket. */
struct ws_sock_addr {
    /* version is 4, 6, or 0 where it is none of an IP socket. */
    int version;
    /* host is the address as text, without a zone. */
    char host[46];
    unsigned port, flowinfo, scope_id;
};

/* ws_sock_accept takes one connection off the listening |fd| and stores whose
 * it is in |*peer|; the new descriptor is non-blocking and not inherited by
 * exec. */
ptrdiff_t ws_sock_accept(int fd, struct ws_sock_addr *peer);

/* ws_sock_error takes the error that waits at the socket, 0 for none. */
int ws_sock_error(int fd);

/* ws_sock_end_writing sends the end of our side (FIN) behind what was sent.
 * Returns 0 or -errno. */
int ws_sock_end_writing(int fd);

/* ws_sock_dup returns a copy of the descriptor, which is not inherited by exec,
 * or -errno. */
int ws_sock_dup(int fd);

/* ws_sock_shut ends the connection, both ways, and keeps the descriptor. */
void ws_sock_shut(int fd);

/* ws_sock_close closes |fd|.  |shut| ends the connection first, so that a copy
 * of the descriptor in another process does not keep the peer waiting. */
void ws_sock_close(int fd, int shut);

/* ws_sock_is_temporary returns whether accepting failed for want of something
 * that may come back: descriptors or memory. */
int ws_sock_is_temporary(ptrdiff_t result);

#endif /* WS_SOCKIO_H */
