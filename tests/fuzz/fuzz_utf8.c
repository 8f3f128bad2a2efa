/* fuzz_utf8.c - any bytes as text: at once, byte by byte, in pieces and by a
 * slow reference, with the same answer, and an error at the first byte that
 * cannot be right whatever follows.
 *
 * The first byte of the input seeds the cuts.
 */
#include "fuzz.h"
#include "ws_err.h"
#include "ws_utf8.h"

/* The slow reference, without a table of bytes: a few bytes leave some bits of
 * the character open, so they stand for a range of numbers; they may stand
 * where that range has a character which takes as many bytes and not fewer. */

static int
range_has_character(uint32_t lo, uint32_t hi, size_t len)
{
    static const struct {
        size_t len;
        uint32_t first, last;
    } characters[] = {
        {1, 0, 0x7F},        {2, 0x80, 0x7FF},
        {3, 0x800, 0xD7FF}, /* the surrogates are between */
        {3, 0xE000, 0xFFFF}, {4, 0x10000, 0x10FFFF},
    };
    for (size_t i = 0; i < sizeof(characters) / sizeof(characters[0]); i++) {
        if (characters[i].len == len && lo <= characters[i].last &&
            hi >= characters[i].first) {
            return 1;
        }
    }
    return 0;
}

/* Returns how many of the |n| bytes at |p| the first character begins with, as
 * long as it can be one, and in |*len| how many it takes. */
static size_t
character_match(const uint8_t *p, size_t n, size_t *len)
{
    uint32_t bits;

    if (p[0] < 0x80) {
        *len = 1;
        bits = p[0];
    }
    else if (p[0] >= 0xC0 && p[0] < 0xE0) {
        *len = 2;
        bits = p[0] - 0xC0u;
    }
    else if (p[0] >= 0xE0 && p[0] < 0xF0) {
        *len = 3;
        bits = p[0] - 0xE0u;
    }
    else if (p[0] >= 0xF0 && p[0] < 0xF8) {
        *len = 4;
        bits = p[0] - 0xF0u;
    }
    else {
        *len = 1;
        return 0;
    }
    for (size_t i = 1;; i++) {
        unsigned open = (unsigned)(6 * (*len - i));
        uint32_t lo = bits << open, hi = lo + (1u << open) - 1;
        if (!range_has_character(lo, hi, *len)) {
            return i - 1;
        }
        if (i == *len || i == n || p[i] / 64 != 2) {
            return i;
        }
        bits = bits * 64 + p[i] % 64;
    }
}

/* The offset of the first byte that cannot be right; |n| where there is none.
 * In |*done| whether the text ends with a character. */
static size_t
reference(const uint8_t *p, size_t n, int *done)
{
    *done = 1;
    for (size_t at = 0, len; at < n; at += len) {
        size_t same = character_match(p + at, n - at, &len);
        if (same < len) {
            *done = 0;
            return at + same;
        }
    }
    return n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    uint32_t seed = data[0];
    size_t n = size - 1;
    uint8_t *p = fuzz_copy(data + 1, n);
    int done;
    size_t bad = reference(p, n, &done);
    struct ws_utf8 u;

    /* At once. */
    MUST((ws_utf8_valid(p, n) != 0) == (bad == n && done));
    ws_utf8_init(&u);
    MUST(ws_utf8_feed(&u, p, n) == (bad < n ? WS_ERR_TEXT : 0));
    MUST(ws_utf8_done(&u) == (bad == n && done ? 0 : WS_ERR_TEXT));

    /* Byte by byte: the error comes with the byte that shows it. */
    ws_utf8_init(&u);
    for (size_t i = 0; i < n; i++) {
        MUST(ws_utf8_feed(&u, p + i, 1) == (i >= bad ? WS_ERR_TEXT : 0));
    }
    MUST(ws_utf8_done(&u) == (bad == n && done ? 0 : WS_ERR_TEXT));
    if (bad == n) {
        size_t ascii = 0;
        while (ascii < n && p[ascii] < 0x80) {
            ascii++;
        }
        MUST(u.wide == (ascii < n));
    }

    /* In pieces, each in a block of its own size. */
    ws_utf8_init(&u);
    for (size_t at = 0; at < n;) {
        seed = seed * 1664525u + 1013904223u;
        size_t len = (seed >> 16) % (data[0] % 2 ? 5 : 100);
        len = len < n - at ? len : n - at;
        uint8_t *piece = fuzz_copy(p + at, len);
        at += len;
        MUST(ws_utf8_feed(&u, piece, len) == (at > bad ? WS_ERR_TEXT : 0));
        free(piece);
    }
    MUST(ws_utf8_done(&u) == (bad == n && done ? 0 : WS_ERR_TEXT));
    free(p);
    return 0;
}
