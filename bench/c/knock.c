/* knock.c - a client that opens connections, wave after wave, and closes them.
 */
#include "figures.h"
#include "frame.h"
#include "http.h"
#include "role.h"
#include "socket.h"

#include <stdlib.h>
#include <unistd.h>

/* So many handshakes are under way at a time. */
#define AT_ONCE 32

static void
wave(const struct args *a, int *fds)
{
    uint8_t frame[FRAME_HEAD_MAX + 2];
    static const uint8_t code[2] = {1000 >> 8, 1000 & 0xFF};

    for (unsigned i = 0; i < a->connections; i += AT_ONCE) {
        unsigned end =
            a->connections - i < AT_ONCE ? a->connections : i + AT_ONCE;
        for (unsigned j = i; j < end; j++) {
            fds[j] = socket_connect(a->port);
            http_ask(fds[j], a->port);
        }
        for (unsigned j = i; j < end; j++) {
            http_agreed(fds[j]);
        }
    }
    for (unsigned i = 0; i < a->connections; i++) {
        uint8_t *end = frame_write(frame, FRAME_CLOSE, code, sizeof(code), 1);
        socket_send(fds[i], frame, (size_t)(end - frame));
    }
    for (unsigned i = 0; i < a->connections; i++) {
        uint8_t rest[256];
        while (socket_recv(fds[i], rest, sizeof(rest)) > 0) {
        }
        close(fds[i]);
    }
}

void
role_knock(const struct args *a)
{
    int *fds = allocated(calloc(a->connections, sizeof(*fds)));
    wave(a, fds);
    figures_begin();
    for (uint64_t i = 0; i < a->count; i++) {
        wave(a, fds);
    }
    figures_end();
    figures_print(a->count * a->connections, NULL, 0);
    free(fds);
}
