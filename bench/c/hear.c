/* hear.c - connections that only receive: to each |count| messages, and a tenth
 * as many before.  The first of them sends a message whenever all have heard
 * the last one, so that a server that sends to all knows when to go on. */
#include "figures.h"
#include "frame.h"
#include "http.h"
#include "role.h"
#include "socket.h"

#include <stdio.h>
#include <stdlib.h>

static void
next(int fd)
{
    uint8_t frame[FRAME_HEAD_MAX + 4];
    static const uint8_t text[4] = "next";
    uint8_t *end = frame_write(frame, FRAME_BINARY, text, sizeof(text), 1);
    socket_send(fd, frame, (size_t)(end - frame));
}

void
role_hear(const struct args *a)
{
    int *fds = allocated(calloc(a->connections, sizeof(*fds)));
    struct input *inputs = allocated(calloc(a->connections, sizeof(*inputs)));
    uint64_t left = a->count + a->count / 10;
    unsigned numbers[WATCH_MAX], heard = 0;
    int watch = watch_new();

    for (unsigned i = 0; i < a->connections; i++) {
        fds[i] = http_connect(a->port);
        watch_add(watch, fds[i], i);
    }
    next(fds[0]);
    while (left > 0) {
        unsigned n = watch_wait(watch, numbers);
        for (unsigned i = 0; i < n && left > 0; i++) {
            struct input *in = &inputs[numbers[i]];
            uint8_t *data;
            struct frame f;
            size_t len = input_read(in, fds[numbers[i]], &data), used;
            if (len == 0) {
                fprintf(stderr, "the server closed the connection\n");
                exit(1);
            }
            while ((used = frame_next(data, len, &f)) != 0) {
                data += used;
                len -= used;
                heard++;
            }
            input_keep(in, data, len);
            if (heard == a->connections) {
                heard = 0;
                if (--left == a->count) {
                    figures_begin();
                }
                if (left > 0) {
                    next(fds[0]);
                }
            }
        }
    }
    figures_end();
    figures_print(a->count * a->connections, NULL, 0);
}
