/* fuzz_mask.c - every kernel that this machine can run against one byte after
 * the other: at any alignment, in place, in pieces; nothing outside of the
 * bounds is read or written.
 *
 * The input begins with the key, the phase, two alignments and a cut; the rest
 * is the payload.
 */
#include "fuzz.h"
#include "ws_mask.h"

enum { HEADER = 9, BEFORE = 64, AFTER = 64 };

/* A block whose byte |offset| begins |n| bytes that end with it, so that
 * AddressSanitizer guards their end. */
static uint8_t *
block_new(size_t offset, size_t n)
{
    uint8_t *block = fuzz_new(offset + n);
    memset(block, 0xC3, offset + n);
    return block;
}

static void
kernel_check(ws_mask_fn fn, const uint8_t *payload, size_t n,
             const uint8_t key[4], unsigned phase, size_t src_off,
             size_t dst_off, size_t cut, const uint8_t *want)
{
    uint8_t *src = block_new(src_off, n), *dst = block_new(dst_off, n);

    /* From one place to another, up to the end of both. */
    if (n != 0) {
        memcpy(src + src_off, payload, n);
    }
    fn(dst + dst_off, src + src_off, n, key, phase);
    MUST(n == 0 || memcmp(dst + dst_off, want, n) == 0);
    MUST(n == 0 || memcmp(src + src_off, payload, n) == 0);
    for (size_t i = 0; i < dst_off; i++) {
        MUST(dst[i] == 0xC3);
    }

    /* In place. */
    fn(src + src_off, src + src_off, n, key, phase);
    MUST(n == 0 || memcmp(src + src_off, want, n) == 0);
    /* And back again, in two pieces. */
    fn(src + src_off, src + src_off, cut, key, phase);
    fn(src + src_off + cut, src + src_off + cut, n - cut, key,
       (unsigned)(phase + cut) % 4);
    MUST(n == 0 || memcmp(src + src_off, payload, n) == 0);
    free(dst);

    /* In the middle of other bytes, which stay as they are. */
    dst = fuzz_new(BEFORE + dst_off + n + AFTER);
    memset(dst, 0x3C, BEFORE + dst_off + n + AFTER);
    uint8_t *at = dst + BEFORE + dst_off;
    fn(at, src + src_off, n, key, phase);
    MUST(n == 0 || memcmp(at, want, n) == 0);
    for (size_t i = 0; i < BEFORE + dst_off; i++) {
        MUST(dst[i] == 0x3C);
    }
    for (size_t i = 0; i < AFTER; i++) {
        MUST(at[n + i] == 0x3C);
    }
    free(dst);
    free(src);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEADER) {
        return 0;
    }
    const uint8_t *key = data, *payload = data + HEADER;
    unsigned phase = data[4] % 4;
    size_t n = size - HEADER, kernels;
    size_t cut = n == 0 ? 0 : (data[7] * 256u + data[8]) % (n + 1);
    const struct ws_mask_kernel *kernel = ws_mask_kernels(&kernels);
    uint8_t *want = fuzz_new(n);

    for (size_t i = 0; i < n; i++) {
        want[i] = payload[i] ^ key[(phase + i) % 4];
    }
    for (size_t i = 0; i < kernels; i++) {
        int is_there = kernel[i].supported() != 0;
        MUST((ws_mask_select(kernel[i].name) == &kernel[i]) == is_there);
        if (is_there) {
            kernel_check(kernel[i].fn, payload, n, key, phase, data[5] % 65,
                         data[6] % 65, cut, want);
        }
    }
    free(want);
    return 0;
}
