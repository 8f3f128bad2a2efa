/* poll_epoll.c - the poller's kernel side on Linux. */
#if defined(__linux__)

#  include <errno.h>
#  include <sys/epoll.h>
#  include <sys/eventfd.h>
#  include <unistd.h>

#  include "ws_poll.h"

static uint32_t
epoll_bits(unsigned bits)
{
    uint32_t events = 0;
    if (bits & WS_POLL_IN) {
        events |= EPOLLIN;
    }
    if (bits & WS_POLL_OUT) {
        events |= EPOLLOUT;
    }
    if (bits & WS_POLL_HUP) {
        /* Nobody reads: the FIN or the reset is to be seen once, not for as
         * long as it is there.  EPOLLERR and EPOLLHUP are always reported; the
         * edge keeps them from spinning, too. */
        events |= EPOLLRDHUP | EPOLLET;
    }
    return events;
}

int
ws_poll_open(int *waker)
{
    int poll = epoll_create1(EPOLL_CLOEXEC);
    if (poll < 0) {
        return -1;
    }
    /* It is always readable; whether anybody looks decides ws_poll_wake(). */
    *waker = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (*waker < 0 || ws_poll_add(poll, *waker, 0, WS_POLL_WAKER) < 0) {
        int error = errno;
        ws_poll_close(poll, *waker);
        errno = error;
        return -1;
    }
    return poll;
}

void
ws_poll_close(int poll, int waker)
{
    if (waker >= 0) {
        (void)close(waker);
    }
    (void)close(poll);
}

int
ws_poll_wake(int poll, int waker, int on)
{
    unsigned bits = on ? WS_POLL_IN : 0;
    return ws_poll_change(poll, waker, 0, bits, WS_POLL_WAKER);
}

int
ws_poll_add(int poll, int fd, unsigned bits, uint64_t token)
{
    struct epoll_event event = {.events = epoll_bits(bits), .data.u64 = token};
    return epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
}

int
ws_poll_change(int poll, int fd, unsigned old, unsigned bits, uint64_t token)
{
    struct epoll_event event = {.events = epoll_bits(bits), .data.u64 = token};
    (void)old;
    return epoll_ctl(poll, EPOLL_CTL_MOD, fd, &event);
}

void
ws_poll_remove(int poll, int fd, unsigned old)
{
    struct epoll_event unused = {.events = 0};
    (void)old;
    (void)epoll_ctl(poll, EPOLL_CTL_DEL, fd, &unused);
}

int
ws_poll_wait(int poll, struct ws_poll_event *events, int max)
{
    struct epoll_event found[WS_POLL_BATCH];
    int n;

    do {
        n = epoll_wait(poll, found, max, 0);
    } while (n < 0 && errno == EINTR);
    for (int i = 0; i < n; i++) {
        uint32_t e = found[i].events;
        events[i].token = found[i].data.u64;
        /* An error or a hang-up is both: whoever reads or writes meets it. */
        events[i].bits =
            (e & (EPOLLIN | EPOLLERR | EPOLLHUP) ? WS_POLL_IN : 0) |
            (e & (EPOLLOUT | EPOLLERR | EPOLLHUP) ? WS_POLL_OUT : 0) |
            (e & (EPOLLRDHUP | EPOLLERR | EPOLLHUP) ? WS_POLL_HUP : 0) |
            (e & EPOLLERR ? WS_POLL_ERR : 0);
    }
    return n;
}

#else
typedef int ws_poll_epoll_is_empty;
#endif
