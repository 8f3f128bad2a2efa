/* source.c - a server that sends the messages of a file, again and again, as
 * fast as they are taken: first those that warm the client up, then, when it
 * has had them and says so by a message, those that are measured.  Who reads
 * ahead of its consumer has none of these before. */
#include "frame.h"
#include "http.h"
#include "role.h"
#include "socket.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct messages {
    uint8_t *data;
    size_t len;
    /* where the next one begins */
    size_t at;
};

static void
load(struct messages *m, const char *name)
{
    FILE *file = fopen(name, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        die(name);
    }
    m->len = (size_t)ftell(file);
    rewind(file);
    m->data = allocated(malloc(m->len));
    if (fread(m->data, 1, m->len, file) != m->len) {
        die(name);
    }
    fclose(file);
}

/* The end of the first |count| messages that begin at m->at, or of the file;
 * takes from |*count| what there are. */
static size_t
span(const struct messages *m, uint64_t *count)
{
    struct frame f;
    size_t end = m->at;
    while (*count > 0 && end < m->len) {
        end += frame_next(m->data + end, m->len - end, &f);
        --*count;
    }
    return end;
}

/* 0 where the peer has gone. */
static int
give(struct messages *m, int fd, uint64_t count)
{
    while (count > 0) {
        size_t end = span(m, &count);
        if (!socket_send(fd, m->data + m->at, end - m->at)) {
            return 0;
        }
        m->at = end == m->len ? 0 : end;
    }
    return 1;
}

void
role_source(const struct args *a)
{
    struct messages m = {0};
    uint8_t word[64];
    load(&m, a->file);
    int listening = socket_listen();
    int fd = socket_accept(listening);
    http_accept(fd, a->extension);
    if (give(&m, fd, a->count / 10) &&
        socket_recv(fd, word, sizeof(word)) > 0) {
        (void)give(&m, fd, a->count);
    }
    /* The client goes when it has had all. */
    while (socket_recv(fd, word, sizeof(word)) > 0) {
    }
    close(fd);
    printf("{}\n");
    fflush(stdout);
    pause();
}
