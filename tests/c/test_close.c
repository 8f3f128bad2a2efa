/* test_close.c - close codes and the payload of CLOSE frames. */
#include "check.h"

#include "ws_close.h"
#include "ws_err.h"
#include "ws_opcode.h"

/* Every 16-bit code belongs to one row. */
static const struct {
    unsigned first, last;
    int valid;
    const char *why;
} codes[] = {
    {0, 999, 0, "7.4.2: 0-999 are not used"},
    {1000, 1003, 1, "7.4.1: normal, going away, protocol, data"},
    {1004, 1004, 0, "7.4.1: reserved"},
    {1005, 1005, 0, "7.4.1: no status received, never on the wire"},
    {1006, 1006, 0, "7.4.1: abnormal, never on the wire"},
    {1007, 1011, 1, "7.4.1: text, policy, size, extension, internal"},
    {1012, 1014, 1, "IANA: restart, try again later, bad gateway"},
    {1015, 1015, 0, "7.4.1: TLS handshake, never on the wire"},
    {1016, 2999, 0, "7.4.2: reserved for the protocol"},
    {3000, 3999, 1, "7.4.2: registered by libraries and applications"},
    {4000, 4999, 1, "7.4.2: private use"},
    {5000, 65535, 0, "7.4.2: outside of all ranges"},
};

static void
put_code(uint8_t *dest, unsigned code)
{
    dest[0] = (uint8_t)(code >> 8);
    dest[1] = (uint8_t)(code & 0xFF);
}

static void
test_codes(void)
{
    unsigned next = 0;

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        CHECK_INT(codes[i].first, next);
        for (unsigned c = codes[i].first; c <= codes[i].last; c++) {
            check_context("code %u: %s", c, codes[i].why);
            CHECK_INT(ws_close_code_is_valid(c) != 0, codes[i].valid);

            uint8_t payload[2];
            put_code(payload, c);
            struct ws_close got;
            CHECK_INT(ws_close_parse(payload, 2, &got),
                      codes[i].valid ? 0 : WS_ERR_CLOSE_CODE);
            CHECK_INT(got.code, codes[i].valid ? c : 0);
            CHECK(got.reason == NULL);
            CHECK_INT(got.reason_len, 0);

            struct ws_close said = {c, NULL, 0};
            /* 0 is not a code to send but the absence of one. */
            CHECK_INT(ws_close_check(&said),
                      codes[i].valid || c == 0 ? 0 : WS_ERR_SEND_CODE);
        }
        next = codes[i].last + 1;
    }
    CHECK_INT(next, 65536);

    /* What does not fit 16 bits must not come through by being cut. */
    static const unsigned wide[] = {65536,       65536 + 1000, 65536 + 3000,
                                    0x80000000u, 0xFFFFFFFFu,  0x100003E8u};
    for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++) {
        struct ws_close said = {wide[i], NULL, 0};
        check_context("code %u", wide[i]);
        CHECK_INT(ws_close_code_is_valid(wide[i]), 0);
        CHECK_INT(ws_close_check(&said), WS_ERR_SEND_CODE);
    }
}

