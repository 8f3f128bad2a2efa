/* entropy.h - masking keys from the operating system's entropy (RFC 6455,
 * 10.3: "The masking key needs to be unpredictable", 5.3: "The masking key
 * MUST be derived from a strong source of entropy").
 *
 * One ws_entropy for each connection that masks: no lock, and little is lost
 * when it goes.  After fork() parent and child would hand out the same keys, so
 * the pool is bound to a generation number that the binding changes in the
 * child.
 */
#ifndef WS_ENTROPY_H
#define WS_ENTROPY_H

#include "ws_base.h"

/* One refill; 64 keys. */
#define WS_ENTROPY_POOL 256

struct ws_entropy {
    /* left is how many bytes at the pool's end were not handed out. */
    size_t left;
    /* generation is the one of the last refill. */
    unsigned generation;
    uint8_t pool[WS_ENTROPY_POOL];
};

/* ws_entropy_init makes an empty pool: the first key refills it. */
void ws_entropy_init(struct ws_entropy *e);

/* ws_entropy_key stores 4 unpredictable bytes in |key|.  A |generation| other
 * than the last one empties the pool first.  Returns 0, or -1 where the
 * operating system has no entropy to give; |key| is unchanged then. */
int ws_entropy_key(struct ws_entropy *e, unsigned generation, uint8_t key[4]);

/* ws_entropy_fill stores |n| unpredictable bytes at |dst|; entropy_posix.c and
 * entropy_win.c.  Returns 0 or -1. */
int ws_entropy_fill(void *dst, size_t n);

#endif /* WS_ENTROPY_H */
