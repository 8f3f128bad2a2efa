/* test_poll.c - the kernel side of the poller, and the calls on sockets; on
 * Linux. */
#if defined(__linux__)
#  define _GNU_SOURCE
#endif
#include "check.h"

#if defined(__linux__)

#  include <arpa/inet.h>
#  include <errno.h>
#  include <fcntl.h>
#  include <netinet/in.h>
#  include <poll.h>
#  include <sys/epoll.h>
#  include <sys/socket.h>
#  include <unistd.h>

#  include "sockio.h"
#  include "ws_poll.h"

/* The waker of the poller that was opened last. */
static int waker;

static int
opened(void)
{
    int poll = ws_poll_open(&waker);
    CHECK(poll >= 0);
    return poll;
}

static void
pair(int fds[2])
{
    CHECK_INT(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
        0);
}

static int
listening(struct sockaddr_in *address)
{
    socklen_t size = sizeof(*address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    memset(address, 0, sizeof(*address));
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_INT(bind(fd, (struct sockaddr *)address, size), 0);
    CHECK_INT(listen(fd, 16), 0);
    CHECK_INT(getsockname(fd, (struct sockaddr *)address, &size), 0);
    return fd;
}

/* Waits until |fd| is ready: the loopback is quick, not instant. */
static void
until(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    CHECK_INT(poll(&p, 1, 10000), 1);
}

static void
tcp(int fds[2])
{
    struct ws_sock_addr peer;
    struct sockaddr_in address;
    int server = listening(&address);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(connect(fds[0], (struct sockaddr *)&address, sizeof(address)), 0);
    until(server, POLLIN);
    fds[1] = (int)ws_sock_accept(server, &peer);
    CHECK(fds[1] >= 0);
    CHECK_INT(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    close(server);
}

static void
reset(int fd)
{
    struct linger now = {1, 0};
    CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    close(fd);
}

/* Waits once; there is one event, or none (bits 0). */
static void
expect(int poll, uint64_t token, unsigned bits)
{
    struct ws_poll_event events[WS_POLL_BATCH];
    int n = ws_poll_wait(poll, events, WS_POLL_BATCH);
    CHECK_INT(n, bits != 0);
    if (n == 1) {
        CHECK(events[0].token == token);
        CHECK_INT(events[0].bits, bits);
    }
}

static void
test_in_and_out(void)
{
    int fds[2], poll = opened();
    uint64_t token = (uint64_t)0xFEDCBA98 << 32 | 0x76543210;
    char c;

    CHECK(poll >= 0);
    CHECK(fcntl(poll, F_GETFD) & FD_CLOEXEC);
    expect(poll, 0, 0);
    pair(fds);
    CHECK_INT(ws_poll_add(poll, fds[0], WS_POLL_IN, token), 0);
    expect(poll, 0, 0);
    CHECK_INT(write(fds[1], "x", 1), 1);
    /* Level-triggered: for as long as it is there. */
    expect(poll, token, WS_POLL_IN);
    expect(poll, token, WS_POLL_IN);
    CHECK_INT(ws_poll_change(poll, fds[0], WS_POLL_IN, WS_POLL_IN | WS_POLL_OUT,
                             token),
              0);
    expect(poll, token, WS_POLL_IN | WS_POLL_OUT);
    CHECK_INT(read(fds[0], &c, 1), 1);
    expect(poll, token, WS_POLL_OUT);
    expect(poll, token, WS_POLL_OUT);
    CHECK_INT(
        ws_poll_change(poll, fds[0], WS_POLL_IN | WS_POLL_OUT, WS_POLL_OUT, 5),
        0);
    expect(poll, 5, WS_POLL_OUT);
    CHECK_INT(ws_poll_change(poll, fds[0], WS_POLL_OUT, 0, 5), 0);
    CHECK_INT(write(fds[1], "y", 1), 1);
    expect(poll, 0, 0);
    CHECK_INT(ws_poll_change(poll, fds[0], 0, WS_POLL_IN, 6), 0);
    expect(poll, 6, WS_POLL_IN);
    ws_poll_remove(poll, fds[0], WS_POLL_IN);
    expect(poll, 0, 0);
    ws_poll_remove(poll, fds[0], WS_POLL_IN); /* twice does nothing */
    CHECK_INT(ws_poll_add(poll, fds[0], WS_POLL_IN, 7), 0);
    expect(poll, 7, WS_POLL_IN);
    ws_poll_remove(poll, fds[0], WS_POLL_IN);
    close(fds[0]);
    close(fds[1]);
    ws_poll_close(poll, waker);
}

/* The poller is watched itself. */
static void
test_nested(void)
{
    int fds[2], outer = epoll_create1(0), inner = opened();
    char c;

    pair(fds);
    CHECK_INT(ws_poll_add(outer, inner, WS_POLL_IN, 1), 0);
    CHECK_INT(ws_poll_add(inner, fds[0], WS_POLL_IN, 2), 0);
    expect(outer, 0, 0);
    CHECK_INT(write(fds[1], "x", 1), 1);
    expect(outer, 1, WS_POLL_IN);
    expect(outer, 1, WS_POLL_IN);
    expect(inner, 2, WS_POLL_IN);
    CHECK_INT(read(fds[0], &c, 1), 1);
    expect(inner, 0, 0);
    expect(outer, 0, 0);
    close(fds[0]);
    close(fds[1]);
    ws_poll_close(inner, waker);
    close(outer);
}

/* Whoever does not read hears of the end once, and not for ever. */
static void
test_hup_is_an_edge(void)
{
    int fds[2], poll = opened();

    tcp(fds);
    CHECK_INT(ws_poll_add(poll, fds[1], WS_POLL_HUP, 3), 0);
    CHECK_INT(send(fds[0], "data", 4, 0), 4);
    until(fds[1], POLLIN);
    expect(poll, 0, 0); /* data is of no interest */
    CHECK_INT(shutdown(fds[0], SHUT_WR), 0);
    until(fds[1], POLLRDHUP);
    expect(poll, 3, WS_POLL_HUP);
    expect(poll, 0, 0);
    expect(poll, 0, 0);
    /* Reading again sees it again, and what came before it. */
    CHECK_INT(ws_poll_change(poll, fds[1], WS_POLL_HUP, WS_POLL_IN, 3), 0);
    expect(poll, 3, WS_POLL_IN);
    expect(poll, 3, WS_POLL_IN);
    ws_poll_remove(poll, fds[1], WS_POLL_IN);
    close(fds[0]);
    close(fds[1]);
    ws_poll_close(poll, waker);
}

static void
test_reset(void)
{
    const unsigned all = WS_POLL_IN | WS_POLL_OUT | WS_POLL_HUP | WS_POLL_ERR;
    static const unsigned watched[] = {WS_POLL_IN, WS_POLL_OUT, WS_POLL_HUP, 0,
                                       WS_POLL_HUP | WS_POLL_OUT};
    char buffer[8];

    for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++) {
        int fds[2], poll = opened();
        check_context("watched for %u", watched[i]);
        tcp(fds);
        CHECK_INT(ws_poll_add(poll, fds[1], watched[i], 4), 0);
        if (watched[i] & WS_POLL_OUT)
            expect(poll, 4, WS_POLL_OUT);
        reset(fds[0]);
        until(fds[1], POLLERR);
        expect(poll, 4, all);
        if (watched[i] & WS_POLL_HUP)
            expect(poll, 0, 0);
        /* recv() says what it was; once. */
        CHECK_INT(ws_sock_recv(fds[1], buffer, sizeof(buffer)), -ECONNRESET);
        CHECK_INT(ws_sock_recv(fds[1], buffer, sizeof(buffer)), 0);
        CHECK_INT(ws_sock_error(fds[1]), 0);
        CHECK_INT(ws_sock_send(fds[1], "x", 1), -EPIPE);
        ws_poll_remove(poll, fds[1], watched[i]);
        expect(poll, 0, 0);
        close(fds[1]);
        ws_poll_close(poll, waker);
    }
}

static void
test_error_is_taken_once(void)
{
    int fds[2];
    tcp(fds);
    CHECK_INT(ws_sock_error(fds[1]), 0);
    reset(fds[0]);
    until(fds[1], POLLERR);
    CHECK_INT(ws_sock_error(fds[1]), ECONNRESET);
    CHECK_INT(ws_sock_error(fds[1]), 0);
    close(fds[1]);
    CHECK_INT(ws_sock_error(fds[1]), EBADF);
}

/* A number that is used again has the token of its new owner; the old one is
 * gone with its removal, whatever copies of the descriptor there are. */
static void
test_tokens(void)
{
    int fds[2], more[2], poll = opened();

    pair(fds);
    CHECK_INT(ws_poll_add(poll, fds[0], WS_POLL_IN, 10), 0);
    CHECK_INT(write(fds[1], "x", 1), 1);
    int copy = dup(fds[0]);
    ws_poll_remove(poll, fds[0], WS_POLL_IN);
    close(fds[0]);
    expect(poll, 0, 0);
    pair(more);
    CHECK_INT(more[0], fds[0]); /* the number again */
    CHECK_INT(ws_poll_add(poll, more[0], WS_POLL_IN, 11), 0);
    expect(poll, 0, 0);
    CHECK_INT(write(more[1], "y", 1), 1);
    expect(poll, 11, WS_POLL_IN);
    /* Events of both, each with its own token. */
    CHECK_INT(ws_poll_add(poll, copy, WS_POLL_IN, 12), 0);
    struct ws_poll_event events[4];
    CHECK_INT(ws_poll_wait(poll, events, 4), 2);
    CHECK_INT(events[0].token + events[1].token, 23);
    /* Fewer are asked for: the others come next. */
    CHECK_INT(ws_poll_wait(poll, events, 1), 1);
    uint64_t seen = events[0].token;
    CHECK_INT(ws_poll_wait(poll, events, 1), 1);
    CHECK_INT(seen + events[0].token, 23);
    close(copy);
    close(fds[1]);
    close(more[0]);
    close(more[1]);
    ws_poll_close(poll, waker);
}

#  define MANY 300

static void
test_more_than_a_batch(void)
{
    static int fds[MANY][2];
    int poll = opened(), turns = 0, left = MANY;
    uint8_t seen[MANY] = {0};
    struct ws_poll_event events[WS_POLL_BATCH];
    char c;

    for (int i = 0; i < MANY; i++) {
        pair(fds[i]);
        CHECK_INT(ws_poll_add(poll, fds[i][0], WS_POLL_IN, (uint64_t)i), 0);
        CHECK_INT(write(fds[i][1], "x", 1), 1);
    }
    /* Unserved, they go round: three calls see all of them. */
    for (int turn = 0; turn < 3; turn++) {
        int n = ws_poll_wait(poll, events, WS_POLL_BATCH);
        CHECK_INT(n, WS_POLL_BATCH);
        for (int i = 0; i < n; i++) {
            CHECK(events[i].token < MANY);
            seen[events[i].token] = 1;
        }
    }
    for (int i = 0; i < MANY; i++) {
        CHECK_INT(seen[i], 1);
    }
    while (left > 0) {
        int n = ws_poll_wait(poll, events, WS_POLL_BATCH);
        CHECK(n > 0 && n <= WS_POLL_BATCH);
        for (int i = 0; i < n; i++) {
            CHECK_INT(events[i].bits, WS_POLL_IN);
            CHECK_INT(read(fds[events[i].token][0], &c, 1), 1);
        }
        left -= n;
        CHECK(++turns <= MANY);
    }
    CHECK_INT(turns, (MANY + WS_POLL_BATCH - 1) / WS_POLL_BATCH);
    expect(poll, 0, 0);
    for (int i = 0; i < MANY; i++) {
        close(fds[i][0]);
        close(fds[i][1]);
    }
    ws_poll_close(poll, waker);
}

static void
test_poll_errors(void)
{
    int fds[2], poll = opened(), file = open("/proc/self/exe", O_RDONLY);
    struct ws_poll_event events[1];

    pair(fds);
    CHECK_INT(ws_poll_add(poll, -1, WS_POLL_IN, 0), -1);
    CHECK_INT(errno, EBADF);
    CHECK_INT(ws_poll_add(poll, file, WS_POLL_IN, 0), -1);
    CHECK_INT(errno, EPERM);
    CHECK_INT(ws_poll_add(poll, poll, WS_POLL_IN, 0), -1);
    CHECK_INT(errno, EINVAL);
    CHECK_INT(ws_poll_add(poll, fds[0], WS_POLL_IN, 0), 0);
    CHECK_INT(ws_poll_add(poll, fds[0], WS_POLL_IN, 0), -1);
    CHECK_INT(errno, EEXIST);
    CHECK_INT(ws_poll_change(poll, fds[1], 0, WS_POLL_IN, 0), -1);
    CHECK_INT(errno, ENOENT);
    ws_poll_remove(poll, -1, 0);
    CHECK_INT(ws_poll_wait(-1, events, 1), -1);
    CHECK_INT(errno, EBADF);
    close(file);
    close(fds[0]);
    close(fds[1]);
    ws_poll_close(poll, waker);
}

static void
test_sockio(void)
{
    struct ws_sock_addr peer;
    int fds[2], file = open("/proc/self/exe", O_RDONLY);
    char buffer[64] = {0};
    struct ws_queue_span spans[WS_SOCK_SPANS];

    CHECK_INT(ws_sock_recv(-1, buffer, 1), -EBADF);
    CHECK_INT(ws_sock_send(-1, buffer, 1), -EBADF);
    CHECK_INT(ws_sock_recv(file, buffer, 1), -ENOTSOCK);
    CHECK_INT(ws_sock_send(file, buffer, 1), -ENOTSOCK);
    CHECK_INT(ws_sock_end_writing(file), -ENOTSOCK);
    CHECK_INT(ws_sock_error(file), ENOTSOCK);
    CHECK_INT(ws_sock_accept(file, &peer), -ENOTSOCK);
    spans[0].data = (const uint8_t *)"abc";
    spans[0].len = 3;
    CHECK_INT(ws_sock_sendv(file, spans, 1), -ENOTSOCK);
    close(file);

    pair(fds);
    ptrdiff_t none = ws_sock_recv(fds[0], buffer, 10);
    CHECK(none < 0 && ws_sock_would_block(none));
    CHECK(!ws_sock_would_block(0) && !ws_sock_would_block(-ECONNRESET));
    CHECK_INT(ws_sock_send(fds[1], "hello", 5), 5);
    CHECK_INT(ws_sock_recv(fds[0], buffer, 3), 3);
    CHECK_BYTES(buffer, "hel", 3);
    CHECK_INT(ws_sock_recv(fds[0], buffer, 10), 2);
    for (size_t i = 0; i < WS_SOCK_SPANS; i++) {
        spans[i].data = (const uint8_t *)"0123456789abcdef" + i;
        spans[i].len = i % 3;
    }
    CHECK_INT(ws_sock_sendv(fds[1], spans, WS_SOCK_SPANS), 15);
    CHECK_INT(ws_sock_recv(fds[0], buffer, 64), 15);
    CHECK_BYTES(buffer, "123456789abcdef", 15);
    /* The end of our side; the other still speaks. */
    CHECK_INT(ws_sock_end_writing(fds[1]), 0);
    CHECK_INT(ws_sock_recv(fds[0], buffer, 1), 0);
    CHECK_INT(ws_sock_send(fds[0], "x", 1), 1);
    CHECK_INT(ws_sock_recv(fds[1], buffer, 8), 1);
    /* No SIGPIPE. */
    CHECK_INT(ws_sock_send(fds[1], "x", 1), -EPIPE);
    CHECK_INT(ws_sock_sendv(fds[1], spans + 1, 1), -EPIPE);
    close(fds[0]);
    close(fds[1]);
}

/* What the kernel does not take is told, and nothing is lost or doubled. */
static void
test_full_socket(void)
{
    int fds[2];
    static uint8_t data[1 << 20], got[1 << 20];
    struct ws_queue_span spans[4];
    size_t sent = 0, read = 0;
    ptrdiff_t n;

    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)(i * 7 + i / 251);
    }
    tcp(fds);
    while (read < sizeof(data)) {
        while (sent < sizeof(data)) {
            size_t part = (sizeof(data) - sent + 3) / 4, at = sent, count = 0;
            while (at < sizeof(data)) {
                spans[count].data = data + at;
                spans[count].len =
                    part < sizeof(data) - at ? part : sizeof(data) - at;
                at += spans[count++].len;
            }
            n = ws_sock_sendv(fds[0], spans, count);
            if (n < 0) {
                CHECK(ws_sock_would_block(n));
                break;
            }
            sent += (size_t)n;
        }
        until(fds[1], POLLIN);
        n = ws_sock_recv(fds[1], got + read, sizeof(got) - read);
        CHECK(n > 0);
        read += (size_t)n;
    }
    CHECK_BYTES(got, data, sizeof(data));
    ws_sock_close(fds[0], 0);
    until(fds[1], POLLIN);
    CHECK_INT(ws_sock_recv(fds[1], got, 1), 0);
    close(fds[1]);
}

