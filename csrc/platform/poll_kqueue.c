/* poll_kqueue.c - the poller's kernel side on macOS and the BSDs. */
#if defined(__APPLE__) || defined(__FreeBSD__) || defined(__DragonFly__)

#  include <errno.h>
#  include <fcntl.h>
#  include <sys/types.h>
#  include <sys/event.h>
#  include <sys/time.h>
#  include <unistd.h>

#  include "ws_poll.h"

/* The token travels in udata: a slot index and a generation of 32 bits each
 * need a pointer of 64. */
typedef char kqueue_needs_64_bits[sizeof(void *) == 8 ? 1 : -1];

static int
kqueue_set(struct kevent *list, int n, int fd, short filter,
           unsigned short flags, uint64_t token)
{
    EV_SET(&list[n], (uintptr_t)fd, filter, flags, 0, 0,
           (void *)(uintptr_t)token);
    return n + 1;
}

static int
kqueue_apply(int poll, const struct kevent *list, int n)
{
    int rc;
    if (n == 0) {
        return 0;
    }
    do {
        rc = kevent(poll, list, n, NULL, 0, NULL);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? -1 : 0;
}

/* How the read filter watches: all input; or, edge-triggered, only the end of
 * it (EV_CLEAR reports each change once, and data that nobody reads is looked
 * at by whoever asks for IN again). */
static unsigned short
kqueue_read_flags(unsigned bits)
{
    return bits & WS_POLL_IN ? EV_ADD : EV_ADD | EV_CLEAR;
}

int
ws_poll_open(int *waker)
{
    int poll = kqueue();
    if (poll >= 0) {
        (void)fcntl(poll, F_SETFD, FD_CLOEXEC);
    }
    *waker = -1;
    return poll;
}

void
ws_poll_close(int poll, int waker)
{
    (void)waker;
    (void)close(poll);
}

int
ws_poll_wake(int poll, int waker, int on)
{
    struct kevent change;
    (void)waker;
    EV_SET(&change, 0, EVFILT_USER, on ? EV_ADD : EV_DELETE,
           on ? NOTE_TRIGGER : 0, 0, (void *)(uintptr_t)WS_POLL_WAKER);
    return kqueue_apply(poll, &change, 1);
}

int
ws_poll_add(int poll, int fd, unsigned bits, uint64_t token)
{
    return ws_poll_change(poll, fd, 0, bits, token);
}

int
ws_poll_change(int poll, int fd, unsigned old, unsigned bits, uint64_t token)
{
    struct kevent list[3];
    const unsigned reads = WS_POLL_IN | WS_POLL_HUP;
    int n = 0;

    if ((old ^ bits) & reads) {
        /* EV_CLEAR cannot be taken back from a filter: begin anew. */
        if (old & reads) {
            n = kqueue_set(list, n, fd, EVFILT_READ, EV_DELETE, token);
        }
        if (bits & reads) {
            n = kqueue_set(list, n, fd, EVFILT_READ, kqueue_read_flags(bits),
                           token);
        }
    }
    if ((old ^ bits) & WS_POLL_OUT) {
        n = kqueue_set(list, n, fd, EVFILT_WRITE,
                       bits & WS_POLL_OUT ? EV_ADD : EV_DELETE, token);
    }
    return kqueue_apply(poll, list, n);
}

void
ws_poll_remove(int poll, int fd, unsigned old)
{
    (void)ws_poll_change(poll, fd, old, 0, 0);
}

int
ws_poll_wait(int poll, struct ws_poll_event *events, int max)
{
    static const struct timespec now = {0, 0};
    struct kevent found[WS_POLL_BATCH];
    int n;

    do {
        n = kevent(poll, NULL, 0, found, max, &now);
    } while (n < 0 && errno == EINTR);
    for (int i = 0; i < n; i++) {
        events[i].token = (uint64_t)(uintptr_t)found[i].udata;
        events[i].bits =
            found[i].filter == EVFILT_WRITE
                ? WS_POLL_OUT
                : (found[i].flags & EV_EOF ? WS_POLL_IN | WS_POLL_HUP
                                           : WS_POLL_IN);
        if ((found[i].flags & EV_EOF) && found[i].fflags != 0) {
            events[i].bits |= WS_POLL_ERR; /* fflags has the socket's error */
        }
    }
    return n;
}

#else
typedef int ws_poll_kqueue_is_empty;
#endif
