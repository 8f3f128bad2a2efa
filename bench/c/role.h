/* role.h - what one process of the reference can be, and its arguments. */
#ifndef ROLE_H
#define ROLE_H

#include <stdint.h>

struct args {
    int port;
    /* size is that of a payload, in bytes. */
    unsigned size;
    /* count is how many messages are measured; a tenth as many come before. */
    uint64_t count;
    unsigned connections;
    /* batch is how many messages a client has in flight on each connection. */
    unsigned batch;
    /* latency: the client prints percentiles of its round trips. */
    int latency;
    /* file has ready-made frames; for the source. */
    const char *file;
    /* extension is what the source agrees on in its handshake; or "". */
    const char *extension;
};

/* Servers: they print their port first, then their figures. */
void role_echo(const struct args *a);
void role_source(const struct args *a);

/* Clients. */
void role_ask(const struct args *a);   /* messages in flight, answers awaited */
void role_knock(const struct args *a); /* connections, |count| waves of them */
void role_stay(
    const struct args *a); /* connections that do nothing, after an echo */
void role_hear(const struct args *a); /* connections that only receive */

#endif /* ROLE_H */
