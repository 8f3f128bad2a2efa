/* test_utf8.c - the UTF-8 validator against a slow reference that knows no
 * table: it asks after each byte whether any code point is left that the bytes
 * so far can become.
 */
#include "check.h"
#include "ws_err.h"
#include "ws_utf8.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* range_is_empty returns whether no code point from |low| to |high| may be
 * encoded.  RFC 3629, 3: "The definition of UTF-8 prohibits encoding character
 * numbers between U+D800 and U+DFFF". */
static int
range_is_empty(uint32_t low, uint32_t high)
{
    return low > high || (low >= 0xD800 && high <= 0xDFFF);
}

/* utf8_reference returns the index of the first byte that cannot be right, |n|
 * where there is none, and stores whether the text may end there. */
static size_t
utf8_reference(const uint8_t *p, size_t n, int *complete)
{
    /* The least and the greatest code point of a form (RFC 3629, 3). */
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    static const uint32_t greatest[] = {0, 0x7F, 0x7FF, 0xFFFF, 0x10FFFF};
    *complete = 0;
    for (size_t i = 0; i < n;) {
        unsigned ones = 0; /* at the top of the first byte */
        while (ones < 8 && (p[i] & (0x80u >> ones)) != 0)
            ones++;
        if (ones == 1 || ones > 4)
            return i;
        unsigned len = ones == 0 ? 1 : ones;
        uint32_t value = p[i] & (0xFFu >> (ones + 1));
        for (unsigned k = 1;; k++) {
            unsigned open = 6 * (len - k); /* bits still to come */
            uint32_t low = value << open;
            uint32_t high = low | (((uint32_t)1 << open) - 1);
            if (low < least[len])
                low = least[len];
            if (high > greatest[len])
                high = greatest[len];
            if (range_is_empty(low, high))
                return i + k - 1;
            if (k == len)
                break;
            if (i + k == n)
                return n;
            if ((p[i + k] & 0xC0) != 0x80)
                return i + k;
            value = value << 6 | (p[i + k] & 0x3Fu);
        }
        i += len;
    }
    *complete = 1;
    return n;
}

