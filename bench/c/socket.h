/* socket.h - blocking TCP over 127.0.0.1; what fails ends the program. */
#ifndef SOCKET_H
#define SOCKET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* die prints |what| and the system's error, and exits. */
_Noreturn void die(const char *what);

/* allocated returns |p|, or exits where it is NULL. */
void *allocated(void *p);

/* socket_listen listens on any port and prints it. */
int socket_listen(void);
int socket_accept(int listening);
int socket_connect(int port);

/* socket_send returns 0 where the peer has gone. */
int socket_send(int fd, const void *data, size_t len);
/* socket_recv returns 0 at the end of the stream, and where it was reset. */
size_t socket_recv(int fd, void *data, size_t room);
/* socket_peek does the same, and the bytes stay. */
size_t socket_peek(int fd, void *data, size_t room);

/* What came from one connection and is not a whole frame yet. */
struct input {
    uint8_t *rest;
    size_t len;
    size_t cap;
};

/* input_read receives once: |*data| is what is there then, the rest of the last
 * time included, good until the next call for any connection.  Returns its
 * length, 0 at the end of the stream. */
size_t input_read(struct input *in, int fd, uint8_t **data);

/* input_keep keeps the last |len| bytes of what input_read() returned; they
 * begin at |data|. */
void input_keep(struct input *in, const uint8_t *data, size_t len);

/* A set of descriptors; each has a number of ours. */
int watch_new(void);
void watch_add(int watch, int fd, unsigned number);
/* watch_wait stores up to 256 numbers whose descriptors can be read. */
#define WATCH_MAX 256
unsigned watch_wait(int watch, unsigned numbers[WATCH_MAX]);

#endif /* SOCKET_H */
