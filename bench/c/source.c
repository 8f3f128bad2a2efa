/* source.c - a server that sends what is in a file, again and again, as fast as
 * it is taken, until the client has enough of it. */
#include "http.h"
#include "role.h"
#include "socket.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static uint8_t *
load(const char *name, size_t *len)
{
    FILE *file = fopen(name, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        die(name);
    }
    *len = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = allocated(malloc(*len));
    if (fread(data, 1, *len, file) != *len) {
        die(name);
    }
    fclose(file);
    return data;
}

void
role_source(const struct args *a)
{
    size_t len;
    uint8_t *data = load(a->file, &len);
    int listening = socket_listen();
    int fd = socket_accept(listening);
    http_accept(fd, a->extension);
    while (socket_send(fd, data, len)) {
    }
    close(fd);
    printf("{}\n");
    fflush(stdout);
    pause();
}
