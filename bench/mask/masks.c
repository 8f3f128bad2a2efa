/* masks.c - nanoseconds of one masking: our kernel, the same with a key of
 * zeros, and picows's, by length and alignment.
 *
 * Prints a line of JSON for each length: for each cell (alignment, in place or
 * not) the best of several times, which take turns.  WITH_PICOWS: picows's own
 * sources, from where it is installed, are linked.
 */
#define _GNU_SOURCE
#include "ws_mask.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#if defined(WITH_PICOWS)
#  include "compat.h"
#endif

#define LARGEST ((size_t)16 << 20)
#define SLACK 256
#define REPEATS 25
#define WHO 3

static const size_t lengths[] = {
    1,      2,        3,        4,        5,       7,     8,     9,      12,
    15,     16,       17,       24,       31,      32,    33,    48,     63,
    64,     65,       96,       100,      125,     126,   127,   128,    129,
    200,    256,      257,      384,      512,     1000,  1024,  1500,   2048,
    4096,   4097,     8192,     16384,    32768,   65536, 65537, 131072, 262144,
    524288, 1u << 20, 2u << 20, 4u << 20, LARGEST,
};
static const size_t alignments[] = {0,  1,  2,  3,  4,  7,  8,  14,
                                    15, 16, 24, 31, 32, 33, 48, 63};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const uint8_t key[4] = {0x37, 0xFA, 0x21, 0x3D}, zeros[4] = {0, 0, 0, 0};
static ws_mask_fn kernel;

static uint64_t
now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void
ours(uint8_t *dst, uint8_t *src, size_t n)
{
    kernel(dst, src, n, key, 0);
}

static void
unkeyed(uint8_t *dst, uint8_t *src, size_t n)
{
    kernel(dst, src, n, zeros, 0);
}

#if defined(WITH_PICOWS)
static apply_mask_fn fast;
static size_t fast_alignment;

/* What picows does for one payload: bytes up to an aligned one, whole vectors,
 * then words, then the rest. */
static void
picows(uint8_t *dst, uint8_t *src, size_t n)
{
    uint32_t mask;
    uint8_t *out = dst;
    memcpy(&mask, key, 4);
    size_t at =
        mask_misaligned_bytes_at_front(src, n, mask, fast_alignment, &out);
    uint32_t rotated = (uint32_t)rotate_right(mask, at);
    if (at < n) {
        at = fast(src, n, at, rotated, out);
    }
    if (at < n) {
        at = apply_mask_4(src, n, at, rotated, out);
    }
    if (at < n) {
        apply_mask_1(src, n, at, rotated, out);
    }
}
#endif

typedef void (*masker)(uint8_t *dst, uint8_t *src, size_t n);

int
main(int argc, char **argv)
{
    uint8_t *from = aligned_alloc(64, LARGEST + 2 * SLACK);
    uint8_t *to = aligned_alloc(64, LARGEST + 2 * SLACK);
    masker who[WHO] = {ours, unkeyed, NULL};
    /* How long one time should be, in ns. */
    uint64_t aim = argc > 1 ? strtoull(argv[1], NULL, 10) : 20000;

    if (from == NULL || to == NULL) {
        return 1;
    }
    memset(from, 1, LARGEST + 2 * SLACK);
    memset(to, 1, LARGEST + 2 * SLACK);
    kernel = ws_mask_select(NULL)->fn;
#if defined(WITH_PICOWS)
    fast = get_apply_mask_fast_fn();
    fast_alignment = get_apply_mask_fast_alignment();
    who[2] = picows;
#endif
    for (size_t i = 0; i < COUNT(lengths); i++) {
        size_t n = lengths[i];
        printf("{\"length\": %zu, \"cells\": [", n);
        for (size_t cell = 0; cell < 2 * COUNT(alignments); cell++) {
            int in_place = cell % 2 == 0;
            uint8_t *src = from + SLACK / 2 + alignments[cell / 2];
            /* Behind the longest head of a frame. */
            uint8_t *dst = in_place ? src : to + SLACK / 2 + 14;
            double best[WHO] = {0, 0, 0};
            uint64_t times = 1;
            for (;;) {
                uint64_t began = now();
                for (uint64_t t = 0; t < times; t++) {
                    ours(dst, src, n);
                }
                uint64_t took = now() - began;
                if (took >= aim) {
                    break;
                }
                times *= 2;
            }
            for (int repeat = 0; repeat < REPEATS; repeat++) {
                for (int turn = 0; turn < WHO; turn++) {
                    /* One may leave the bytes in the caches and another may
                     * not: there and back, so that each comes behind each. */
                    int w = repeat % 2 == 0 ? turn : WHO - 1 - turn;
                    if (who[w] == NULL) {
                        continue;
                    }
                    uint64_t began = now();
                    for (uint64_t t = 0; t < times; t++) {
                        who[w](dst, src, n);
                    }
                    double ns = (double)(now() - began) / (double)times;
                    if (best[w] == 0 || ns < best[w]) {
                        best[w] = ns;
                    }
                }
            }
            printf("%s[%zu, %d, %.3f, %.3f, %.3f]", cell == 0 ? "" : ", ",
                   alignments[cell / 2], in_place, best[0], best[1], best[2]);
        }
        printf("]}\n");
        fflush(stdout);
    }
    free(from);
    free(to);
    return 0;
}
