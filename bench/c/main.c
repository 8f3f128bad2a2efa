/* main.c - one process of the reference: close to what C without a library
 * reaches, and light enough to make load for others.
 *
 *     reference ROLE [--port N] [--size N] [--count N] [--connections N]
 *               [--batch N] [--latency 1] [--file NAME] [--extension TEXT]
 */
#include "role.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    void (*run)(const struct args *a);
} roles[] = {
    {"echo", role_echo},   {"source", role_source}, {"ask", role_ask},
    {"knock", role_knock}, {"stay", role_stay},     {"hear", role_hear},
};

static int
set(struct args *a, const char *name, const char *value)
{
    unsigned long long number = strtoull(value, NULL, 10);
    if (strcmp(name, "--port") == 0) {
        a->port = (int)number;
    }
    else if (strcmp(name, "--size") == 0) {
        a->size = (unsigned)number;
    }
    else if (strcmp(name, "--count") == 0) {
        a->count = number;
    }
    else if (strcmp(name, "--connections") == 0) {
        a->connections = (unsigned)number;
    }
    else if (strcmp(name, "--batch") == 0) {
        a->batch = (unsigned)number;
    }
    else if (strcmp(name, "--latency") == 0) {
        a->latency = (int)number;
    }
    else if (strcmp(name, "--file") == 0) {
        a->file = value;
    }
    else if (strcmp(name, "--extension") == 0) {
        a->extension = value;
    }
    else {
        return 0;
    }
    return 1;
}

int
main(int argc, char **argv)
{
    struct args a = {
        .size = 256, .connections = 1, .batch = 1, .extension = ""};
    int known = argc >= 2 && argc % 2 == 0;
    for (int i = 2; known && i < argc; i += 2) {
        known = set(&a, argv[i], argv[i + 1]);
    }
    for (size_t i = 0; known && i < sizeof(roles) / sizeof(roles[0]); i++) {
        if (strcmp(argv[1], roles[i].name) == 0) {
            roles[i].run(&a);
            return 0;
        }
    }
    fprintf(stderr,
            "usage: %s echo|source|ask|knock|stay|hear [--name value ...]\n",
            argv[0]);
    return 2;
}
