#include "poller.h"

#ifdef WS_POLL_KIND

#  include "acceptor.h"
#  include "budget.h"
#  include "clock.h"
#  include "raise.h"
#  include "stream.h"

/* Within one turn: so many frames of one connection before the others have had
 * theirs, and so many bytes of all.  With PYWS_BUDGET_FRAMES about a
 * millisecond, so that timers, call_soon and everybody's sockets wait no
 * longer. */
#  define POLLER_SHARE 128
#  define POLLER_BYTES (1024 * 1024)

/* So often in a row the last active socket is asked before the kernel: more
 * would starve the others behind a peer that never pauses. */
#  define POLLER_HOT 16

/* ---- one turn ---- */

static PollerObject *
poller_of(struct pyws_watch *w)
{
    return (PollerObject *)((char *)w - offsetof(pyws_watcher, watch));
}

/* Input came for somebody who wants the next one fast. */
static void
poller_stay_busy(PollerObject *p, uint32_t busy_us)
{
    int64_t until = ws_clock_us() + busy_us;
    if (until > p->base.watch.busy_until) {
        p->base.watch.busy_until = until;
    }
}

static int
poller_is_busy(PollerObject *p)
{
    struct pyws_watch *w = &p->base.watch;
    if (WS_LIKELY(w->busy_until == 0)) {
        return 0;
    }
    if (w->used == 0 || ws_clock_us() >= w->busy_until) {
        w->busy_until = 0;
    }
    return w->busy_until != 0;
}

/* Has the loop come back without an event, or not any more.  The kernel object
 * is readable for as long as that: the loop allocates nothing for it, and does
 * its other work once in between. */
