/* echo.c - a server that sends each message back; the answers to what came in
 * one piece leave in one piece. */
#include "figures.h"
#include "frame.h"
#include "http.h"
#include "role.h"
#include "socket.h"

#include <stdlib.h>
#include <unistd.h>

#define FEW 65536

struct echo {
    uint64_t left;
    uint64_t count;
    uint8_t *out;
    size_t room;
};

static void
counted(struct echo *e)
{
    e->left--;
    if (e->left == e->count) {
        figures_begin();
    }
    else if (e->left == 0) {
        figures_end();
        figures_print(e->count, NULL, 0);
    }
}

/* Returns 0 where the connection ends. */
static int
answer(struct echo *e, int fd, struct input *in)
{
    uint8_t *data;
    struct frame f;
    size_t len = input_read(in, fd, &data), used;
    if (len == 0) {
        return 0;
    }
    if (e->room < len + FEW * FRAME_HEAD_MAX) {
        e->room = 2 * len + FEW * FRAME_HEAD_MAX;
        e->out = allocated(realloc(e->out, e->room));
    }
    uint8_t *end = e->out;
    int goes_on = 1;
    while (goes_on && (used = frame_next(data, len, &f)) != 0) {
        end = frame_write(end, f.opcode, f.payload, f.len, 0);
        goes_on = f.opcode != FRAME_CLOSE;
        data += used;
        len -= used;
        counted(e);
    }
    input_keep(in, data, len);
    socket_send(fd, e->out, (size_t)(end - e->out));
    return goes_on;
}

void
role_echo(const struct args *a)
{
    struct echo e = {.left = a->count + a->count / 10, .count = a->count};
    struct input *inputs = NULL;
    unsigned numbers[WATCH_MAX], known = 0;
    int listening = socket_listen(), watch = watch_new();

    /* A connection's number is its descriptor. */
    watch_add(watch, listening, (unsigned)listening);
    for (;;) {
        unsigned n = watch_wait(watch, numbers);
        for (unsigned i = 0; i < n; i++) {
            int fd = (int)numbers[i];
            if (fd == listening) {
                fd = socket_accept(listening);
                http_accept(fd, "");
                if ((unsigned)fd >= known) {
                    known = (unsigned)fd + 1024;
                    inputs =
                        allocated(realloc(inputs, known * sizeof(*inputs)));
                }
                inputs[fd] = (struct input){NULL, 0, 0};
                watch_add(watch, fd, (unsigned)fd);
            }
            else if (!answer(&e, fd, &inputs[fd])) {
                free(inputs[fd].rest);
                close(fd);
            }
        }
    }
}