static void
test_parse_lengths(void)
{
    struct ws_close got;

    /* Nothing at all: allowed, and there may be no pointer either. */
    memset(&got, 0xAA, sizeof(got));
    CHECK_INT(ws_close_parse(NULL, 0, &got), 0);
    CHECK_INT(got.code, 0);
    CHECK(got.reason == NULL);
    CHECK_INT(got.reason_len, 0);

    uint8_t *none = guard_new(0);
    CHECK_INT(ws_close_parse(none, 0, &got), 0);
    CHECK_INT(got.code, 0);
    guard_free(none, 0);

    /* One byte is half a code, whatever it is. */
    for (unsigned b = 0; b < 256; b++) {
        uint8_t byte = (uint8_t)b;
        uint8_t *p = guard_copy(&byte, 1);
        check_context("one byte %u", b);
        memset(&got, 0xAA, sizeof(got));
        CHECK_INT(ws_close_parse(p, 1, &got), WS_ERR_CLOSE_LEN);
        CHECK_INT(got.code, 0);
        CHECK(got.reason == NULL);
        CHECK_INT(got.reason_len, 0);
        guard_free(p, 1);
    }

    for (size_t len = 2; len <= WS_CONTROL_MAX; len++) {
        uint8_t payload[WS_CONTROL_MAX];
        memset(payload, 'r', sizeof(payload));
        put_code(payload, 1000);
        uint8_t *p = guard_copy(payload, len);
        check_context("%zu bytes", len);
        memset(&got, 0xAA, sizeof(got));
        CHECK_INT(ws_close_parse(p, len, &got), 0);
        CHECK_INT(got.code, 1000);
        CHECK(got.reason == (len == 2 ? NULL : p + 2));
        CHECK_INT(got.reason_len, len - 2);
        guard_free(p, len);
    }
}

/* Reasons, with whether they are UTF-8. */
static const struct {
    const char *bytes;
    size_t len;
    int valid;
} reasons[] = {
    {"bye", 3, 1},
    {"\0", 1, 1},
    {"caf\xC3\xA9", 5, 1},
    {"\xE2\x82\xAC", 3, 1},
    {"\xF0\x9F\x91\x8B", 4, 1},
    {"\xEF\xBB\xBF", 3, 1},     /* byte order mark */
    {"\xED\x9F\xBF", 3, 1},     /* U+D7FF */
    {"\xEE\x80\x80", 3, 1},     /* U+E000 */
    {"\xF4\x8F\xBF\xBF", 4, 1}, /* U+10FFFF */
    {"\x80", 1, 0},             /* continuation byte alone */
    {"\xFF", 1, 0},             /* never in UTF-8 */
    {"ok\xC3", 3, 0},           /* cut */
    {"\xE2\x82", 2, 0},         /* cut */
    {"\xF0\x9F\x91", 3, 0},     /* cut */
    {"\xC0\xAF", 2, 0},         /* overlong */
    {"\xC1\xBF", 2, 0},         /* overlong */
    {"\xE0\x80\xAF", 3, 0},     /* overlong */
    {"\xF0\x80\x80\xAF", 4, 0}, /* overlong */
    {"\xED\xA0\x80", 3, 0},     /* surrogate */
    {"\xED\xBF\xBF", 3, 0},     /* surrogate */
    {"\xF4\x90\x80\x80", 4, 0}, /* above U+10FFFF */
    {"\xF5\x80\x80\x80", 4, 0}, /* above U+10FFFF */
    {"\xCE\xBA\xE1\xBD\xB9\xED\xA0\x80", 8, 0},
};

static void
test_reasons(void)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        size_t n = reasons[i].len;
        uint8_t payload[WS_CONTROL_MAX];
        check_context("reason %zu", i);
        put_code(payload, 4321);
        memcpy(payload + 2, reasons[i].bytes, n);
        uint8_t *p = guard_copy(payload, 2 + n);

        struct ws_close got;
        memset(&got, 0xAA, sizeof(got));
        int err = ws_close_parse(p, 2 + n, &got);
        struct ws_close said = {4321, p + 2, n};
        if (reasons[i].valid) {
            CHECK_INT(err, 0);
            CHECK_INT(got.code, 4321);
            CHECK(got.reason == p + 2);
            CHECK_INT(got.reason_len, n);
            CHECK_INT(ws_close_check(&said), 0);
        }
        else {
            CHECK_INT(err, WS_ERR_CLOSE_TEXT);
            CHECK_INT(got.code, 0);
            CHECK(got.reason == NULL);
            CHECK_INT(got.reason_len, 0);
            CHECK_INT(ws_close_check(&said), WS_ERR_SEND_REASON_TEXT);
        }
        guard_free(p, 2 + n);
    }

    /* The character that does not fit any more: 125 bytes that end in the
     * middle of one. */
    uint8_t payload[WS_CONTROL_MAX];
    put_code(payload, 1000);
    memset(payload + 2, 'x', WS_REASON_MAX);
    payload[WS_CONTROL_MAX - 1] = 0xE2;
    uint8_t *p = guard_copy(payload, sizeof(payload));
    struct ws_close got;
    CHECK_INT(ws_close_parse(p, sizeof(payload), &got), WS_ERR_CLOSE_TEXT);
    guard_free(p, sizeof(payload));

    /* A wrong code is reported as that, whatever the reason is. */
    static const uint8_t both[] = {0x03, 0xED, 0xFF};
    CHECK_INT(ws_close_parse(both, 3, &got), WS_ERR_CLOSE_CODE);
}