static void
test_accept(void)
{
    struct ws_sock_addr peer;
    struct sockaddr_in address;
    int server = listening(&address);

    CHECK(ws_sock_would_block(ws_sock_accept(server, &peer)));
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
    until(server, POLLIN);
    int fd = (int)ws_sock_accept(server, &peer);
    CHECK(fd >= 0);
    struct sockaddr_in name;
    socklen_t size = sizeof(name);
    CHECK_INT(getsockname(client, (struct sockaddr *)&name, &size), 0);
    CHECK_INT(peer.version, 4);
    CHECK(strcmp(peer.host, "127.0.0.1") == 0);
    CHECK_INT(peer.port, ntohs(name.sin_port));
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK(ws_sock_would_block(ws_sock_accept(server, &peer)));
    close(fd);
    close(client);
    close(server);
    CHECK_INT(ws_sock_accept(server, &peer), -EBADF);
    CHECK(ws_sock_is_temporary(-EMFILE) && ws_sock_is_temporary(-ENFILE) &&
          ws_sock_is_temporary(-ENOBUFS) && ws_sock_is_temporary(-ENOMEM));
    CHECK(!ws_sock_is_temporary(-ECONNABORTED) &&
          !ws_sock_is_temporary(-EAGAIN) && !ws_sock_is_temporary(3));
}

