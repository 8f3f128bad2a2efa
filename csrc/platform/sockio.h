/* sockio.h - handing bytes to a non-blocking stream socket. */
#ifndef WS_SOCKIO_H
#define WS_SOCKIO_H

#include "ws_base.h"

/* WS_SOCKIO says whether the system has descriptors to send to directly. */
#ifdef _WIN32
#  define WS_SOCKIO 0
#else
#  define WS_SOCKIO 1
#endif

/* ws_sock_send sends up to |n| bytes at |p| and returns how many the system
 * took; 0 where it took none, for whatever reason.  Never raises SIGPIPE where
 * the system lets us say so. */
size_t ws_sock_send(int fd, const void *p, size_t n);

/* ws_sock_send2 does the same for two runs of bytes, the second behind the
 * first, in one call to the system. */
size_t ws_sock_send2(int fd, const void *a, size_t an, const void *b,
                     size_t bn);

#endif /* WS_SOCKIO_H */
