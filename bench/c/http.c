#define _GNU_SOURCE
#include "http.h"

#include "sha1.h"
#include "socket.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEAD_MAX 4096

static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/* Reads to the end of a head and no further: what follows are frames. */
static void
read_head(int fd, char head[HEAD_MAX])
{
    for (;;) {
        size_t len = socket_peek(fd, head, HEAD_MAX - 1);
        head[len] = '\0';
        char *end = strstr(head, "\r\n\r\n");
        if (end != NULL) {
            len = (size_t)(end + 4 - head);
            socket_recv(fd, head, len);
            head[len] = '\0';
            return;
        }
        if (len == 0 || len == HEAD_MAX - 1) {
            fprintf(stderr, "no whole HTTP head\n");
            exit(1);
        }
    }
}

void
http_ask(int fd, int port)
{
    char request[512];
    /* (A key that is always the same is enough to measure with.) */
    int n = snprintf(
        request, sizeof(request),
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        port);
    socket_send(fd, request, (size_t)n);
}

void
http_agreed(int fd)
{
    char head[HEAD_MAX];
    read_head(fd, head);
    if (strncmp(head, "HTTP/1.1 101 ", 13) != 0) {
        fprintf(stderr, "refused: %s", head);
        exit(1);
    }
}

int
http_connect(int port)
{
    int fd = socket_connect(port);
    http_ask(fd, port);
    http_agreed(fd);
    return fd;
}

/* Finds a header's value; |*len| is its length without white space around it.
 */
static const char *
header(const char *head, const char *name, size_t *len)
{
    size_t n = strlen(name);
    for (const char *line = head; line != NULL; line = strstr(line, "\r\n")) {
        line += line == head ? 0 : 2;
        if (strncasecmp(line, name, n) == 0 && line[n] == ':') {
            const char *value = line + n + 1;
            value += strspn(value, " \t");
            *len = strcspn(value, " \t\r\n");
            return value;
        }
    }
    return NULL;
}

void
http_accept(int fd, const char *extension)
{
    char head[HEAD_MAX], text[128], answer[512], accept[SHA1_BASE64];
    size_t len;

    read_head(fd, head);
    const char *key = header(head, "Sec-WebSocket-Key", &len);
    if (key == NULL || len > 64) {
        fprintf(stderr, "no Sec-WebSocket-Key\n");
        exit(1);
    }
    /* 4.2.2: the key and the GUID, hashed, in base64. */
    int n = snprintf(text, sizeof(text), "%.*s%s", (int)len, key, guid);
    sha1_base64(text, (size_t)n, accept);
    n = snprintf(
        answer, sizeof(answer),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s%s%s\r\n",
        accept, *extension ? "Sec-WebSocket-Extensions: " : "", extension,
        *extension ? "\r\n" : "");
    socket_send(fd, answer, (size_t)n);
}
