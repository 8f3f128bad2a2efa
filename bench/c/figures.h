/* figures.h - what is measured: rate and CPU of each message, since the
 * warm-up. */
#ifndef FIGURES_H
#define FIGURES_H

#include <stddef.h>
#include <stdint.h>

/* figures_ns returns a monotonic time in nanoseconds. */
uint64_t figures_ns(void);

/* figures_begin notes the time and this process's CPU. */
void figures_begin(void);

/* figures_end notes them again: what comes afterwards does not count. */
void figures_end(void);

/* figures_print writes one line of JSON: the rate of |count| messages between
 * figures_begin() and figures_end(), and the CPU of each.  Where |len| is not 0
 * |ns| has the time of each round trip, and their percentiles are written, too;
 * it gets sorted. */
void figures_print(uint64_t count, uint32_t *ns, size_t len);

#endif /* FIGURES_H */
