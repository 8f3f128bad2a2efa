#define _GNU_SOURCE
#include "figures.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

struct moment {
    uint64_t ns;
    double user_us;
    double system_us;
};

static struct moment began, ended;

uint64_t
figures_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void
note(struct moment *m)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    m->ns = figures_ns();
    m->user_us =
        (double)usage.ru_utime.tv_sec * 1e6 + (double)usage.ru_utime.tv_usec;
    m->system_us =
        (double)usage.ru_stime.tv_sec * 1e6 + (double)usage.ru_stime.tv_usec;
}

void
figures_begin(void)
{
    note(&began);
}

void
figures_end(void)
{
    note(&ended);
}

static int
compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double
percentile(const uint32_t *sorted, size_t len, double part)
{
    size_t at = (size_t)((double)len * part);
    return sorted[at < len ? at : len - 1] / 1e3;
}

void
figures_print(uint64_t count, uint32_t *ns, size_t len)
{
    double seconds = (double)(ended.ns - began.ns) / 1e9;
    double n = (double)count;
    double user = ended.user_us - began.user_us;
    double system = ended.system_us - began.system_us;

    printf(
        "{\"rate\": %.1f, \"user_us\": %.4f, \"system_us\": %.4f, "
        "\"cpu_seconds\": %.4f, "
        "\"busy\": %.3f",
        n / seconds, user / n, system / n, (user + system) / 1e6,
        (user + system) / 1e6 / seconds);
    if (len != 0) {
        qsort(ns, len, sizeof(*ns), compare);
        printf(", \"p50_us\": %.2f, \"p99_us\": %.2f, \"p999_us\": %.2f",
               percentile(ns, len, 0.5), percentile(ns, len, 0.99),
               percentile(ns, len, 0.999));
    }
    printf("}\n");
    fflush(stdout);
}
