/* clock_posix.c - CLOCK_MONOTONIC; its coarse kind where there is one, which
 * costs a few loads. */
#ifndef _WIN32

#  define _POSIX_C_SOURCE 200809L
#  if defined(__linux__)
#    define _GNU_SOURCE
#  endif

#  include "clock.h"

#  include <time.h>

int64_t
ws_clock_ms(void)
{
    struct timespec now;
#  ifdef CLOCK_MONOTONIC_COARSE
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
#  else
    clock_gettime(CLOCK_MONOTONIC, &now);
#  endif
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t
ws_clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

#endif
