/* test_mask.c - every mask kernel that this machine can run, against a loop
 * over single bytes.
 *
 * The sources stand in one block of noise, so that what a payload must become
 * is computed once for an offset and a phase, not for each length.
 */
#include "check.h"
#include "ws_mask.h"

#define OFFSETS 64
#define LEN_MAX 300
#define AROUND 64 /* bytes looked at before and behind a destination */
#define BLOCK (AROUND + OFFSETS + LEN_MAX + AROUND)
#define LARGE ((size_t)1 << 20)

static _Alignas(64) uint8_t noise[BLOCK];
static _Alignas(64) uint8_t block[BLOCK];
static uint8_t canary[BLOCK];
static uint8_t want[BLOCK];
/* 5.7's example key: four different bytes. */
static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};

/* The kernel under test, and the case that failed where a check fails. */
static const struct ws_mask_kernel *kernel;

static void
expect_bytes(const uint8_t *got, const uint8_t *wanted, size_t n,
             const char *what, size_t len, size_t src_off, size_t dst_off,
             unsigned phase)
{
    if (n != 0 && memcmp(got, wanted, n) != 0) {
        check_context("%s: %s, len %zu, src +%zu, dst +%zu, phase %u",
                      kernel->name, what, len, src_off, dst_off, phase);
    }
    CHECK_BYTES(got, wanted, n);
}

static void
mask_reference(uint8_t *dst, const uint8_t *src, size_t n, unsigned phase)
{
    for (size_t i = 0; i < n; i++) {
        dst[i] = (uint8_t)(src[i] ^ key[(phase + i) % 4]);
    }
}

static void
fill_random(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        p[i] = (uint8_t)(check_random() >> 7);
    }
}

/* each_kernel runs |test| with |kernel| set to each one that can run here. */
static void
each_kernel(void (*test)(void))
{
    size_t count;
    const struct ws_mask_kernel *k = ws_mask_kernels(&count);
    fill_random(noise, sizeof(noise));
    memset(canary, 0xEE, sizeof(canary));
    for (size_t i = 0; i < count; i++) {
        if (!k[i].supported())
            continue;
        kernel = &k[i];
        check_context("%s", kernel->name);
        test();
    }
}

static void
test_selection(void)
{
    static const char *const best_first[] = {"avx512", "avx2", "sse2", "neon",
                                             "generic"};
    static const char *const wrong[] = {"none",  "AVX2", "sse",
                                        "sse22", " ",    "generic "};
    size_t count, rank = 0;
    const struct ws_mask_kernel *k = ws_mask_kernels(&count);
    const struct ws_mask_kernel *best = NULL;
    CHECK(count >= 1);
    for (size_t i = 0; i < count; i++) {
        check_context("kernel %s", k[i].name);
        while (rank < 5 && strcmp(best_first[rank], k[i].name) != 0)
            rank++;
        CHECK(rank < 5); /* a known name, and none out of order or twice */
        rank++;
        CHECK(k[i].fn != NULL);
        int supported = k[i].supported();
        CHECK(ws_mask_select(k[i].name) == (supported ? &k[i] : NULL));
        if (best == NULL && supported)
            best = &k[i];
        if (!supported) {
            printf(
                "note mask     %s is compiled in, and NOT TESTED: this "
                "machine cannot run it\n",
                k[i].name);
        }
    }
    CHECK(strcmp(k[count - 1].name, "generic") == 0);
    CHECK(k[count - 1].supported());
    CHECK(ws_mask_select(NULL) == best);
    CHECK(ws_mask_select("") == best);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        check_context("kernel '%s'", wrong[i]);
        CHECK(ws_mask_select(wrong[i]) == NULL);
    }
#if defined(WS_ARCH_X86)
    CHECK(ws_mask_select("sse2") != NULL);
    CHECK(ws_mask_select("neon") == NULL);
#  if defined(__GNUC__) && !defined(_MSC_VER)
    /* The compiler's own run-time library asks the same question. */
    __builtin_cpu_init();
    CHECK_INT(ws_mask_select("avx2") != NULL,
              __builtin_cpu_supports("avx2") != 0);
#  endif
#elif defined(WS_ARCH_AARCH64) && !defined(__AARCH64EB__)
    CHECK(ws_mask_select("neon") != NULL);
    CHECK(ws_mask_select("sse2") == NULL);
#endif
}

