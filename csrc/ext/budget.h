/* budget.h - what one turn of a poller may still do, about a millisecond. */
#ifndef PYWS_BUDGET_H
#define PYWS_BUDGET_H

#include <stddef.h>

#include "clock.h"

/* So many short frames are delivered in a millisecond. */
#define PYWS_BUDGET_FRAMES 640

struct pyws_budget {
    /* frames of all, and of the owner that is being served */
    int frames;
    int share;
    /* bytes of all */
    ptrdiff_t bytes;
};

static inline int
pyws_budget_is_left(const struct pyws_budget *budget)
{
    return budget->frames > 0 && budget->bytes > 0;
}

/* pyws_budget_charge takes off |*frames| what has been done since |begun|
 * (ws_clock_us): a step that takes as long as many frames, such as that of a
 * handshake. */
static inline void
pyws_budget_charge(int *frames, int64_t begun)
{
    int64_t us = ws_clock_us() - begun;
    if (us > 0) {
        *frames -= us >= 1000 ? PYWS_BUDGET_FRAMES
                              : (int)(us * PYWS_BUDGET_FRAMES / 1000);
    }
}

#endif /* PYWS_BUDGET_H */
