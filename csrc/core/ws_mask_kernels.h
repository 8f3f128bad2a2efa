/* ws_mask_kernels.h - private to ws_mask*.c: the kernels' names, and what they
 * share.
 *
 * All kernels have one shape.  The last vector of the payload is loaded before
 * anything is stored and stored after everything else: it may overlap the one
 * before it, and in place (dst == src) its bytes must be read while they are
 * still as they came.  So there is no loop over single bytes, and nothing is
 * touched outside the payload.
 */
#ifndef WS_MASK_KERNELS_H
#define WS_MASK_KERNELS_H

#include "ws_mask.h"

void ws_mask_generic(uint8_t *dst, const uint8_t *src, size_t n,
                     const uint8_t key[4], unsigned phase);

#if defined(WS_ARCH_X86)
#  define WS_MASK_X86 1
void ws_mask_sse2(uint8_t *dst, const uint8_t *src, size_t n,
                  const uint8_t key[4], unsigned phase);
void ws_mask_avx2(uint8_t *dst, const uint8_t *src, size_t n,
                  const uint8_t key[4], unsigned phase);
int ws_mask_avx2_supported(void);
void ws_mask_avx512(uint8_t *dst, const uint8_t *src, size_t n,
                    const uint8_t key[4], unsigned phase);
int ws_mask_avx512_supported(void);
#endif

/* Big-endian AArch64 numbers the lanes of a register the other way round than
 * its words; it takes the generic kernel. */
#if defined(WS_ARCH_AARCH64) && !defined(__AARCH64EB__)
#  define WS_MASK_NEON 1
void ws_mask_neon(uint8_t *dst, const uint8_t *src, size_t n,
                  const uint8_t key[4], unsigned phase);
#endif

/* mask_key_advanced returns |word|, a key in the machine's byte order, as it
 * stands |n| bytes further on: its first |n| % 4 bytes in memory go to its
 * end. */
WS_INLINE uint32_t
mask_key_advanced(uint32_t word, size_t n)
{
    const uint16_t one = 1;
    uint8_t little_endian;
    memcpy(&little_endian, &one, 1); /* a constant to every compiler */
    unsigned right = (unsigned)(little_endian ? n : 0 - n) % 4u * 8u;
    return word >> right | word << (32u - right) % 32u;
}

WS_INLINE uint64_t
mask_key_twice(uint32_t word)
{
    return (uint64_t)word << 32 | word;
}

/* mask_short masks |n| < 16 bytes; |word| is the key as it stands at the first
 * of them. */
WS_INLINE void
mask_short(uint8_t *dst, const uint8_t *src, size_t n, uint32_t word)
{
    if (n >= 8) {
        uint64_t head = ws_load64(src) ^ mask_key_twice(word);
        uint64_t tail =
            ws_load64(src + n - 8) ^ mask_key_twice(mask_key_advanced(word, n));
        ws_store64(dst, head);
        ws_store64(dst + n - 8, tail);
    }
    else if (n >= 4) {
        uint32_t head, tail;
        memcpy(&head, src, 4);
        memcpy(&tail, src + n - 4, 4);
        head ^= word;
        tail ^= mask_key_advanced(word, n);
        memcpy(dst, &head, 4);
        memcpy(dst + n - 4, &tail, 4);
    }
    else if (n > 0) {
        /* First, middle, last: 1 or 2 bytes are written more than once, each
         * time the same. */
        uint8_t key[4];
        size_t middle = n / 2, last = n - 1;
        memcpy(key, &word, 4);
        uint8_t a = (uint8_t)(src[0] ^ key[0]);
        uint8_t b = (uint8_t)(src[middle] ^ key[middle]);
        uint8_t c = (uint8_t)(src[last] ^ key[last]);
        dst[0] = a;
        dst[middle] = b;
        dst[last] = c;
    }
}

#endif /* WS_MASK_KERNELS_H */
