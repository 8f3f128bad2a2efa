/* ask.c - a client with messages in flight on each of its connections. */
#include "figures.h"
#include "frame.h"
#include "http.h"
#include "role.h"
#include "socket.h"

#include <stdio.h>
#include <stdlib.h>

/* Sockets block: what is in flight has to fit into their buffers. */
#define IN_FLIGHT_MAX (256u * 1024)

struct asker {
    int fd;
    unsigned awaited;
    uint64_t sent_ns;
    struct input in;
};

struct asking {
    const struct args *args;
    uint8_t *message;
    uint8_t *out;
    uint64_t left;
    uint32_t *ns;
    size_t noted;
};

static void
ask(struct asking *all, struct asker *one)
{
    const struct args *a = all->args;
    uint8_t *end = all->out;
    for (unsigned i = 0; i < a->batch; i++) {
        end = frame_write(end, FRAME_BINARY, all->message, a->size, 1);
    }
    one->awaited = a->batch;
    if (a->latency) {
        one->sent_ns = figures_ns();
    }
    socket_send(one->fd, all->out, (size_t)(end - all->out));
}

static void
answered(struct asking *all, struct asker *one)
{
    if (all->left == 0) {
        return; /* of those that were in flight at the end */
    }
    all->left--;
    if (all->left == all->args->count) {
        figures_begin();
        all->noted = 0;
    }
    else if (all->left == 0) {
        figures_end();
    }
    if (--one->awaited > 0) {
        return;
    }
    if (all->ns != NULL) {
        all->ns[all->noted++] = (uint32_t)(figures_ns() - one->sent_ns);
    }
    if (all->left > 0) {
        ask(all, one);
    }
}

static void
hear(struct asking *all, struct asker *one)
{
    uint8_t *data;
    struct frame f;
    size_t len = input_read(&one->in, one->fd, &data), used;
    if (len == 0) {
        fprintf(stderr, "the server closed the connection\n");
        exit(1);
    }
    while ((used = frame_next(data, len, &f)) != 0) {
        if (f.opcode != FRAME_BINARY || f.len != all->args->size) {
            fprintf(stderr, "not an echo: opcode %u, %zu bytes\n", f.opcode,
                    f.len);
            exit(1);
        }
        data += used;
        len -= used;
        answered(all, one);
    }
    input_keep(&one->in, data, len);
}

void
role_ask(const struct args *a)
{
    size_t frame = FRAME_HEAD_MAX + (size_t)a->size;
    struct asker *askers = allocated(calloc(a->connections, sizeof(*askers)));
    struct asking all = {
        .args = a,
        .message = allocated(calloc(1, a->size + 1)),
        .out = allocated(malloc(a->batch * frame)),
        .left = a->count + a->count / 10,
    };
    unsigned numbers[WATCH_MAX];
    int watch = watch_new();

    if (a->batch > 1 && a->batch * frame > IN_FLIGHT_MAX) {
        fprintf(stderr, "too much in flight\n");
        exit(1);
    }
    if (a->latency) {
        all.ns =
            allocated(malloc((a->count + a->count / 10) * sizeof(*all.ns)));
    }
    for (unsigned i = 0; i < a->connections; i++) {
        askers[i].fd = http_connect(a->port);
        watch_add(watch, askers[i].fd, i);
    }
    for (unsigned i = 0; i < a->connections; i++) {
        ask(&all, &askers[i]);
    }
    while (all.left > 0) {
        unsigned n = watch_wait(watch, numbers);
        for (unsigned i = 0; i < n; i++) {
            hear(&all, &askers[numbers[i]]);
        }
    }
    figures_print(a->count, all.ns, all.noted);
}
