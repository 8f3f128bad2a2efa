#include "ws_utf8.h"

#include "ws_err.h"

#if defined(WS_ARCH_X86)
#  include <emmintrin.h>
#elif defined(WS_ARCH_AARCH64)
#  include <arm_neon.h>
#endif

/* ASCII is looked at in blocks of this many bytes. */
#define UTF8_BLOCK 16

#define UTF8_HIGH_BITS UINT64_C(0x8080808080808080)

/* utf8_block_is_ascii returns whether none of the UTF8_BLOCK bytes at |p| has
 * its highest bit set. */
WS_INLINE int
utf8_block_is_ascii(const uint8_t *p)
{
#if defined(WS_ARCH_X86)
    return _mm_movemask_epi8(_mm_loadu_si128((const __m128i *)p)) == 0;
#elif defined(WS_ARCH_AARCH64)
    return vmaxvq_u8(vld1q_u8(p)) < 0x80;
#else
    uint64_t bits = ws_load64(p) | ws_load64(p + 8);
    return (bits & UTF8_HIGH_BITS) == 0;
#endif
}

/* utf8_lead begins the character whose first byte is |b|; returns whether |b|
 * may be one.  RFC 3629, 4 lists what may follow:
 *
 *   UTF8-1 = %x00-7F
 *   UTF8-2 = %xC2-DF UTF8-tail
 *   UTF8-3 = %xE0 %xA0-BF UTF8-tail / %xE1-EC 2( UTF8-tail ) /
 *            %xED %x80-9F UTF8-tail / %xEE-EF 2( UTF8-tail )
 *   UTF8-4 = %xF0 %x90-BF 2( UTF8-tail ) / %xF1-F3 3( UTF8-tail ) /
 *            %xF4 %x80-8F 2( UTF8-tail )
 *   UTF8-tail = %x80-BF */
WS_INLINE int
utf8_lead(struct ws_utf8 *u, uint8_t b)
{
    u->lo = 0x80;
    u->hi = 0xBF;
    if (b < 0x80) {
        u->need = 0;
        return 1;
    }
    u->wide = 1;
    if (b < 0xC2) {
        return 0;
    }
    if (b < 0xE0) {
        u->need = 1;
    }
    else if (b < 0xF0) {
        u->need = 2;
        if (b == 0xE0) {
            u->lo = 0xA0;
        }
        if (b == 0xED) {
            u->hi = 0x9F;
        }
    }
    else if (b < 0xF5) {
        u->need = 3;
        if (b == 0xF0) {
            u->lo = 0x90;
        }
        if (b == 0xF4) {
            u->hi = 0x8F;
        }
    }
    else {
        return 0;
    }
    return 1;
}

/* utf8_byte takes one byte; returns whether it may stand there. */
WS_INLINE int
utf8_byte(struct ws_utf8 *u, uint8_t b)
{
    if (u->need == 0) {
        return utf8_lead(u, b);
    }
    if (b < u->lo || b > u->hi) {
        return 0;
    }
    u->lo = 0x80;
    u->hi = 0xBF;
    u->need--;
    return 1;
}

/* utf8_tail_is_ascii looks at the last block of the text from |begin| to |end|
 * as a whole, however little of it is new; 0 where the text is too short. */
WS_INLINE int
utf8_tail_is_ascii(const uint8_t *begin, const uint8_t *end)
{
    if (end - begin >= UTF8_BLOCK) {
        return utf8_block_is_ascii(end - UTF8_BLOCK);
    }
    if (end - begin < 8) {
        return 0;
    }
    uint64_t bits = ws_load64(begin) | ws_load64(end - 8);
    return (bits & UTF8_HIGH_BITS) == 0;
}

int
ws_utf8_feed(struct ws_utf8 *u, const uint8_t *p, size_t n)
{
    if (u->failed) {
        return WS_ERR_TEXT;
    }
    if (n == 0) {
        return 0;
    }

    struct ws_utf8 now = *u; /* a copy, to stay in registers */
    const uint8_t *begin = p, *end = p + n;
    while (p < end) {
        size_t left = (size_t)(end - p);
        if (now.need == 0) {
            if (left < UTF8_BLOCK) {
                if (utf8_tail_is_ascii(begin, end)) {
                    break;
                }
            }
            else if (utf8_block_is_ascii(p)) {
                p += UTF8_BLOCK;
                continue;
            }
        }
        /* A mixed block: byte by byte to its end, and only then another look
         * for ASCII, so that mixed text pays for one look a block. */
        const uint8_t *stop = left < UTF8_BLOCK ? end : p + UTF8_BLOCK;
        while (p < stop) {
            if (WS_UNLIKELY(!utf8_byte(&now, *p++))) {
                u->failed = 1;
                return WS_ERR_TEXT;
            }
        }
    }
    *u = now;
    return 0;
}

int
ws_utf8_done(const struct ws_utf8 *u)
{
    return u->failed || u->need > 0 ? WS_ERR_TEXT : 0;
}

int
ws_utf8_valid(const uint8_t *p, size_t n)
{
    struct ws_utf8 u;
    ws_utf8_init(&u);
    return ws_utf8_feed(&u, p, n) == 0 && ws_utf8_done(&u) == 0;
}
