/* stay.c - connections that are there and do nothing, after one echo each.
 *
 * A first tenth warms the server up.  A line is printed after these and after
 * the others; each time a line of standard input lets it go on. */
#include "frame.h"
#include "http.h"
#include "role.h"
#include "socket.h"

#include <stdio.h>
#include <stdlib.h>

void
role_stay(const struct args *a)
{
    uint8_t *message = allocated(calloc(1, a->size + 1));
    uint8_t *out = allocated(malloc(FRAME_HEAD_MAX + (size_t)a->size));
    unsigned waves[] = {a->connections / 10, a->connections};

    for (int i = 0; i < 2; i++) {
        for (unsigned j = 0; j < waves[i]; j++) {
            int fd = http_connect(a->port);
            struct input in = {NULL, 0, 0};
            struct frame f;
            uint8_t *data,
                *end = frame_write(out, FRAME_BINARY, message, a->size, 1);
            if (a->count == 0) {
                continue;
            }
            socket_send(fd, out, (size_t)(end - out));
            for (;;) {
                size_t len = input_read(&in, fd, &data);
                if (len == 0 || frame_next(data, len, &f) != 0) {
                    break;
                }
                input_keep(&in, data, len);
            }
            free(in.rest);
        }
        printf("%u\n", waves[i]);
        fflush(stdout);
        if (getchar() == EOF) {
            return;
        }
    }
}
