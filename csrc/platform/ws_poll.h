/* ws_poll.h - one kernel object that watches many descriptors: epoll on Linux,
 * kqueue on macOS and the BSDs.  Level-triggered; it is watched itself by
 * the event loop, so waiting here never blocks.
 *
 * Ownership: ws_poll owns its own descriptor and none of those it watches:
 * remove one from it before closing it (a duplicate elsewhere would keep the
 * kernel's registration alive).
 */
#ifndef WS_POLL_H
#define WS_POLL_H

#include "ws_base.h"

/* WS_POLL_KIND names the implementation; without one there is no poller. */
#if defined(__linux__)
#  define WS_POLL_KIND "epoll"
#elif defined(__APPLE__) || defined(__FreeBSD__) || defined(__DragonFly__)
#  define WS_POLL_KIND "kqueue"
#endif

/* WS_POLL_QUIET: who is watched for WS_POLL_HUP alone costs nothing when data
 * comes.  (kqueue's read filter sees that, too.) */
#if defined(__linux__)
#  define WS_POLL_QUIET 1
#else
#  define WS_POLL_QUIET 0
#endif

/* What to watch for, and what happened. */
enum ws_poll_bits {
    WS_POLL_IN = 1,
    WS_POLL_OUT = 2,
    /* the peer shut down or reset: reported once, while IN is not watched */
    WS_POLL_HUP = 4,
    /* an error waits at the socket; only reported, never asked for */
    WS_POLL_ERR = 8,
};

struct ws_poll_event {
    /* token is what the descriptor was added with. */
    uint64_t token;
    unsigned bits;
};

/* The token of the waker: no slot has it. */
#define WS_POLL_WAKER UINT64_MAX

/* The most that one ws_poll_wait() reports. */
#define WS_POLL_BATCH 128

/* ws_poll_open returns a new descriptor, not inherited by exec, or -1 with
 * errno set.  |*waker| is a second one where waking takes one, else -1. */
int ws_poll_open(int *waker);

/* ws_poll_close closes both; what was watched is not touched. */
void ws_poll_close(int poll, int waker);

/* ws_poll_wake has |poll| be readable whatever happens, and ws_poll_wait()
 * report WS_POLL_WAKER, from now on; with |on| 0 no longer.  To be called where
 * that changes.  Returns 0 or -1 with errno. */
int ws_poll_wake(int poll, int waker, int on);

/* ws_poll_add begins to watch |fd| for |bits|.  Returns 0 or -1 with errno. */
int ws_poll_add(int poll, int fd, unsigned bits, uint64_t token);

/* ws_poll_change watches |fd| for |bits| instead of |old|.  Returns 0 or -1
 * with errno. */
int ws_poll_change(int poll, int fd, unsigned old, unsigned bits,
                   uint64_t token);

/* ws_poll_remove ends watching |fd|, which was watched for |old|. */
void ws_poll_remove(int poll, int fd, unsigned old);

/* ws_poll_wait stores up to |max| (at most WS_POLL_BATCH) events that are
 * there now and returns how many; -1 with errno set. */
int ws_poll_wait(int poll, struct ws_poll_event *events, int max);

#endif /* WS_POLL_H */
