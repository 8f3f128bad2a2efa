#include "ws_mask_kernels.h"

#if defined(WS_MASK_X86)

#  include <immintrin.h>
#  if defined(_MSC_VER)
#    include <intrin.h>
#    if defined(__clang__)
/* On Windows Clang's immintrin.h leaves out what the build flags do not name;
 * once it has been read these may be read by themselves. */
#      include <avxintrin.h>
#      include <avx2intrin.h>
#      include <avx512fintrin.h>
#      include <xsaveintrin.h>
#    endif
#  else
#    include <cpuid.h>
#  endif

WS_INLINE __m128i
x86_load16(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

WS_INLINE void
x86_store16(uint8_t *p, __m128i v)
{
    _mm_storeu_si128((__m128i *)p, v);
}

void
ws_mask_sse2(uint8_t *dst, const uint8_t *src, size_t n, const uint8_t key[4],
             unsigned phase)
{
    uint32_t word = ws_mask_key_rotated(key, phase);
    if (n < 16) {
        mask_short(dst, src, n, word);
        return;
    }
    __m128i k = _mm_set1_epi32((int)word);
    __m128i k_tail = _mm_set1_epi32((int)mask_key_advanced(word, n));
    __m128i tail = _mm_xor_si128(x86_load16(src + n - 16), k_tail);
    size_t i = 0;
    for (; n - i > 64; i += 64) {
        __m128i a = _mm_xor_si128(x86_load16(src + i), k);
        __m128i b = _mm_xor_si128(x86_load16(src + i + 16), k);
        __m128i c = _mm_xor_si128(x86_load16(src + i + 32), k);
        __m128i d = _mm_xor_si128(x86_load16(src + i + 48), k);
        x86_store16(dst + i, a);
        x86_store16(dst + i + 16, b);
        x86_store16(dst + i + 32, c);
        x86_store16(dst + i + 48, d);
    }
    for (; n - i > 16; i += 16) {
        x86_store16(dst + i, _mm_xor_si128(x86_load16(src + i), k));
    }
    x86_store16(dst + n - 16, tail);
}

WS_TARGET("avx2") WS_INLINE __m256i x86_load32(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

WS_TARGET("avx2") WS_INLINE void x86_store32(uint8_t *p, __m256i v)
{
    _mm256_storeu_si256((__m256i *)p, v);
}

/* Masks 128 bytes, past the caches to an aligned |dst| or through them.  All is
 * loaded before anything is stored: where the two lie less than a vector apart
 * within their pages, a load behind a store waits for it. */
WS_TARGET("avx2")
WS_INLINE void
x86_mask128(uint8_t *dst, const uint8_t *src, __m256i k, int past)
{
    __m256i a = _mm256_xor_si256(x86_load32(src), k);
    __m256i b = _mm256_xor_si256(x86_load32(src + 32), k);
    __m256i c = _mm256_xor_si256(x86_load32(src + 64), k);
    __m256i d = _mm256_xor_si256(x86_load32(src + 96), k);
    if (past) {
        _mm256_stream_si256((__m256i *)dst, a);
        _mm256_stream_si256((__m256i *)(dst + 32), b);
        _mm256_stream_si256((__m256i *)(dst + 64), c);
        _mm256_stream_si256((__m256i *)(dst + 96), d);
    }
    else {
        x86_store32(dst, a);
        x86_store32(dst + 32, b);
        x86_store32(dst + 64, c);
        x86_store32(dst + 96, d);
    }
}

/* Above this length it pays to align the stores: of those that are not, every
 * second one touches two cache lines. */
#  define X86_ALIGN_ABOVE 256

/* A copy that is larger than a core's own caches goes past them: a store would
 * first read the line that it is to fill. */
#  define X86_STREAM_FROM (1024 * 1024)

WS_INLINE int
x86_streams(const uint8_t *dst, const uint8_t *src, size_t n)
{
    return n >= X86_STREAM_FROM && dst != src;
}

/* Masks whole 128 bytes to an aligned |dst|; returns how many bytes that were.
 */
WS_TARGET("avx2")
static size_t
x86_stream(uint8_t *dst, const uint8_t *src, size_t n, __m256i k)
{
    size_t i = 0;
    for (; n - i > 128; i += 128) {
        x86_mask128(dst + i, src + i, k, 1);
    }
    /* Whoever reads it on another core finds it behind what tells him to. */
    _mm_sfence();
    return i;
}

WS_TARGET("avx2")
void
ws_mask_avx2(uint8_t *dst, const uint8_t *src, size_t n, const uint8_t key[4],
             unsigned phase)
{
    uint32_t word = ws_mask_key_rotated(key, phase);
    if (n < 16) {
        mask_short(dst, src, n, word);
        return;
    }
    uint32_t word_tail = mask_key_advanced(word, n);
    if (n <= 32) {
        __m128i first = _mm_set1_epi32((int)word);
        __m128i last = _mm_set1_epi32((int)word_tail);
        first = _mm_xor_si128(x86_load16(src), first);
        last = _mm_xor_si128(x86_load16(src + n - 16), last);
        x86_store16(dst, first);
        x86_store16(dst + n - 16, last);
        return;
    }
    /* The first vector is held back like the last one, so that the others may
     * begin at any byte of it. */
    __m256i k = _mm256_set1_epi32((int)word);
    __m256i k_tail = _mm256_set1_epi32((int)word_tail);
    __m256i head = _mm256_xor_si256(x86_load32(src), k);
    __m256i tail = _mm256_xor_si256(x86_load32(src + n - 32), k_tail);
    size_t i = 32;
    if (n > X86_ALIGN_ABOVE) {
        i -= (uintptr_t)dst % 32;
        k = _mm256_set1_epi32((int)mask_key_advanced(word, i));
    }
    if (x86_streams(dst, src, n)) {
        i += x86_stream(dst + i, src + i, n - i, k);
    }
    for (; n - i > 128; i += 128) {
        x86_mask128(dst + i, src + i, k, 0);
    }
    for (; n - i > 32; i += 32) {
        x86_store32(dst + i, _mm256_xor_si256(x86_load32(src + i), k));
    }
    x86_store32(dst, head);
    x86_store32(dst + n - 32, tail);
#  if defined(_MSC_VER) && !defined(__clang__)
    _mm256_zeroupper(); /* GCC and Clang add it themselves */
#  endif
}

/* Below this length 64-byte vectors gain nothing.  On a processor with 64-byte
 * data paths (AMD Zen 5) they are within 4 ns of AVX2 up to 4 KiB; where frames
 * of 256 B to 4 KiB come from memory they are 5 to 25 % slower. */
#  define X86_WIDE_FROM 4096

WS_TARGET("avx512f") WS_INLINE __m512i x86_load64(const uint8_t *p)
{
    return _mm512_loadu_si512((const void *)p);
}

WS_TARGET("avx512f") WS_INLINE void x86_store64(uint8_t *p, __m512i v)
{
    _mm512_storeu_si512((void *)p, v);
}

WS_TARGET("avx512f")
void
ws_mask_avx512(uint8_t *dst, const uint8_t *src, size_t n, const uint8_t key[4],
               unsigned phase)
{
    if (n < X86_WIDE_FROM || x86_streams(dst, src, n)) {
        ws_mask_avx2(dst, src, n, key, phase);
        return;
    }
    uint32_t word = ws_mask_key_rotated(key, phase);
    __m512i k = _mm512_set1_epi32((int)word);
    __m512i k_tail = _mm512_set1_epi32((int)mask_key_advanced(word, n));
    __m512i head = _mm512_xor_si512(x86_load64(src), k);
    __m512i tail = _mm512_xor_si512(x86_load64(src + n - 64), k_tail);
    size_t i = 64 - (uintptr_t)dst % 64;
    k = _mm512_set1_epi32((int)mask_key_advanced(word, i));
    for (; n - i > 256; i += 256) {
        __m512i a = _mm512_xor_si512(x86_load64(src + i), k);
        __m512i b = _mm512_xor_si512(x86_load64(src + i + 64), k);
        __m512i c = _mm512_xor_si512(x86_load64(src + i + 128), k);
        __m512i d = _mm512_xor_si512(x86_load64(src + i + 192), k);
        x86_store64(dst + i, a);
        x86_store64(dst + i + 64, b);
        x86_store64(dst + i + 128, c);
        x86_store64(dst + i + 192, d);
    }
    for (; n - i > 64; i += 64) {
        x86_store64(dst + i, _mm512_xor_si512(x86_load64(src + i), k));
    }
    x86_store64(dst, head);
    x86_store64(dst + n - 64, tail);
#  if defined(_MSC_VER) && !defined(__clang__)
    _mm256_zeroupper();
#  endif
}

/* x86_cpuid stores what CPUID answers for |leaf| and subleaf 0 (eax, ebx, ecx,
 * edx), and returns 0 where the processor has no such leaf. */
static int
x86_cpuid(unsigned leaf, unsigned regs[4])
{
#  if defined(_MSC_VER)
    int r[4];
    __cpuidex(r, 0, 0);
    if ((unsigned)r[0] < leaf) {
        return 0;
    }
    __cpuidex(r, (int)leaf, 0);
    for (int i = 0; i < 4; i++) {
        regs[i] = (unsigned)r[i];
    }
    return 1;
#  else
    return __get_cpuid_count(leaf, 0, &regs[0], &regs[1], &regs[2], &regs[3]);
#  endif
}

/* x86_saved_state returns XCR0: which registers the operating system keeps for
 * each thread.  Needs OSXSAVE. */
WS_TARGET("xsave")
static uint64_t
x86_saved_state(void)
{
    return _xgetbv(0);
}

/* x86_has_registers returns whether the processor has AVX's registers, and the
 * system keeps all those of |state|, bits of XCR0. */
static int
x86_has_registers(uint64_t state)
{
    const unsigned osxsave = 1u << 27, avx = 1u << 28; /* leaf 1, ecx */
    unsigned regs[4];
    if (!x86_cpuid(1, regs)) {
        return 0;
    }
    if ((regs[2] & osxsave) == 0 || (regs[2] & avx) == 0) {
        return 0;
    }
    return (x86_saved_state() & state) == state;
}

int
ws_mask_avx2_supported(void)
{
    const unsigned avx2 = 1u << 5;    /* leaf 7, ebx */
    const uint64_t xmm_and_ymm = 0x6; /* XCR0 */
    unsigned regs[4];
    return x86_has_registers(xmm_and_ymm) && x86_cpuid(7, regs) &&
           (regs[1] & avx2) != 0;
}

int
ws_mask_avx512_supported(void)
{
    /* Leaf 7. Processors with AVX-512 and without VBMI2 lower their clock where
     * it is used. */
    const unsigned avx512f = 1u << 16; /* ebx */
    const unsigned vbmi2 = 1u << 6;    /* ecx */
    const uint64_t all = 0xE6;         /* XCR0: XMM, YMM, opmasks, ZMM */
    unsigned regs[4];
    return ws_mask_avx2_supported() && x86_has_registers(all) &&
           x86_cpuid(7, regs) && (regs[1] & avx512f) != 0 &&
           (regs[2] & vbmi2) != 0;
}

#endif /* WS_MASK_X86 */
