/* entropy_posix.c - getrandom() on Linux, arc4random_buf() where the C library
 * has it (macOS, the BSDs), /dev/urandom on any other POSIX system. */
#ifndef _WIN32

#  if defined(__linux__)
#    define _GNU_SOURCE
#  endif

#  include "entropy.h"

#  if defined(__linux__)

#    include <errno.h>
#    include <sys/random.h>

int
ws_entropy_fill(void *dst, size_t n)
{
    uint8_t *at = dst;
    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            return -1;
        }
        at += got;
        n -= (size_t)got;
    }
    return 0;
}

#  elif defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__) || \
      defined(__NetBSD__) || defined(__DragonFly__)

#    include <stdlib.h>

int
ws_entropy_fill(void *dst, size_t n)
{
    arc4random_buf(dst, n);
    return 0;
}

#  else

#    include <stdio.h>

int
ws_entropy_fill(void *dst, size_t n)
{
    FILE *f = fopen("/dev/urandom", "rb");
    if (f == NULL) {
        return -1;
    }
    size_t got = fread(dst, 1, n, f);
    fclose(f);
    return got == n ? 0 : -1;
}

#  endif

#else
typedef int ws_entropy_posix_is_empty;
#endif
