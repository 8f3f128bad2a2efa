/* ws_mask.h - masking of payloads (RFC 6455, 5.3): copy and XOR in one pass.
 *
 * One kernel for each instruction set; they all compute the same bytes.  The
 * kernels that this machine can run stand in a list, best first.  The core
 * keeps no chosen kernel: whoever masks keeps the pointer that
 * ws_mask_select() returned.
 */
#ifndef WS_MASK_H
#define WS_MASK_H

#include "ws_base.h"

/* A kernel writes |n| bytes to |dst|: dst[i] = src[i] ^ key[(phase + i) % 4].
 * |dst| is |src| itself, or the two do not overlap.  Any alignment, any |n|
 * (0 included); nothing outside dst[0..n) is written and nothing outside
 * src[0..n) is read.  |phase| is 0..3: where in the key the first byte stands,
 * so that a payload can be masked in pieces.  RFC 6455, 5.3: "the same
 * algorithm applies regardless of the direction of the translation". */
typedef void (*ws_mask_fn)(uint8_t *dst, const uint8_t *src, size_t n,
                           const uint8_t key[4], unsigned phase);

struct ws_mask_kernel {
    /* name, as PICOWS_C_MASK spells it: "avx512", "avx2", "sse2",
     * "neon", "generic". */
    const char *name;
    ws_mask_fn fn;
    /* supported returns whether this processor (and its operating system)
     * can run |fn|. */
    int (*supported)(void);
};

/* ws_mask_kernels returns the kernels compiled in, best first, and stores
 * their number in |*count|.  The last one is "generic", which every machine
 * can run. */
const struct ws_mask_kernel *ws_mask_kernels(size_t *count);

/* ws_mask_select returns the best supported kernel where |name| is NULL or
 * empty, else the kernel of that name; NULL where there is none of that name
 * or this machine cannot run it. */
const struct ws_mask_kernel *ws_mask_select(const char *name);

/* ws_mask_key_rotated puts the 4 bytes of |key|, beginning at |phase|, into a
 * 32-bit word in the machine's byte order, ready to be XORed. */
static inline uint32_t
ws_mask_key_rotated(const uint8_t key[4], unsigned phase)
{
    uint8_t k[4];
    uint32_t word;
    for (unsigned i = 0; i < 4; i++) {
        k[i] = key[(phase + i) & 3u];
    }
    memcpy(&word, k, sizeof(word));
    return word;
}

#endif /* WS_MASK_H */
