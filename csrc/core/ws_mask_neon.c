#include "ws_mask_kernels.h"

#if defined(WS_MASK_NEON)

#  include <arm_neon.h>

WS_INLINE uint8x16_t
neon_key(uint32_t word)
{
    return vreinterpretq_u8_u32(vdupq_n_u32(word));
}

void
ws_mask_neon(uint8_t *dst, const uint8_t *src, size_t n, const uint8_t key[4],
             unsigned phase)
{
    uint32_t word = ws_mask_key_rotated(key, phase);
    if (n < 16) {
        mask_short(dst, src, n, word);
        return;
    }
    uint8x16_t k = neon_key(word);
    uint8x16_t tail =
        veorq_u8(vld1q_u8(src + n - 16), neon_key(mask_key_advanced(word, n)));
    size_t i = 0;
    for (; n - i > 64; i += 64) {
        uint8x16_t a = veorq_u8(vld1q_u8(src + i), k);
        uint8x16_t b = veorq_u8(vld1q_u8(src + i + 16), k);
        uint8x16_t c = veorq_u8(vld1q_u8(src + i + 32), k);
        uint8x16_t d = veorq_u8(vld1q_u8(src + i + 48), k);
        vst1q_u8(dst + i, a);
        vst1q_u8(dst + i + 16, b);
        vst1q_u8(dst + i + 32, c);
        vst1q_u8(dst + i + 48, d);
    }
    for (; n - i > 16; i += 16) {
        vst1q_u8(dst + i, veorq_u8(vld1q_u8(src + i), k));
    }
    vst1q_u8(dst + n - 16, tail);
}

#endif /* WS_MASK_NEON */