static int
poller_set_awake(PollerObject *p, int awake)
{
    struct pyws_watch *w = &p->base.watch;

    if (p->awake == awake || w->poll < 0) {
        return 0;
    }
    if (ws_poll_wake(w->poll, w->waker, awake) < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    p->awake = (uint8_t)awake;
    return 0;
}

/* Serves a stream.  One that is on the stack already, since it runs a nested
 * event loop, hears nothing of its input before it returns. */
static int
poller_serve_stream(PollerObject *p, StreamObject *s, uint64_t token,
                    unsigned bits, struct pyws_budget *budget, int *got)
{
    uint32_t busy_us = s->busy_us;
    int had = 0;

    if (WS_UNLIKELY(pyws_stream_is_busy(s))) {
        return pyws_stream_serve_busy(s, bits);
    }
    int rc = pyws_stream_serve(s, bits, budget, &had);
    if (rc > 0) {
        pyws_watch_carry(&p->base.watch, token, 0);
        rc = 0;
    }
    if (had) {
        *got = 1;
        if (WS_UNLIKELY(busy_us > 0)) {
            poller_stay_busy(p, busy_us);
        }
    }
    return rc;
}

/* Serves the owner of one token with |bits|; a stale token does nothing. */
static int
poller_serve(PollerObject *p, uint64_t token, unsigned bits,
             struct pyws_budget *budget, int *got)
{
    struct pyws_watch *w = &p->base.watch;
    struct pyws_slot *slot = pyws_watch_find(w, token);
    int share = budget->frames, rc;

    if (slot == NULL) {
        return 0;
    }
    /* A nested event loop is to come back for those who wait. */
    if (WS_UNLIKELY(w->pending_len > 0) && poller_set_awake(p, 1) < 0) {
        return -1;
    }
    if (slot->kind == PYWS_ACCEPTOR) {
        budget->share = share;
        rc = pyws_acceptor_serve((AcceptorObject *)slot->owner, budget);
    }
    else {
        share = share < POLLER_SHARE ? share : POLLER_SHARE;
        budget->share = share;
        rc = poller_serve_stream(p, (StreamObject *)slot->owner, token, bits,
                                 budget, got);
    }
    budget->frames -= share - budget->share;
    return rc;
}

/* Serves everybody who waits in user space once, in the order in which they
 * came to wait, while there is time. */
static int
poller_serve_pending(PollerObject *p, struct pyws_budget *budget)
{
    struct pyws_watch *w = &p->base.watch;
    uint32_t count = w->pending_len;
    int rc = 0, got = 0;
    uint64_t token;
    unsigned bits;

    for (; rc == 0 && count > 0 && pyws_budget_is_left(budget) &&
           pyws_watch_next(w, &token, &bits);
         count--) {
        rc = poller_serve(p, token, bits, budget, &got);
    }
    return rc;
}

/* The loop's reader is taken back.  What goes wrong is tried again in the next
 * turn; -1 for KeyboardInterrupt and the like. */
static int
poller_take_back(PollerObject *p)
{
    if (pyws_watch_take_back(&p->base.watch) < 0) {
        if (pyws_raised_exit()) {
            return -1;
        }
        PyErr_Clear();
    }
    return 0;
}

/* Who is always the one that had input moves into the loop: the system looks
 * through one kernel object for it, not through two.  (Busy polling asks ours,
 * and does not wait.) */
static int
poller_settle(PollerObject *p)
{
    struct pyws_watch *w = &p->base.watch;
    struct pyws_slot *slot = pyws_watch_find(w, w->hot);

    if (!WS_POLL_QUIET || p->indirect || slot == NULL ||
        slot->kind != PYWS_STREAM ||
        ((StreamObject *)slot->owner)->busy_us > 0) {
        return 0;
    }
    if (pyws_watch_direct(w, w->hot) < 0) {
        if (pyws_raised_exit()) {
            return -1;
        }
        /* A loop that had no memory for it may have some the next time. */
        p->indirect =
            (uint8_t)PyErr_ExceptionMatches(PyExc_NotImplementedError);
        PyErr_Clear();
    }
    return 0;
}

/* The last active socket first: in ping-pong that saves asking the kernel who
 * it was.  1 where it had input. */
static int
poller_serve_hot(PollerObject *p, struct pyws_budget *budget)
{
    struct pyws_watch *w = &p->base.watch;
    int got = 0;

    if (w->hot_left <= 0) {
        return 0;
    }
    w->hot_left--;
    if (poller_serve(p, w->hot, WS_POLL_IN, budget, &got) < 0) {
        return -1;
    }
    if (!got) {
        w->hot_left = 0;
    }
    else if (w->hot_left == 0 && poller_settle(p) < 0) {
        return -1;
    }
    return got;
}

/* Drops the waker's event: it has done its work.  Returns how many are left. */
static int
poller_skip_waker(struct ws_poll_event *events, int n)
{
    for (int i = 0; i < n; i++) {
        if (events[i].token == WS_POLL_WAKER) {
            memmove(events + i, events + i + 1,
                    (size_t)(n - i - 1) * sizeof(*events));
            return n - 1;
        }
    }
    return n;
}

/* The stream of the event |i|, NULL where it is none (or there is none).  A
 * slot that has changed hands since then is as good: it is only looked at. */
static StreamObject *
poller_upcoming(const struct pyws_watch *w, const struct ws_poll_event *events,
                int n, int i)
{
    uint32_t number = i < n ? (uint32_t)events[i].token : w->cap;
    return number < w->cap && w->slots[number].kind == PYWS_STREAM
               ? (StreamObject *)w->slots[number].owner
               : NULL;
}

/* Where connections are many each one's memory has left the caches when its
 * turn comes: it is asked for while those before it are served.  First the
 * slot, then the stream that it names, then that one's reader, then what that
 * names. */
static void
poller_prefetch(const struct pyws_watch *w, const struct ws_poll_event *events,
                int n, int i)
{
    StreamObject *s;

    if (i + 4 < n) {
        uint32_t number = (uint32_t)events[i + 4].token;
        WS_PREFETCH(w->slots + (number < w->cap ? number : 0));
    }
    if ((s = poller_upcoming(w, events, n, i + 3)) != NULL) {
        ws_prefetch(s, sizeof(*s));
    }
    if ((s = poller_upcoming(w, events, n, i + 2)) != NULL &&
        s->reader != NULL) {
        pyws_reader_prefetch(s->reader);
    }
    if ((s = poller_upcoming(w, events, n, i + 1)) != NULL &&
        s->reader != NULL) {
        pyws_reader_prefetch_more(s->reader);
    }
}

/* Who runs the loop again is to hear of what is reported once, too: it waits in
 * the queue, which nested turns look at.  (What else these events say comes
 * with them; the loop's own reader reports again.)  Returns how many are left.
 */
static int
poller_queue_edges(struct pyws_watch *w, struct ws_poll_event *events, int n)
{
    int kept = 0;

    for (int i = 0; i < n; i++) {
        if ((events[i].bits & (WS_POLL_HUP | WS_POLL_ERR)) &&
            events[i].token != w->direct) {
            pyws_watch_carry(w, events[i].token, events[i].bits);
        }
        else {
            events[kept++] = events[i];
        }
    }
    return kept;
}

static int
poller_serve_events(PollerObject *p, struct pyws_budget *budget)
{
    struct pyws_watch *w = &p->base.watch;
    struct ws_poll_event events[WS_POLL_BATCH];
    int got = 0, rc = 0, i;

    int n = ws_poll_wait(w->poll, events, WS_POLL_BATCH);
    if (n < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    if (p->awake) {
        n = poller_skip_waker(events, n);
    }
    if (p->nests && n > 1) {
        n = poller_queue_edges(w, events, n);
    }
    for (i = 0; rc == 0 && i < n && pyws_budget_is_left(budget); i++) {
        if (w->poll < 0) {
            break;
        }
        poller_prefetch(w, events, n, i);
        /* More than input: from here on it is watched as the others are. */
        if (WS_UNLIKELY(events[i].token == w->direct) &&
            (rc = poller_take_back(p)) < 0) {
            break;
        }
        rc = poller_serve(p, events[i].token, events[i].bits, budget, &got);
    }
    /* There is no time for the others, or Ctrl-C was pressed: they come first
     * in the next turn.  Were they only reported again the same ones would
     * starve each time, and an edge is reported once. */
    for (; i < n; i++) {
        pyws_watch_carry(w, events[i].token, events[i].bits);
    }
    w->hot_left = 0;
    if (rc == 0 && n == 1 && got) {
        w->hot = events[0].token;
        w->hot_left = pyws_watch_find(w, w->hot) != NULL ? POLLER_HOT : 0;
    }
    return rc;
}

/* In a forked child the kernel object and the connections are the parent's. */
void
pyws_poller_abandon(PollerObject *p, int shut)
{
    struct pyws_watch *w = &p->base.watch;
    int poll = w->poll;

    w->poll = -1; /* from here on nothing is taken out of the kernel object */
    for (uint32_t i = 0; i < w->cap; i++) {
        if (w->slots[i].kind == PYWS_STREAM) {
            pyws_stream_abandon((StreamObject *)w->slots[i].owner, shut);
        }
        else if (w->slots[i].kind == PYWS_ACCEPTOR) {
            pyws_acceptor_abandon((AcceptorObject *)w->slots[i].owner);
        }
    }
    pyws_watch_drop_direct(w);
    if (poll >= 0) {
        ws_poll_close(poll, w->waker);
    }
}

/* Serves whoever is ready. */
static int
poller_serve_all(PollerObject *p, struct pyws_budget *budget)
{
    struct pyws_watch *w = &p->base.watch;
    int rc = w->pending_len == 0 ? poller_serve_hot(p, budget) : 0;

    if (rc != 0) {
        return rc;
    }
    rc = poller_serve_pending(p, budget);
    if (rc == 0 && w->poll >= 0) {
        rc = poller_serve_events(p, budget);
    }
    /* What is left of the budget goes round among those who still wait, unless
     * they wait for something else. */
    int frames = budget->frames + 1;
    while (rc == 0 && w->pending_len > 0 && pyws_budget_is_left(budget) &&
           budget->frames < frames) {
        frames = budget->frames;
        rc = poller_serve_pending(p, budget);
    }
    return rc;
}

/* Serves the socket whose input the loop has seen by itself.  Nobody else is
 * always the one then. */
static int
poller_serve_direct(PollerObject *p, struct pyws_budget *budget)
{
    int got = 0;
    p->base.watch.hot_left = 0;
    return poller_serve(p, p->base.watch.direct, WS_POLL_IN, budget, &got);
}

static int
poller_turn(PollerObject *p,
            int (*serve)(PollerObject *p, struct pyws_budget *budget))
{
    struct pyws_budget budget = {PYWS_BUDGET_FRAMES, POLLER_SHARE,
                                 POLLER_BYTES};

    if (p->base.watch.poll < 0) {
        return 0;
    }
    Py_INCREF(p);
    p->turns++;
    struct pyws_watch *w = &p->base.watch;
    int rc = 0;
    /* The loop could not call us from inside of a turn while its own context
     * for that is entered. */
    PyObject *context = p->nests ? pyws_context_out() : NULL;
    if (WS_UNLIKELY(w->direct == 0 && w->direct_fd >= 0)) {
        rc = poller_take_back(p);
    }
    if (rc == 0) {
        rc = serve(p, &budget);
    }
    PyObject *raised = rc < 0 ? pyws_take_raised() : NULL;
    /* Busy polling goes through the loop, too: its timers and what else is
     * ready have their turn, and a task that answers runs. */
    if (poller_set_awake(
            p, p->base.watch.pending_len > 0 || poller_is_busy(p)) < 0) {
        if (raised != NULL) {
            PyErr_WriteUnraisable((PyObject *)p);
        }
        else {
            rc = -1;
        }
    }
    if (pyws_context_back(context) < 0) {
        PyErr_WriteUnraisable((PyObject *)p);
    }
    pyws_raise_again(raised);
    Py_DECREF(p);
    return rc < 0 ? -1 : 0;
}

/* The loop calls: whichever thread runs it is ours from now on, as it is for
 * the loop. */
static void
poller_enter(PollerObject *p)
{
    p->base.thread = PyThread_get_thread_ident();
    if (p->generation != p->state->fork_generation && p->base.watch.poll >= 0) {
        pyws_poller_abandon(p, 0);
    }
}

int
pyws_poller_turn(PollerObject *p)
{
    poller_enter(p);
    return poller_turn(p, poller_serve_all);
}

int
pyws_poller_turn_direct(PollerObject *p)
{
    poller_enter(p);
    return poller_turn(p, poller_serve_direct);
}

/* ---- the table's calls ---- */

/* |format| says what |fd| is, NULL for no argument. */
static int
poller_call(struct pyws_watch *w, const char *method, const char *format,
            int fd)
{
    PyObject *result =
        PyObject_CallMethod((PyObject *)poller_of(w), method, format, fd);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int
poller_wake(struct pyws_watch *w)
{
    return poller_set_awake(poller_of(w), 1);
}

static int
poller_join(struct pyws_watch *w, int fd)
{
    return poller_call(w, "_join", "i", fd);
}

static int
poller_leave(struct pyws_watch *w, int fd)
{
    return poller_call(w, "_leave", "i", fd);
}

static int
poller_first(struct pyws_watch *w)
{
    return poller_call(w, "_first", NULL, -1);
}

static void
poller_last(struct pyws_watch *w)
{
    if (w->poll >= 0) {
        PyObject *raised = pyws_take_raised();
        if (poller_call(w, "_last", NULL, -1) < 0) {
            PyErr_WriteUnraisable((PyObject *)poller_of(w));
        }
        pyws_raise_again(raised);
    }
}

void
pyws_poller_bind(PollerObject *p)
{
    struct pyws_watch *w = &p->base.watch;
    w->wake = poller_wake;
    w->first = poller_first;
    w->last = poller_last;
    w->join = poller_join;
    w->leave = poller_leave;
}

#else
typedef int pyws_poller_is_empty;
#endif