static void
test_key_rotated(void)
{
    for (unsigned phase = 0; phase < 4; phase++) {
        uint32_t word = ws_mask_key_rotated(key, phase);
        uint8_t bytes[4], zero[4] = {0};
        memcpy(bytes, &word, 4);
        mask_reference(want, zero, 4, phase);
        CHECK_BYTES(bytes, want, 4);
    }
}

/* RFC 6455, 5.7: "A single-frame masked text message", which says Hello. */
static void
kernel_example(void)
{
    static const uint8_t masked[5] = {0x7f, 0x9f, 0x4d, 0x51, 0x58};
    uint8_t out[5];
    kernel->fn(out, (const uint8_t *)"Hello", 5, key, 0);
    CHECK_BYTES(out, masked, 5);
    kernel->fn(out, out, 5, key, 0);
    CHECK_BYTES(out, "Hello", 5);
    kernel->fn(NULL, NULL, 0, key, 3); /* an empty payload may be nowhere */
}

/* copy_once masks |len| bytes from noise + |src_off| to an address that is
 * |dst_off| more than a multiple of 64; |want| holds what must come out. */
static void
copy_once(size_t len, size_t src_off, size_t dst_off, unsigned phase)
{
    uint8_t *dst = block + AROUND + dst_off;
    memset(dst - AROUND, 0xEE, len + 2 * AROUND);
    kernel->fn(dst, noise + src_off, len, key, phase);
    expect_bytes(dst, want, len, "copy", len, src_off, dst_off, phase);
    expect_bytes(dst - AROUND, canary, AROUND, "before the copy", len, src_off,
                 dst_off, phase);
    expect_bytes(dst + len, canary, AROUND, "behind the copy", len, src_off,
                 dst_off, phase);
}

static void
kernel_copy(void)
{
    for (unsigned phase = 0; phase < 4; phase++) {
        for (size_t src = 0; src < OFFSETS; src++) {
            mask_reference(want, noise + src, LEN_MAX, phase);
            for (size_t len = 0; len <= LEN_MAX; len++) {
                size_t dst = (src * 5 + len * 3 + phase * 17) % OFFSETS;
                copy_once(len, src, dst, phase);
            }
        }
        for (size_t dst = 0; dst < OFFSETS; dst++) {
            size_t src = (dst * 11 + phase * 23) % OFFSETS;
            mask_reference(want, noise + src, LEN_MAX, phase);
            for (size_t len = 0; len <= LEN_MAX; len++) {
                copy_once(len, src, dst, phase);
            }
        }
    }
}

static void
kernel_in_place(void)
{
    for (unsigned phase = 0; phase < 4; phase++) {
        for (size_t off = 0; off < OFFSETS; off++) {
            const uint8_t *src = noise + AROUND + off;
            uint8_t *p = block + AROUND + off;
            mask_reference(want, src, LEN_MAX, phase);
            for (size_t len = 0; len <= LEN_MAX; len++) {
                memcpy(p - AROUND, src - AROUND, len + 2 * AROUND);
                kernel->fn(p, p, len, key, phase);
                expect_bytes(p, want, len, "in place", len, off, off, phase);
                expect_bytes(p - AROUND, src - AROUND, AROUND, "before", len,
                             off, off, phase);
                expect_bytes(p + len, src + len, AROUND, "behind", len, off,
                             off, phase);
            }
        }
    }
}

/* Payloads that begin where a guard page ends, or end where one begins: a
 * multiple of every machine's page size does both. */
static void
kernel_guards(void)
{
    const size_t room = 65536;
    uint8_t *from = guard_new(room), *to = guard_new(room);
    for (unsigned phase = 0; phase < 4; phase++) {
        mask_reference(want, noise, LEN_MAX, phase);
        for (size_t len = 0; len <= LEN_MAX; len++) {
            for (unsigned ends = 0; ends < 4; ends++) {
                uint8_t *src = ends & 1 ? from + room - len : from;
                uint8_t *dst = ends & 2 ? to + room - len : to;
                if (len != 0)
                    memcpy(src, noise, len);
                kernel->fn(dst, src, len, key, phase);
                expect_bytes(dst, want, len, "guarded copy", len, ends & 1,
                             ends & 2, phase);
                expect_bytes(src, noise, len, "guarded source", len, ends & 1,
                             ends & 2, phase);
                kernel->fn(src, src, len, key, phase);
                expect_bytes(src, want, len, "guarded in place", len, ends & 1,
                             ends & 1, phase);
            }
        }
    }
    guard_free(from, room);
    guard_free(to, room);
}

