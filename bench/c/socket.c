#define _GNU_SOURCE
#include "socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SCRATCH (256 * 1024)

static uint8_t scratch[SCRATCH];

void
die(const char *what)
{
    perror(what);
    exit(1);
}

void *
allocated(void *p)
{
    if (p == NULL) {
        die("malloc");
    }
    return p;
}

static struct sockaddr_in
here(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/* Small frames leave at once.  Where the system paces what is sent (BBR), the
 * timers of the load would run on the core of whoever acknowledged last, and
 * count as the time of the one that is measured: Reno has none.  It is set
 * before the connection is there; accepted sockets inherit both. */
static int
new_socket(void)
{
    static const char reno[] = "reno";
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, reno, sizeof(reno) - 1) <
            0) {
        die("socket");
    }
    return fd;
}

int
socket_listen(void)
{
    struct sockaddr_in address = here(0);
    socklen_t len = sizeof(address);
    int fd = new_socket();

    if (bind(fd, (struct sockaddr *)&address, len) < 0 ||
        listen(fd, 4096) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0) {
        die("listen");
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int
socket_accept(int listening)
{
    int fd = accept(listening, NULL, NULL);
    if (fd < 0) {
        die("accept");
    }
    return fd;
}

int
socket_connect(int port)
{
    struct sockaddr_in address = here(port);
    int fd = new_socket();

    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        die("connect");
    }
    return fd;
}

int
socket_send(int fd, const void *data, size_t len)
{
    const uint8_t *p = data;
    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET)) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            die("send");
        }
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
    }
    return 1;
}

static size_t
receive(int fd, void *data, size_t room, int flags)
{
    for (;;) {
        ssize_t n = recv(fd, data, room, flags);
        if (n >= 0) {
            return (size_t)n;
        }
        if (errno == ECONNRESET) {
            return 0;
        }
        if (errno != EINTR) {
            die("recv");
        }
    }
}

size_t
socket_recv(int fd, void *data, size_t room)
{
    return receive(fd, data, room, 0);
}

size_t
socket_peek(int fd, void *data, size_t room)
{
    return receive(fd, data, room, MSG_PEEK);
}

size_t
input_read(struct input *in, int fd, uint8_t **data)
{
    if (in->len == 0) {
        *data = scratch;
        return socket_recv(fd, scratch, SCRATCH);
    }
    if (in->cap - in->len < in->cap / 2) {
        in->cap *= 2;
        in->rest = allocated(realloc(in->rest, in->cap));
    }
    size_t n = socket_recv(fd, in->rest + in->len, in->cap - in->len);
    *data = in->rest;
    return n == 0 ? 0 : in->len + n;
}

void
input_keep(struct input *in, const uint8_t *data, size_t len)
{
    if (len > in->cap) {
        in->cap = len < SCRATCH / 2 ? SCRATCH / 2 : 2 * len;
        in->rest = allocated(realloc(in->rest, in->cap));
    }
    /* (Where it stood in |rest| there was room for it: nothing has moved.) */
    if (len > 0) {
        memmove(in->rest, data, len);
    }
    in->len = len;
}

int
watch_new(void)
{
    int watch = epoll_create1(0);
    if (watch < 0) {
        die("epoll_create1");
    }
    return watch;
}

void
watch_add(int watch, int fd, unsigned number)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    if (epoll_ctl(watch, EPOLL_CTL_ADD, fd, &event) < 0) {
        die("epoll_ctl");
    }
}

unsigned
watch_wait(int watch, unsigned numbers[WATCH_MAX])
{
    struct epoll_event events[WATCH_MAX];
    int n = epoll_wait(watch, events, WATCH_MAX, -1);
    if (n < 0 && errno != EINTR) {
        die("epoll_wait");
    }
    for (int i = 0; i < n; i++) {
        numbers[i] = events[i].data.u32;
    }
    return n < 0 ? 0 : (unsigned)n;
}
