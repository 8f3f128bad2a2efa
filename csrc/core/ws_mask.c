#include "ws_mask.h"

#include "ws_mask_kernels.h"

/* ws_mask_generic needs nothing but 64-bit arithmetic: 8 bytes at a time. */
void
ws_mask_generic(uint8_t *dst, const uint8_t *src, size_t n,
                const uint8_t key[4], unsigned phase)
{
    uint32_t word = ws_mask_key_rotated(key, phase);
    if (n < 16) {
        mask_short(dst, src, n, word);
        return;
    }
    uint64_t k = mask_key_twice(word);
    uint64_t tail =
        ws_load64(src + n - 8) ^ mask_key_twice(mask_key_advanced(word, n));
    size_t i = 0;
    for (; n - i > 32; i += 32) {
        uint64_t a = ws_load64(src + i) ^ k;
        uint64_t b = ws_load64(src + i + 8) ^ k;
        uint64_t c = ws_load64(src + i + 16) ^ k;
        uint64_t d = ws_load64(src + i + 24) ^ k;
        ws_store64(dst + i, a);
        ws_store64(dst + i + 8, b);
        ws_store64(dst + i + 16, c);
        ws_store64(dst + i + 24, d);
    }
    for (; n - i > 8; i += 8) {
        ws_store64(dst + i, ws_load64(src + i) ^ k);
    }
    ws_store64(dst + n - 8, tail);
}

static int
mask_always_supported(void)
{
    return 1;
}

/* Best first. */
static const struct ws_mask_kernel mask_kernels[] = {
#if defined(WS_MASK_X86)
    {"avx512", ws_mask_avx512, ws_mask_avx512_supported},
    {"avx2", ws_mask_avx2, ws_mask_avx2_supported},
    {"sse2", ws_mask_sse2, mask_always_supported},
#endif
#if defined(WS_MASK_NEON)
    {"neon", ws_mask_neon, mask_always_supported},
#endif
    {"generic", ws_mask_generic, mask_always_supported},
};

const struct ws_mask_kernel *
ws_mask_kernels(size_t *count)
{
    *count = sizeof(mask_kernels) / sizeof(mask_kernels[0]);
    return mask_kernels;
}

const struct ws_mask_kernel *
ws_mask_select(const char *name)
{
    size_t count;
    const struct ws_mask_kernel *k = ws_mask_kernels(&count);
    int any = name == NULL || name[0] == '\0';
    for (size_t i = 0; i < count; i++) {
        if ((any || strcmp(k[i].name, name) == 0) && k[i].supported()) {
            return &k[i];
        }
    }
    return NULL;
}