/* With |shut| the peer hears the end although a copy is open elsewhere. */
static void
test_close(void)
{
    for (int shut = 0; shut <= 1; shut++) {
        int fds[2];
        char c;
        check_context("shut %d", shut);
        tcp(fds);
        int copy = dup(fds[0]);
        ws_sock_close(fds[0], shut);
        CHECK_INT(fcntl(fds[0], F_GETFD), -1);
        if (shut) {
            until(fds[1], POLLIN);
            CHECK_INT(ws_sock_recv(fds[1], &c, 1), 0);
        }
        else {
            CHECK_INT(send(copy, "x", 1, 0), 1);
            until(fds[1], POLLIN);
            CHECK_INT(ws_sock_recv(fds[1], &c, 1), 1);
        }
        close(copy);
        close(fds[1]);
    }
}

/* The waker makes the poller readable until it is told otherwise, and says so
 * beside what else there is. */
static void
test_waker(void)
{
    int fds[2], outer = epoll_create1(0), poll = opened();
    struct ws_poll_event events[WS_POLL_BATCH];

    CHECK_INT(ws_poll_add(outer, poll, WS_POLL_IN, 1), 0);
    pair(fds);
    CHECK_INT(ws_poll_add(poll, fds[0], WS_POLL_IN, 7), 0);
    expect(outer, 0, 0);
    for (int round = 0; round < 3; round++) {
        CHECK_INT(ws_poll_wake(poll, waker, 1), 0);
        for (int i = 0; i < 3; i++) {
            expect(outer, 1, WS_POLL_IN);
            expect(poll, WS_POLL_WAKER, WS_POLL_IN);
        }
        CHECK_INT(write(fds[1], "x", 1), 1);
        CHECK_INT(ws_poll_wait(poll, events, WS_POLL_BATCH), 2);
        CHECK(events[0].token == 7 || events[1].token == 7);
        CHECK(events[0].token == WS_POLL_WAKER ||
              events[1].token == WS_POLL_WAKER);
        CHECK_INT(ws_poll_wake(poll, waker, 0), 0);
        expect(outer, 1, WS_POLL_IN);
        expect(poll, 7, WS_POLL_IN);
        CHECK_INT(recv(fds[0], events, sizeof(events), 0), 1);
        expect(outer, 0, 0);
        expect(poll, 0, 0);
    }
    close(fds[0]);
    close(fds[1]);
    close(outer);
    ws_poll_close(poll, waker);
}

static const struct test tests[] = {
    {"in and out", test_in_and_out},
    {"one in another", test_nested},
    {"the waker", test_waker},
    {"a hang-up is told once", test_hup_is_an_edge},
    {"a reset", test_reset},
    {"an error is taken once", test_error_is_taken_once},
    {"tokens", test_tokens},
    {"more than a batch", test_more_than_a_batch},
    {"errors of the poller", test_poll_errors},
    {"socket calls", test_sockio},
    {"a full socket", test_full_socket},
    {"accept", test_accept},
    {"close", test_close},
    {NULL, NULL},
};

#else

static void
test_nothing(void)
{
    CHECK(1);
}

static const struct test tests[] = {
    {"not on this system", test_nothing},
    {NULL, NULL},
};

#endif

const struct suite suite_poll = {"poll", tests};