/* A payload masked in pieces, each taking the phase over from the last one. */
static void
kernel_pieces(void)
{
    for (unsigned round = 0; round < 2000; round++) {
        unsigned phase = round % 4;
        size_t most = round % 3 == 0 ? 5 : round % 3 == 1 ? 40 : 290;
        mask_reference(want, noise, LEN_MAX, phase);
        memcpy(block, noise, LEN_MAX);
        for (size_t done = 0; done < LEN_MAX;) {
            size_t n = check_random() % (most + 1);
            if (n > LEN_MAX - done)
                n = LEN_MAX - done;
            const uint8_t *src = round % 8 < 4 ? noise : block;
            kernel->fn(block + done, src + done, n, key,
                       (unsigned)(phase + done) % 4);
            done += n;
        }
        expect_bytes(block, want, LEN_MAX, "pieces", LEN_MAX, 0, 0, phase);
    }
}

/* large_once masks |len| bytes of |src|, copying to |dst| and then in place;
 * |wanted| holds what must come out, and |src| is given back as it was. */
static void
large_once(uint8_t *dst, uint8_t *src, size_t len, const uint8_t *wanted,
           unsigned phase)
{
    size_t src_off = (uintptr_t)src % 64, dst_off = (uintptr_t)dst % 64;
    uint8_t before = dst[-1], behind = dst[len];
    kernel->fn(dst, src, len, key, phase);
    expect_bytes(dst, wanted, len, "large", len, src_off, dst_off, phase);
    CHECK_INT(dst[-1], before);
    CHECK_INT(dst[len], behind);
    before = src[-1], behind = src[len];
    kernel->fn(src, src, len, key, phase);
    expect_bytes(src, wanted, len, "large in place", len, src_off, src_off,
                 phase);
    CHECK_INT(src[-1], before);
    CHECK_INT(src[len], behind);
    mask_reference(src, src, len, phase);
}

static void
kernel_large(void)
{
    const size_t room = LARGE + 600;
    uint8_t *src = malloc(room), *dst = malloc(room), *wanted = malloc(room);
    CHECK(src != NULL && dst != NULL && wanted != NULL);
    fill_random(src, room);
    memset(dst, 0, room);
    for (size_t off = 1; off <= OFFSETS; off++) {
        mask_reference(wanted, src + off, 1200, off % 4);
        for (size_t len = LEN_MAX + 1; len < 1200; len += 13) {
            large_once(dst + 1 + off * 7 % 64, src + off, len, wanted, off % 4);
        }
    }
    mask_reference(wanted, src + 15, 65536 + 70, 1);
    for (size_t len = 65536 - 70; len <= 65536 + 70; len += 5) {
        large_once(dst + 1 + len % 64, src + 15, len, wanted, 1);
    }
    /* Around the lengths from which on a kernel takes other ways. */
    for (size_t off = 1; off <= OFFSETS; off++) {
        mask_reference(wanted, src + off, 4096 + 300, off % 4);
        for (size_t len = 4096 - 7; len < 4096 + 300; len += 11) {
            large_once(dst + 1 + off * 11 % 64, src + off, len, wanted,
                       off % 4);
        }
    }
    mask_reference(wanted, src + 6, LARGE + 300, 2);
    for (size_t len = LARGE - 1; len < LARGE + 300; len += 43) {
        large_once(dst + 14 + len % 64, src + 6, len, wanted, 2);
    }
    free(src);
    free(dst);
    free(wanted);
}

static void
test_example(void)
{
    each_kernel(kernel_example);
}

static void
test_copy(void)
{
    each_kernel(kernel_copy);
}

static void
test_in_place(void)
{
    each_kernel(kernel_in_place);
}

static void
test_guards(void)
{
    each_kernel(kernel_guards);
}

static void
test_pieces(void)
{
    each_kernel(kernel_pieces);
}

static void
test_large(void)
{
    each_kernel(kernel_large);
}

static const struct test tests[] = {
    {"selection", test_selection},
    {"the key begins at the phase", test_key_rotated},
    {"RFC 6455, 5.7", test_example},
    {"every offset, length and phase", test_copy},
    {"in place", test_in_place},
    {"between guard pages", test_guards},
    {"pieces equal one pass", test_pieces},
    {"large payloads", test_large},
    {NULL, NULL},
};

extern const struct suite suite_mask;
const struct suite suite_mask = {"mask", tests};
