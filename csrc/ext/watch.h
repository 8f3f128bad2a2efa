/* watch.h - the table behind a poller: which descriptor belongs to whom, and
 * who is to be served without an event.
 *
 * A descriptor's event carries its slot and the slot's generation, never a
 * pointer: an event that was fetched before its owner went, and the slot found
 * a new one, is recognised as stale.
 *
 * Ownership: a slot owns a reference to its owner, dropped by
 * pyws_watch_remove(); the poller owns the table and its kernel object.
 */
#ifndef PYWS_WATCH_H
#define PYWS_WATCH_H

#include "compat.h"
#include "ws_poll.h"

/* No slot. */
#define PYWS_NO_SLOT UINT32_MAX

/* The kinds of owner. */
enum pyws_kind {
    PYWS_FREE,
    PYWS_STREAM,
    PYWS_ACCEPTOR,
};

struct pyws_slot {
    PyObject *owner;
    int fd;
    uint32_t generation;
    /* next is the next free slot while this one is free. */
    uint32_t next;
    uint8_t kind;
    /* bits is what the kernel watches for, once watched is 1. */
    uint8_t bits, watched;
    /* pends is 1 while the slot stands in the queue of those to be served
     * without an event; carried is what an event said that waits there. */
    uint8_t pends, carried;
};

struct pyws_watch {
    /* poll is the kernel object; -1 once it is gone: closed, or ours no more
     * after a fork. */
    int poll;
    /* waker belongs to it: see ws_poll_open(). */
    int waker;
    struct pyws_slot *slots;
    uint32_t cap, used, free;
    /* pending is a circular queue of tokens, |pending_len| of them from
     * |pending_at| on; it has room for each slot once, as |slots|. */
    uint64_t *pending;
    uint32_t pending_at, pending_len;
    /* hot is the token to ask first, hot_left how often more. */
    uint64_t hot;
    int hot_left;
    /* direct is the token of the socket whose input the loop itself watches
     * for: the system has one object less to look through; 0 for none. */
    uint64_t direct;
    /* direct_fd is the descriptor that the loop has a reader for: that of
     * direct, or one that the next turn takes back; -1 for none.
     * direct_ended: its owner is gone, and it is closed then. */
    int direct_fd;
    uint8_t direct_ended;
    uint8_t joining; /* 1 while the loop gets the reader */
    /* busy_until is the moment (ws_clock_us) until which the kernel is asked
     * again and again; 0 for not at all. */
    int64_t busy_until;
    /* wake is called when something pends: there will be no event for it. */
    int (*wake)(struct pyws_watch *w);
    /* first and last are called for the first owner and after the last one.
     * Return 0, or -1 with an exception set. */
    int (*first)(struct pyws_watch *w);
    void (*last)(struct pyws_watch *w);
    /* join has the loop watch |fd| for input, leave ends that.  0, or -1 with
     * an exception set: whatever the loop has of it then. */
    int (*join)(struct pyws_watch *w, int fd);
    int (*leave)(struct pyws_watch *w, int fd);
};

/* What a poller object begins with. */
typedef struct {
    PyObject_HEAD
    /* thread is the one that last ran the loop. */
    unsigned long thread;
    struct pyws_watch watch;
} pyws_watcher;

/* pyws_watch_init makes an empty table over a new kernel object; where there is
 * none |w->poll| is -1, and errno set. */
void pyws_watch_init(struct pyws_watch *w);

/* pyws_watch_free frees the table's memory; no slot has an owner any more. */
void pyws_watch_free(struct pyws_watch *w);

/* pyws_watch_add gives |fd| to |owner| and stores the slot; nothing is watched
 * yet. Returns 0, or -1 with RuntimeError, MemoryError or what the loop raises
 * set. */
int pyws_watch_add(struct pyws_watch *w, int fd, enum pyws_kind kind,
                   PyObject *owner, uint32_t *slot);

/* pyws_watch_bits watches the slot's descriptor for |bits| from now on. Returns
 * 0, or -1 with OSError set. */
int pyws_watch_bits(struct pyws_watch *w, uint32_t slot, unsigned bits);

/* pyws_watch_direct has the loop watch for the input of |token|, which is
 * watched for WS_POLL_IN alone, in place of the one before.  Another wish, and
 * the end, say that this is over; pyws_watch_take_back tells the loop.  Both
 * run Python: not while a frame is written.  -1 with an exception set: try
 * again. */
int pyws_watch_direct(struct pyws_watch *w, uint64_t token);
int pyws_watch_take_back(struct pyws_watch *w);

/* pyws_watch_drop_direct forgets it: the loop has been told, or is gone. */
void pyws_watch_drop_direct(struct pyws_watch *w);

/* pyws_watch_remove ends watching, before the descriptor is closed, and drops
 * the owner's reference: the caller holds one of its own.  Returns 1 where the
 * loop could not let go of the descriptor: it is to be shut down, and the table
 * closes it. */
int pyws_watch_remove(struct pyws_watch *w, uint32_t slot);

/* pyws_watch_pend has the slot's owner served without an event, behind those
 * who wait already.  Returns 0, or -1 with an exception set.  pyws_watch_carry
 * does the same for an event that there is no time for now; the caller comes
 * back. */
int pyws_watch_pend(struct pyws_watch *w, uint32_t slot);
void pyws_watch_carry(struct pyws_watch *w, uint64_t token, unsigned bits);

/* pyws_watch_next takes the first of them out of the queue: its token and what
 * its event said.  0 where nobody waits. */
int pyws_watch_next(struct pyws_watch *w, uint64_t *token, unsigned *bits);

/* pyws_watch_find returns the slot that |token| means; NULL where it is
 * stale. */
struct pyws_slot *pyws_watch_find(struct pyws_watch *w, uint64_t token);

/* pyws_watch_find_fd returns the slot of the descriptor |fd|, NULL where there
 * is none; it looks at all of them. */
struct pyws_slot *pyws_watch_find_fd(struct pyws_watch *w, int fd);

/* pyws_watch_token returns the token of a slot that has an owner. */
static inline uint64_t
pyws_watch_token(const struct pyws_watch *w, uint32_t slot)
{
    return (uint64_t)w->slots[slot].generation << 32 | slot;
}

#endif /* PYWS_WATCH_H */
