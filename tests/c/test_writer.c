/* test_writer.c - frame heads, and that writer and parser are each other's
 * inverse. */
#include "check.h"

#include "ws_err.h"
#include "ws_mask.h"
#include "ws_opcode.h"
#include "ws_parser.h"
#include "ws_writer.h"

static int
quick(void)
{
    return getenv("CHECK_QUICK") != NULL;
}

/* Lengths at which something changes, or might. */
static const uint64_t edges[] = {
    0,
    1,
    2,
    124,
    125,
    126,
    127,
    128,
    129,
    254,
    255,
    256,
    257,
    65534,
    65535,
    65536,
    65537,
    (uint64_t)1 << 24,
    ((uint64_t)1 << 31) - 1,
    (uint64_t)1 << 31,
    ((uint64_t)1 << 32) - 1,
    (uint64_t)1 << 32,
    ((uint64_t)1 << 32) + 125,
    ((uint64_t)1 << 48) + 126,
    ((uint64_t)1 << 63) - 1,
};
#define EDGES (sizeof(edges) / sizeof(edges[0]))

static const uint8_t some_key[4] = {0x37, 0xFA, 0x21, 0x3D};

/* The head as 5.2 draws it, by another way than the writer's. */
static size_t
drawn_head(uint8_t *dest, unsigned first, uint64_t len, const uint8_t *key)
{
    size_t at = 0;
    int bytes = len < 126 ? 0 : len < 65536 ? 2 : 8;
    unsigned code = bytes == 2 ? 126 : bytes == 8 ? 127 : (unsigned)len;

    dest[at++] = (uint8_t)first;
    dest[at++] = (uint8_t)((key != NULL ? 128 : 0) + code);
    for (int i = bytes; i-- > 0;) {
        dest[at++] = (uint8_t)(len >> (8 * i) & 0xFF);
    }
    for (int i = 0; key != NULL && i < 4; i++) {
        dest[at++] = key[i];
    }
    return at;
}

static void
head_check(unsigned first, uint64_t len, const uint8_t *key)
{
    uint8_t want[WS_HEAD_MAX];
    size_t n = drawn_head(want, first, len, key);

    CHECK_INT(ws_writer_head_len(len, key != NULL), n);
    uint8_t *p = guard_new(n);
    CHECK(ws_writer_head(p, first, len, key) == p + n);
    CHECK_BYTES(p, want, n);
    guard_free(p, n);
}

static void
test_heads(void)
{
    for (size_t i = 0; i < EDGES; i++) {
        for (unsigned first = 0; first < 256; first++) {
            check_context("first byte %02x, length %llu", first,
                          (unsigned long long)edges[i]);
            head_check(first, edges[i], NULL);
            head_check(first, edges[i], some_key);
        }
    }
    for (uint64_t len = 0; len <= 70000; len += quick() ? 61 : 1) {
        uint8_t want[WS_HEAD_MAX], got[WS_HEAD_MAX];
        check_context("length %llu", (unsigned long long)len);
        for (int masked = 0; masked <= 1; masked++) {
            const uint8_t *key = masked ? some_key : NULL;
            size_t n = drawn_head(want, 0x82, len, key);
            CHECK_INT(ws_writer_head_len(len, masked), n);
            CHECK(ws_writer_head(got, 0x82, len, key) == got + n);
            CHECK_BYTES(got, want, n);
        }
    }
    /* Any value but 0 means masked. */
    CHECK_INT(ws_writer_head_len(5, -1), 6);
    CHECK_INT(ws_writer_head_len(5, 0x80), 6);
}