static void
test_check(void)
{
    static const uint8_t text[WS_REASON_MAX + 2] = {'a'};
    static const uint8_t bad[] = {0xFF};

    /* Neither code nor reason: an empty CLOSE. */
    CHECK_INT(ws_close_check(&(struct ws_close){0, NULL, 0}), 0);
    CHECK_INT(ws_close_check(&(struct ws_close){0, text, 0}), 0);
    CHECK_INT(ws_close_check(&(struct ws_close){0, text, 1}),
              WS_ERR_SEND_NO_CODE);
    CHECK_INT(ws_close_check(&(struct ws_close){0, bad, 1}),
              WS_ERR_SEND_NO_CODE);
    for (size_t n = 0; n <= sizeof(text); n++) {
        check_context("reason of %zu bytes", n);
        CHECK_INT(ws_close_check(&(struct ws_close){1000, text, n}),
                  n <= 123 ? 0 : WS_ERR_SEND_REASON);
        CHECK_INT(ws_close_check(&(struct ws_close){1005, text, n}),
                  WS_ERR_SEND_CODE);
    }
    /* A length that no buffer has is refused before the bytes are read. */
    CHECK_INT(ws_close_check(&(struct ws_close){1000, text, SIZE_MAX}),
              WS_ERR_SEND_REASON);
}

static void
test_write(void)
{
    static const size_t lens[] = {0, 1, 2, 3, 60, 122, 123};

    /* No code: no byte is written. */
    struct ws_close none = {0, NULL, 0};
    uint8_t *p = guard_new(0);
    CHECK_INT(ws_close_len(&none), 0);
    CHECK(ws_close_write(p, &none) == p);
    guard_free(p, 0);

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (!codes[i].valid) {
            continue;
        }
        for (size_t j = 0; j < sizeof(lens) / sizeof(lens[0]); j++) {
            uint8_t reason[WS_REASON_MAX];
            for (size_t k = 0; k < lens[j]; k++) {
                reason[k] = (uint8_t)(check_random() & 0x7F);
            }
            struct ws_close said = {codes[i].last, lens[j] == 0 ? NULL : reason,
                                    lens[j]};
            check_context("code %u, reason of %zu bytes", said.code, lens[j]);
            CHECK_INT(ws_close_check(&said), 0);
            size_t len = ws_close_len(&said);
            CHECK_INT(len, 2 + lens[j]);
            p = guard_new(len);
            CHECK(ws_close_write(p, &said) == p + len);
            CHECK_INT(p[0], said.code >> 8);
            CHECK_INT(p[1], said.code & 0xFF);
            CHECK_BYTES(p + 2, reason, lens[j]);

            struct ws_close got;
            CHECK_INT(ws_close_parse(p, len, &got), 0);
            CHECK_INT(got.code, said.code);
            CHECK_INT(got.reason_len, said.reason_len);
            CHECK_BYTES(got.reason, reason, lens[j]);
            guard_free(p, len);
        }
    }
}

static const struct test tests[] = {
    {"all 65536 codes", test_codes},
    {"payload lengths", test_parse_lengths},
    {"reasons are UTF-8", test_reasons},
    {"what may be sent", test_check},
    {"len, write and parse agree", test_write},
    {NULL, NULL},
};

extern const struct suite suite_close;
const struct suite suite_close = {"close", tests};