/* utf8_encode writes |c| in |len| bytes, right or not. */
static void
utf8_encode(uint8_t *p, uint32_t c, unsigned len)
{
    static const uint8_t first[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (unsigned i = len - 1; i > 0; i--) {
        p[i] = (uint8_t)(0x80 | (c & 0x3F));
        c >>= 6;
    }
    p[0] = (uint8_t)(first[len] | c);
}

static unsigned
utf8_len(uint32_t c)
{
    return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
}

/* context_bytes names the case by its bytes. */
static void
context_bytes(const uint8_t *p, size_t n, const char *what)
{
    char text[3 * 72 + 1] = "";
    for (size_t i = 0; i < n && i < 72; i++) {
        snprintf(text + 3 * i, 4, " %02x", p[i]);
    }
    check_context("%s, %zu bytes:%s", what, n, text);
}

/* EXPECT is CHECK for a case with the text |p| of |n| bytes. */
#define EXPECT(cond, what)       \
  do {                           \
    int met_ = (cond);           \
    if (!met_)                   \
      context_bytes(p, n, what); \
    CHECK(met_ &&#cond);         \
  } while (0)

/* check_whole feeds the text in one piece. */
static void
check_whole(const uint8_t *p, size_t n, size_t bad, int complete)
{
    struct ws_utf8 u;
    ws_utf8_init(&u);
    EXPECT(ws_utf8_feed(&u, p, n) == (bad < n ? WS_ERR_TEXT : 0), "whole");
    EXPECT(ws_utf8_done(&u) == (complete ? 0 : WS_ERR_TEXT), "done");
    EXPECT(ws_utf8_valid(p, n) == complete, "valid");
}

/* check_pieces feeds the text with a cut behind byte i where |cuts| has bit i;
 * each piece must fail exactly where it holds the first bad byte, and every
 * piece after it. */
static void
check_pieces(const uint8_t *p, size_t n, size_t bad, int complete,
             uint64_t cuts)
{
    struct ws_utf8 u = {0, 0, 0, 0, 0}; /* "All zero is the start." */
    for (size_t from = 0, i = 0; i < n; i++) {
        if (i + 1 < n && (i >= 64 || (cuts >> i & 1) == 0))
            continue;
        int answer = ws_utf8_feed(&u, p + from, i + 1 - from);
        EXPECT(answer == (i >= bad ? WS_ERR_TEXT : 0), "piece");
        from = i + 1;
    }
    EXPECT(ws_utf8_done(&u) == (complete ? 0 : WS_ERR_TEXT), "pieces done");
}

/* check_all feeds a short text whole, and cut in every way. */
static void
check_all(const uint8_t *p, size_t n)
{
    int complete;
    size_t bad = utf8_reference(p, n, &complete);
    check_whole(p, n, bad, complete);
    for (uint64_t cuts = 0; cuts < (uint64_t)1 << (n - 1); cuts++) {
        check_pieces(p, n, bad, complete, cuts);
    }
}

static void
test_code_points(void)
{
    uint8_t p[4];
    for (uint32_t c = 0; c <= 0x1FFFFF; c++) {
        unsigned n = utf8_len(c);
        utf8_encode(p, c, n);
        int valid = c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF);
        EXPECT(ws_utf8_valid(p, n) == valid, "code point");
        /* RFC 3629, 3: "Implementations of the decoding algorithm above MUST
         * protect against decoding invalid sequences", overlong ones first. */
        for (n = n + 1; n <= 4; n++) {
            utf8_encode(p, c, n);
            EXPECT(!ws_utf8_valid(p, n), "overlong");
        }
    }
}

static void
test_short_exhaustive(void)
{
    uint8_t p[2];
    for (unsigned a = 0; a < 256; a++) {
        p[0] = (uint8_t)a;
        check_all(p, 1);
        for (unsigned b = 0; b < 256; b++) {
            p[1] = (uint8_t)b;
            check_all(p, 2);
        }
    }
}

/* Bytes on both sides of every boundary that a byte's value can be on. */
static const uint8_t edges[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0,
                                0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1,
                                0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3,
                                0xF4, 0xF5, 0xF8, 0xFF};

static void
test_boundaries(void)
{
    uint8_t p[4];
    const size_t e = COUNT(edges);
    for (size_t i = 0; i < e * e * e * e; i++) {
        p[0] = edges[i / (e * e * e)];
        p[1] = edges[i / (e * e) % e];
        p[2] = edges[i / e % e];
        p[3] = edges[i % e];
        if (i % e == 0)
            check_all(p, 3);
        check_all(p, 4);
    }
}

/* Right and wrong sequences to be put behind and before ASCII. */
static const char *const samples[] = {
    "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xe1\x80\x80",
    "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80",
    "\xf3\xbf\xbf\xbf", "\xf4\x8f\xbf\xbf",
    /* U+00E9 U+4F60 U+1F600 */
    "\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80",
    /* not finished */
    "\xc2", "\xe0\xa0", "\xe1", "\xed\x9f", "\xf0\x90\x80", "\xf4\x8f", "\xf1",
    /* wrong */
    "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80",
    "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
    "\xff", "\xfe", "\xc2\xc2\x80", "\xe1\x80\xc2\x80", "\xc2\x80\x80"};

/* The samples between ASCII runs, so that they stand on, before and behind
 * every edge of the fast path's blocks; each text ends where an unmapped page
 * begins, and another copy begins where one ends. */
static void
test_among_ascii(void)
{
    static const size_t behind[] = {0,  1,  2,  3,  7,  8, 14,
                                    15, 16, 17, 31, 32, 33};
    const size_t room = 65536;
    uint8_t *page = guard_new(room);
    for (size_t s = 0; s < COUNT(samples); s++) {
        size_t len = strlen(samples[s]);
        for (size_t before = 0; before <= 70; before++) {
            for (size_t b = 0; b < COUNT(behind); b++) {
                size_t n = before + len + behind[b];
                uint8_t *p = page + room - n;
                memset(p, 'a', n);
                memcpy(p + before, samples[s], len);
                int complete;
                size_t bad = utf8_reference(p, n, &complete);
                check_whole(p, n, bad, complete);
                memcpy(page, p, n);
                check_whole(page, n, bad, complete);
                /* One cut at each place (cuts beyond 64 are no cuts). */
                for (size_t cut = 0; cut < n && cut < 64; cut++) {
                    check_pieces(p, n, bad, complete, (uint64_t)1 << cut);
                }
                check_pieces(p, n, bad, complete, ~(uint64_t)0);
            }
        }
    }
    guard_free(page, room);
}

/* random_text writes whole characters, runs of ASCII among them, and returns
 * how many bytes they take, at most |room|. */
static size_t
random_text(uint8_t *p, size_t room)
{
    size_t n = 0;
    while (room - n >= 24) {
        if (check_random() % 4 == 0) {
            size_t run = check_random() % 20;
            memset(p + n, 'x', run);
            n += run;
            continue;
        }
        uint32_t c = check_random() >> 11;
        c >>= check_random() % 14;
        if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
            continue;
        utf8_encode(p + n, c, utf8_len(c));
        n += utf8_len(c);
    }
    return n;
}

/* Long texts, some with one byte changed, in random pieces: the first answer
 * that is not 0 must come from the piece with the first bad byte. */
static void
test_long_texts(void)
{
    uint8_t p[700];
    for (unsigned round = 0; round < 4000; round++) {
        size_t n = random_text(p, 30 + check_random() % (sizeof(p) - 30));
        if (round % 2 != 0 && n != 0) {
            p[check_random() % n] = (uint8_t)(check_random() >> 9);
        }
        int complete;
        size_t bad = utf8_reference(p, n, &complete);
        if (round % 2 == 0)
            EXPECT(complete, "random text");
        check_whole(p, n, bad, complete);

        struct ws_utf8 u;
        ws_utf8_init(&u);
        size_t most = 1 + check_random() % 100;
        for (size_t done = 0; done < n;) {
            size_t piece = check_random() % (most + 1);
            if (piece > n - done)
                piece = n - done;
            int answer = ws_utf8_feed(&u, p + done, piece);
            done += piece;
            EXPECT(answer == (done > bad ? WS_ERR_TEXT : 0), "random piece");
        }
        EXPECT(ws_utf8_done(&u) == (complete ? 0 : WS_ERR_TEXT), "random done");
    }
}

static void
test_states(void)
{
    struct ws_utf8 u;
    ws_utf8_init(&u);
    CHECK_INT(ws_utf8_done(&u), 0); /* an empty text is a text */
    CHECK_INT(ws_utf8_feed(&u, NULL, 0), 0);
    CHECK_INT(ws_utf8_done(&u), 0);
    CHECK_INT(ws_utf8_valid(NULL, 0), 1);

    /* Nothing fed in the middle of a character changes nothing. */
    CHECK_INT(ws_utf8_feed(&u, (const uint8_t *)"\xe4\xbd", 2), 0);
    CHECK_INT(ws_utf8_done(&u), WS_ERR_TEXT);
    CHECK_INT(ws_utf8_feed(&u, NULL, 0), 0);
    CHECK_INT(ws_utf8_done(&u), WS_ERR_TEXT);
    CHECK_INT(ws_utf8_feed(&u, (const uint8_t *)"\xa0", 1), 0);
    CHECK_INT(ws_utf8_done(&u), 0);

    /* Failed stays failed, until the next text. */
    CHECK_INT(ws_utf8_feed(&u, (const uint8_t *)"a\xff", 2), WS_ERR_TEXT);
    CHECK_INT(ws_utf8_feed(&u, NULL, 0), WS_ERR_TEXT);
    CHECK_INT(ws_utf8_feed(&u, (const uint8_t *)"plain", 5), WS_ERR_TEXT);
    CHECK_INT(ws_utf8_done(&u), WS_ERR_TEXT);
    ws_utf8_init(&u);
    CHECK_INT(ws_utf8_feed(&u, (const uint8_t *)"plain", 5), 0);
    CHECK_INT(ws_utf8_done(&u), 0);
}

static void
test_wide(void)
{
    uint8_t text[70];
    struct ws_utf8 u;

    /* One wide character among ASCII, wherever it stands and is cut. */
    for (size_t len = 2; len <= sizeof(text); len++) {
        for (size_t at = 0; at + 2 <= len; at++) {
            for (size_t cut = 0; cut <= len; cut++) {
                check_context("%zu bytes, at %zu, cut %zu", len, at, cut);
                memset(text, 'x', len);
                ws_utf8_init(&u);
                CHECK_INT(ws_utf8_feed(&u, text, cut), 0);
                CHECK_INT(ws_utf8_feed(&u, text + cut, len - cut), 0);
                CHECK_INT(u.wide, 0);
                memcpy(text + at, "\xc3\xa9", 2);
                CHECK_INT(ws_utf8_feed(&u, text, cut), 0);
                CHECK_INT(u.wide, cut > at);
                CHECK_INT(ws_utf8_feed(&u, text + cut, len - cut), 0);
                CHECK_INT(u.wide, 1);
            }
        }
    }
    ws_utf8_init(&u);
    CHECK_INT(u.wide, 0);
}

static const struct test tests[] = {
    {"states", test_states},
    {"every code point, and overlong forms", test_code_points},
    {"every sequence of 1 and 2 bytes", test_short_exhaustive},
    {"boundary sequences of 3 and 4 bytes", test_boundaries},
    {"sequences among ASCII, at guard pages", test_among_ascii},
    {"whether it is all ASCII", test_wide},
    {"long texts in random pieces", test_long_texts},
    {NULL, NULL},
};

extern const struct suite suite_utf8;
const struct suite suite_utf8 = {"utf8", tests};