/* RFC 6455, 5.7. */
static void
test_rfc_examples(void)
{
    static const uint8_t hello[] = {0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f};
    static const uint8_t masked[] = {0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d,
                                     0x7f, 0x9f, 0x4d, 0x51, 0x58};
    static const uint8_t first[] = {0x01, 0x03};
    static const uint8_t last[] = {0x80, 0x02};
    static const uint8_t binary256[] = {0x82, 0x7E, 0x01, 0x00};
    static const uint8_t binary64k[] = {0x82, 0x7F, 0x00, 0x00, 0x00,
                                        0x00, 0x00, 0x01, 0x00, 0x00};
    size_t kernels;
    const struct ws_mask_kernel *generic = ws_mask_kernels(&kernels);
    uint8_t got[WS_HEAD_MAX + 5];

    generic += kernels - 1;
    uint8_t *end = ws_writer_head(got, WS_BIT_FIN | WS_OP_TEXT, 5, NULL);
    memcpy(end, "Hello", 5);
    CHECK_INT(end + 5 - got, sizeof(hello));
    CHECK_BYTES(got, hello, sizeof(hello));

    end = ws_writer_head(got, WS_BIT_FIN | WS_OP_TEXT, 5, some_key);
    generic->fn(end, (const uint8_t *)"Hello", 5, some_key, 0);
    CHECK_INT(end + 5 - got, sizeof(masked));
    CHECK_BYTES(got, masked, sizeof(masked));

    CHECK(ws_writer_head(got, WS_OP_TEXT, 3, NULL) == got + 2);
    CHECK_BYTES(got, first, 2);
    CHECK(ws_writer_head(got, WS_BIT_FIN | WS_OP_CONTINUATION, 2, NULL) ==
          got + 2);
    CHECK_BYTES(got, last, 2);
    CHECK(ws_writer_head(got, WS_BIT_FIN | WS_OP_BINARY, 256, NULL) == got + 4);
    CHECK_BYTES(got, binary256, 4);
    CHECK(ws_writer_head(got, WS_BIT_FIN | WS_OP_BINARY, 65536, NULL) ==
          got + 10);
    CHECK_BYTES(got, binary64k, 10);
}

/* Every length that the parser can take comes back, without a payload: what it
 * then waits for says the rest. */
static void
test_parser_reads_heads(void)
{
    for (size_t i = 0; i < EDGES + 2000; i++) {
        uint64_t len = (uint64_t)check_random() << 32 | check_random();
        len = i < EDGES ? edges[i] : len >> (1 + check_random() % 63);
        for (int masked = 0; masked <= 1; masked++) {
            uint8_t buf[WS_HEAD_MAX];
            uint8_t key[4];
            struct ws_parser p;
            struct ws_head head;

            check_context("length %llu, masked %d", (unsigned long long)len,
                          masked);
            for (int k = 0; k < 4; k++) {
                key[k] = (uint8_t)check_random();
            }
            uint8_t *end = ws_writer_head(buf, WS_BIT_FIN | WS_OP_BINARY, len,
                                          masked ? key : NULL);
            size_t n = (size_t)(end - buf);
            uint8_t *data = guard_copy(buf, n);
            ws_parser_init(&p, masked, SIZE_MAX);
            CHECK_INT(p.max_frame_size, WS_FRAME_SIZE_MAX);
            int rc = ws_parser_next(&p, data, n, &head);
            if (len > WS_FRAME_SIZE_MAX) {
                CHECK_INT(rc, WS_ERR_FRAME_SIZE);
            }
            else if (len > 0) {
                CHECK_INT(rc, 0);
                CHECK_INT(p.need, n + len);
            }
            else {
                CHECK_INT(rc, 1);
                CHECK_INT(head.payload_len, 0);
                CHECK_INT(head.len, n);
                CHECK_INT(head.masked, masked);
                CHECK(!masked || memcmp(head.key, key, 4) == 0);
            }
            guard_free(data, n);
        }
    }
}

/* Whole frames, both roles: what went in comes out. */
static void
roundtrip(unsigned first, size_t len, int masked)
{
    size_t kernels;
    const struct ws_mask_kernel *kernel = ws_mask_kernels(&kernels);
    uint8_t key[4];

    kernel += kernels - 1;
    uint8_t *payload = malloc(len + 1);
    uint8_t *back = malloc(len + 1);
    CHECK(payload != NULL && back != NULL);
    for (size_t i = 0; i < len; i++) {
        payload[i] = (uint8_t)check_random();
    }
    for (int k = 0; k < 4; k++) {
        key[k] = (uint8_t)check_random();
    }

    size_t total = ws_writer_head_len(len, masked) + len;
    uint8_t *wire = guard_new(total);
    uint8_t *at = ws_writer_head(wire, first, len, masked ? key : NULL);
    if (masked) {
        kernel->fn(at, payload, len, key, 0);
    }
    else if (len != 0) {
        memcpy(at, payload, len);
    }
    CHECK(at + len == wire + total);

    struct ws_parser p;
    struct ws_head head;
    ws_parser_init(&p, masked, len);
    p.rsv_allowed = WS_BITS_RSV;
    p.in_message = (first & WS_BITS_OPCODE) == WS_OP_CONTINUATION;
    CHECK_INT(ws_parser_next(&p, wire, total - 1, &head), 0);
    CHECK(p.need <= total);
    CHECK_INT(ws_parser_next(&p, wire, total, &head), 1);
    CHECK_INT(head.opcode, first & WS_BITS_OPCODE);
    CHECK_INT(head.fin, (first & WS_BIT_FIN) != 0);
    CHECK_INT(head.rsv, first & WS_BITS_RSV);
    CHECK_INT(head.masked, masked);
    CHECK_INT(head.payload_len, len);
    CHECK_INT(head.len + head.payload_len, total);
    if (masked) {
        CHECK_BYTES(head.key, key, 4);
        kernel->fn(back, wire + head.len, len, head.key, 0);
        CHECK_BYTES(back, payload, len);
    }
    else {
        CHECK_BYTES(wire + head.len, payload, len);
    }
    CHECK_INT(ws_parser_next(&p, NULL, 0, &head), 0);
    CHECK_INT(p.need, 2);
    guard_free(wire, total);
    free(payload);
    free(back);
}

static void
test_roundtrip(void)
{
    static const unsigned opcodes[] = {WS_OP_CONTINUATION, WS_OP_TEXT,
                                       WS_OP_BINARY};
    static const unsigned controls[] = {WS_OP_CLOSE, WS_OP_PING, WS_OP_PONG};

    for (int masked = 0; masked <= 1; masked++) {
        for (size_t i = 0; i < EDGES && edges[i] < 100000; i++) {
            for (unsigned bits = 0; bits < 16; bits++) {
                for (size_t o = 0; o < 3; o++) {
                    unsigned first = bits << 4 | opcodes[o];
                    check_context("first byte %02x, length %zu, masked %d",
                                  first, (size_t)edges[i], masked);
                    roundtrip(first, (size_t)edges[i], masked);
                }
            }
            for (size_t o = 0; o < 3 && edges[i] <= WS_CONTROL_MAX; o++) {
                unsigned first = WS_BIT_FIN | controls[o];
                check_context("first byte %02x, length %zu, masked %d", first,
                              (size_t)edges[i], masked);
                roundtrip(first, (size_t)edges[i], masked);
            }
        }
        for (int i = 0; i < (quick() ? 30 : 300); i++) {
            size_t len = check_random() >> (10 + check_random() % 22);
            unsigned first =
                (check_random() & 0xF0) | opcodes[check_random() % 3];
            if (i < 3) {
                len = 3000000 + check_random() % 9;
            }
            len = len % 4000000;
            check_context("first byte %02x, length %zu, masked %d", first, len,
                          masked);
            roundtrip(first, len, masked);
        }
    }
}

static const struct test tests[] = {
    {"heads", test_heads},
    {"the examples of RFC 6455, 5.7", test_rfc_examples},
    {"the parser reads every head", test_parser_reads_heads},
    {"frames there and back", test_roundtrip},
    {NULL, NULL},
};

extern const struct suite suite_writer;
const struct suite suite_writer = {"writer", tests};
