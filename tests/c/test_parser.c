/* test_parser.c - the vectors of tests/vectors/frames.md, cut at every place;
 * every first and second byte, every length against an oracle; and the parser
 * on a ring while each allocation fails in turn.
 *
 * Input ends where an unmapped page begins, and what was consumed is
 * overwritten: the parser must need neither. */
#include "check.h"

#include "vectors.h"
#include "ws_err.h"
#include "ws_mask.h"
#include "ws_opcode.h"
#include "ws_parser.h"
#include "ws_ring.h"
#include "ws_writer.h"

static int
quick(void)
{
    return getenv("CHECK_QUICK") != NULL;
}

/* ---- one input and what came of it ---- */

enum { FRAMES_MAX = 300 };

struct result {
    struct ws_head heads[FRAMES_MAX];
    size_t at[FRAMES_MAX]; /* where in the stream each frame begins */
    size_t count;
    int err;
    size_t err_seen; /* how many bytes were there when it was reported */
    size_t need;     /* at the end, where there was no error */
    size_t calls;
};

/* A reader: the stream's bytes up to |fed|, parsed up to |out|. */
struct feeder {
    const uint8_t *bytes;
    size_t len;
    uint8_t *room; /* |len| bytes that end at a guard page */
    size_t fed, out;
    struct ws_parser p;
    struct result *res;
};

static void
feeder_init(struct feeder *f, const uint8_t *bytes, size_t len, int from_client,
            size_t max, unsigned allowed, uint8_t *room, struct result *res)
{
    memset(&f->p, 0xAA, sizeof(f->p));
    ws_parser_init(&f->p, from_client, max);
    CHECK_INT(f->p.rsv_allowed, 0);
    f->p.rsv_allowed = (uint8_t)allowed;
    CHECK_INT(f->p.need, 2);
    f->bytes = bytes;
    f->len = len;
    f->room = room;
    f->fed = f->out = 0;
    f->res = res;
    res->count = 0;
    res->err = 0;
    res->err_seen = 0;
    res->need = 0;
    res->calls = 0;
}

static int
all_equal(const void *p, size_t n, uint8_t value)
{
    const uint8_t *at = p;
    for (size_t i = 0; i < n; i++) {
        if (at[i] != value) {
            return 0;
        }
    }
    return 1;
}

/* After an error: the same answer to everything, and no frame. */
static void
feeder_is_failed(struct feeder *f)
{
    static const uint8_t good[] = {0x81, 0x00, 0x81, 0x80, 0, 0, 0, 0};
    struct ws_head head;

    memset(&head, 0xAA, sizeof(head));
    for (int i = 0; i < 3; i++) {
        CHECK_INT(ws_parser_next(&f->p, NULL, 0, &head), f->res->err);
        CHECK_INT(ws_parser_next(&f->p, good, 2, &head), f->res->err);
        CHECK_INT(ws_parser_next(&f->p, good, 8, &head), f->res->err);
        CHECK_INT(ws_parser_next(&f->p, good + 2, 6, &head), f->res->err);
        CHECK_INT(f->p.err, f->res->err);
    }
    CHECK(all_equal(&head, sizeof(head), 0xAA));
}

/* Makes the stream's first |until| bytes readable and parses what is there. */
static void
feeder_feed(struct feeder *f, size_t until)
{
    struct result *res = f->res;

    f->fed = until;
    uint8_t *start = f->room + f->len - until;
    memset(start, 0xEE, f->out);
    if (until > f->out) {
        memcpy(start + f->out, f->bytes + f->out, until - f->out);
    }
    for (;;) {
        struct ws_head head;
        size_t avail = until - f->out;
        memset(&head, 0xAA, sizeof(head));
        int rc = ws_parser_next(&f->p, start + f->out, avail, &head);
        res->calls++;
        if (rc < 0) {
            if (res->err == 0) {
                res->err = rc;
                res->err_seen = until;
            }
            CHECK_INT(rc, res->err);
            CHECK_INT(f->p.err, rc);
            CHECK(all_equal(&head, sizeof(head), 0xAA));
            return;
        }
        CHECK_INT(res->err, 0);
        CHECK_INT(f->p.err, 0);
        if (rc == 0) {
            /* Progress: it never waits for what is there. */
            CHECK(f->p.need > avail);
            CHECK(all_equal(&head, sizeof(head), 0xAA));
            res->need = f->p.need;
            return;
        }
        CHECK_INT(rc, 1);
        CHECK(head.len >= 2 && head.len <= WS_HEAD_MAX);
        CHECK(head.len + head.payload_len <= avail);
        CHECK(res->count < FRAMES_MAX);
        res->heads[res->count] = head;
        res->at[res->count] = f->out;
        res->count++;
        size_t total = head.len + head.payload_len;
        memset(start + f->out, 0xEE, total);
        f->out += total;
    }
}

/* Compares what has come of the first |f->fed| bytes with |want|, the result of
 * feeding byte by byte: the same frames and error, no sooner and no later. */
static void
feeder_compare(const struct feeder *f, const struct result *want)
{
    const struct result *got = f->res;

    CHECK(got->count <= want->count);
    for (size_t i = 0; i < want->count; i++) {
        size_t end =
            want->at[i] + want->heads[i].len + want->heads[i].payload_len;
        CHECK_INT(got->count > i, f->fed >= end);
        if (got->count > i) {
            CHECK_INT(got->at[i], want->at[i]);
            CHECK(memcmp(&got->heads[i], &want->heads[i],
                         sizeof(got->heads[i])) == 0);
        }
    }
    if (want->err != 0 && f->fed >= want->err_seen) {
        CHECK_INT(got->err, want->err);
        return;
    }
    CHECK_INT(got->err, 0);

    /* The hint is never more than what the next step needs. */
    size_t need = f->p.need;
    if (got->count < want->count) {
        const struct ws_head *next = &want->heads[got->count];
        CHECK(need <= next->len + next->payload_len);
    }
    else if (want->err != 0) {
        size_t last = want->err_seen - f->out;
        CHECK(need <= (last > 2 ? last : 2));
    }
    else {
        CHECK(need <= want->need);
    }
}

/* ---- the event log of frames.md ---- */

static const char *
opcode_name(unsigned opcode)
{
    switch (opcode) {
    case WS_OP_CONTINUATION:
        return "CONTINUATION";
    case WS_OP_TEXT:
        return "TEXT";
    case WS_OP_BINARY:
        return "BINARY";
    case WS_OP_CLOSE:
        return "CLOSE";
    case WS_OP_PING:
        return "PING";
    case WS_OP_PONG:
        return "PONG";
    default:
        CHECK(!"a frame with a reserved opcode");
        return "";
    }
}

static const char *
error_name(int err)
{
    static const char *const names[] = {"RSV",
                                        "OPCODE",
                                        "CONTROL_FIN",
                                        "CONTROL_LEN",
                                        "MASK_MISSING",
                                        "MASK_PRESENT",
                                        "LEN_NOT_MINIMAL",
                                        "LEN_SIGN",
                                        "CONT_UNSTARTED",
                                        "CONT_EXPECTED"};
    if (err == WS_ERR_FRAME_SIZE) {
        return "FRAME_SIZE";
    }
    CHECK(err <= WS_ERR_RSV && err >= WS_ERR_CONT_EXPECTED);
    return names[WS_ERR_RSV - err];
}

static void
log_frame(const struct ws_head *head, const uint8_t *payload)
{
    uint8_t *plain = malloc(head->payload_len + 1);
    CHECK(plain != NULL);
    for (size_t i = 0; i < head->payload_len; i++) {
        plain[i] = head->masked ? payload[i] ^ head->key[i % 4] : payload[i];
    }
    vectors_log_add("%s%s%s%s%s head=%d payload=", opcode_name(head->opcode),
                    head->fin ? " fin" : "",
                    head->rsv & WS_BIT_RSV1 ? " rsv1" : "",
                    head->rsv & WS_BIT_RSV2 ? " rsv2" : "",
                    head->rsv & WS_BIT_RSV3 ? " rsv3" : "", head->len);
    vectors_log_bytes(plain, head->payload_len);
    vectors_log_add("\n");
    free(plain);
}

static int
frames_equal(const struct vector *v, const struct result *r, size_t i, size_t j)
{
    size_t n = r->heads[i].len + r->heads[i].payload_len;
    return memcmp(&r->heads[i], &r->heads[j], sizeof(r->heads[i])) == 0 &&
           memcmp(v->bytes + r->at[i], v->bytes + r->at[j], n) == 0;
}

static void
log_result(const struct vector *v, const struct result *r)
{
    vectors_log_clear();
    for (size_t i = 0, run; i < r->count; i += run) {
        log_frame(&r->heads[i], v->bytes + r->at[i] + r->heads[i].len);
        for (run = 1; i + run < r->count && frames_equal(v, r, i, i + run);) {
            run++;
        }
        if (run > 1) {
            vectors_log_add("again *%zu\n", run - 1);
        }
    }
    if (r->err != 0) {
        vectors_log_add("error %s at offset %zu\n", error_name(r->err),
                        r->err_seen - 1);
    }
    else {
        vectors_log_add("need %zu\n", r->need);
    }
}

/* ---- vectors ---- */

struct options {
    int from_client;
    size_t max;
    unsigned allowed;
};

/* "server", "client", "max=N", "allow=HEX", separated by one space. */
static struct options
options_read(const char *text)
{
    struct options o = {-1, 1048576, 0};

    while (*text != '\0') {
        size_t word = strcspn(text, " ");
        if (word == 6 && memcmp(text, "server", 6) == 0) {
            o.from_client = 1;
        }
        else if (word == 6 && memcmp(text, "client", 6) == 0) {
            o.from_client = 0;
        }
        else if (word > 4 && memcmp(text, "max=", 4) == 0) {
            unsigned long long max = strtoull(text + 4, NULL, 10);
            o.max = max < SIZE_MAX ? (size_t)max : SIZE_MAX;
        }
        else if (word > 6 && memcmp(text, "allow=", 6) == 0) {
            o.allowed = (unsigned)strtoul(text + 6, NULL, 16);
        }
        else {
            CHECK(!"an option that is not known");
        }
        text += word;
        text += *text == ' ';
    }
    CHECK(o.from_client >= 0);
    return o;
}

/* Whether to cut at |cut|: everywhere, but in large payloads only near the
 * edges of frames and at a few places between. */
static int
cut_is_worth(const struct result *whole, size_t len, size_t cut)
{
    if (len < 1500) {
        return !quick() || len < 100 || cut % 17 == 0;
    }
    for (size_t i = 0; i < whole->count; i++) {
        if (cut + 20 > whole->at[i] && cut < whole->at[i] + 20) {
            return 1;
        }
    }
    return cut < 20 || cut + 20 > len || cut % 4093 == 0;
}

static void
vector_run(const struct vector *v)
{
    static struct result whole, bytewise, got;
    struct options o = options_read(v->options);
    uint8_t *room = guard_new(v->len);
    struct feeder f;

    check_context("%s, whole", v->title);
    feeder_init(&f, v->bytes, v->len, o.from_client, o.max, o.allowed, room,
                &whole);
    feeder_feed(&f, v->len);

    /* Byte by byte, so that an error shows its place. */
    feeder_init(&f, v->bytes, v->len, o.from_client, o.max, o.allowed, room,
                &bytewise);
    size_t step = 1;
    for (size_t n = 0;; n += step) {
        /* The inside of a large payload in larger steps; a prime one. */
        step = v->len > 1500 && !cut_is_worth(&whole, v->len, n + 1) &&
                       n + 61 < v->len && !cut_is_worth(&whole, v->len, n + 61)
                   ? 61
                   : 1;
        check_context("%s, byte %zu", v->title, n);
        feeder_feed(&f, n);
        if (n >= v->len) {
            break;
        }
        if (n + step > v->len) {
            step = v->len - n;
        }
    }
    if (bytewise.err != 0) {
        feeder_is_failed(&f);
    }
    log_result(v, &bytewise);
    check_context("%s", v->title);
    vectors_log_check(v->expect);

    feeder_init(&f, v->bytes, v->len, o.from_client, o.max, o.allowed, room,
                &got);
    check_context("%s, whole", v->title);
    feeder_feed(&f, v->len);
    feeder_compare(&f, &bytewise);
    CHECK_INT(got.calls, bytewise.count + 1);

    /* In two pieces. */
    for (size_t cut = 0; cut <= v->len; cut++) {
        if (!cut_is_worth(&bytewise, v->len, cut)) {
            continue;
        }
        check_context("%s, cut at %zu", v->title, cut);
        feeder_init(&f, v->bytes, v->len, o.from_client, o.max, o.allowed, room,
                    &got);
        feeder_feed(&f, cut);
        feeder_compare(&f, &bytewise);
        feeder_feed(&f, v->len);
        feeder_compare(&f, &bytewise);
        if (got.err != 0) {
            feeder_is_failed(&f);
        }
    }

    /* In as many pieces as come by chance. */
    for (int i = 0; i < (quick() || v->len > 1500 ? 3 : 20); i++) {
        feeder_init(&f, v->bytes, v->len, o.from_client, o.max, o.allowed, room,
                    &got);
        size_t most = 1 + check_random() % (v->len / 2 + 2), at = 0;
        while (at < v->len) {
            at += check_random() % (most + 1);
            at = at < v->len ? at : v->len;
            check_context("%s, pieces up to %zu, at %zu", v->title, most, at);
            feeder_feed(&f, at);
            feeder_compare(&f, &bytewise);
        }
    }

    /* As much as it asks for each time: a frame takes four steps at most (2
     * bytes, the length, the mask, the payload), and one that delivers. */
    feeder_init(&f, v->bytes, v->len, o.from_client, o.max, o.allowed, room,
                &got);
    check_context("%s, as asked", v->title);
    feeder_feed(&f, 0);
    while (got.err == 0 && f.out + f.p.need <= v->len) {
        feeder_feed(&f, f.out + f.p.need);
        feeder_compare(&f, &bytewise);
    }
    CHECK(got.calls <= 1 + 5 * (bytewise.count + 1));
    if (v->len > f.fed) {
        feeder_feed(&f, v->len);
    }
    feeder_compare(&f, &bytewise);
    guard_free(room, v->len);
}

static void
test_vectors(void)
{
    size_t count;
    struct vector *vectors = vectors_load("frames.md", &count);

    CHECK(count >= 60);
    for (size_t i = 0; i < count; i++) {
        vector_run(&vectors[i]);
    }
    vectors_free(vectors, count);
}

/* ---- every first and second byte ---- */

/* The rules that a first byte, or a second one, breaks; one bit each. */
enum {
    RULE_RSV = 1,
    RULE_OPCODE = 2,
    RULE_CONTROL_FIN = 4,
    RULE_CONTROL_LEN = 8,
    RULE_MASK_MISSING = 16,
    RULE_MASK_PRESENT = 32,
    RULE_UNSTARTED = 64,
    RULE_EXPECTED = 128,
};

static unsigned
first_byte_breaks(unsigned byte, unsigned allowed, int in_message)
{
    static const char kinds[] = "cdd-----kkk-----";
    char kind = kinds[byte % 16];
    unsigned broken = 0;

    if ((byte & 0x70 & ~allowed) != 0) {
        broken |= RULE_RSV;
    }
    if (kind == '-') {
        broken |= RULE_OPCODE;
    }
    if (kind == 'k' && byte < 128) {
        broken |= RULE_CONTROL_FIN;
    }
    if (kind == 'c' && !in_message) {
        broken |= RULE_UNSTARTED;
    }
    if (kind == 'd' && in_message) {
        broken |= RULE_EXPECTED;
    }
    return broken;
}

static unsigned
second_byte_breaks(unsigned first, unsigned byte, int from_client)
{
    unsigned broken = 0;

    if (first % 16 >= 8 && byte % 128 > 125) {
        broken |= RULE_CONTROL_LEN;
    }
    if (from_client && byte < 128) {
        broken |= RULE_MASK_MISSING;
    }
    if (!from_client && byte >= 128) {
        broken |= RULE_MASK_PRESENT;
    }
    return broken;
}

static unsigned
rule_of(int err)
{
    switch (err) {
    case WS_ERR_RSV:
        return RULE_RSV;
    case WS_ERR_OPCODE:
        return RULE_OPCODE;
    case WS_ERR_CONTROL_FIN:
        return RULE_CONTROL_FIN;
    case WS_ERR_CONTROL_LEN:
        return RULE_CONTROL_LEN;
    case WS_ERR_MASK_MISSING:
        return RULE_MASK_MISSING;
    case WS_ERR_MASK_PRESENT:
        return RULE_MASK_PRESENT;
    case WS_ERR_CONT_UNSTARTED:
        return RULE_UNSTARTED;
    case WS_ERR_CONT_EXPECTED:
        return RULE_EXPECTED;
    default:
        return 0;
    }
}

static void
test_two_bytes(void)
{
    uint8_t *p = guard_new(2);

    for (unsigned setting = 0; setting < 32; setting++) {
        int from_client = setting & 1, in_message = setting >> 1 & 1;
        unsigned allowed = setting >> 2 << 4;
        struct ws_parser start;
        ws_parser_init(&start, from_client, 1000000);
        start.in_message = (uint8_t)in_message;
        start.rsv_allowed = (uint8_t)allowed;
        for (unsigned first = 0; first < 256; first++) {
            struct ws_parser q = start;
            struct ws_head head;
            unsigned broken = first_byte_breaks(first, allowed, in_message);
            check_context("from_client %d, in_message %d, allowed %02x: %02x",
                          from_client, in_message, allowed, first);
            p[1] = (uint8_t)first;
            int rc = ws_parser_next(&q, p + 1, 1, &head);
            CHECK_INT(rc < 0, broken != 0);
            CHECK((rule_of(rc) & ~broken) == 0);
            CHECK(rc == 0 ? q.need == 2 : rule_of(rc) != 0);
            for (unsigned second = 0; second < 256; second += quick() ? 9 : 1) {
                unsigned both = broken;
                check_context(
                    "from_client %d, in_message %d, allowed %02x: %02x %02x",
                    from_client, in_message, allowed, first, second);
                if (both == 0) {
                    both = second_byte_breaks(first, second, from_client);
                }
                q = start;
                p[0] = (uint8_t)first;
                p[1] = (uint8_t)second;
                rc = ws_parser_next(&q, p, 2, &head);
                CHECK_INT(rc < 0, both != 0);
                CHECK((rule_of(rc) & ~both) == 0);
                if (rc < 0) {
                    CHECK(rule_of(rc) != 0);
                    continue;
                }
                size_t len = second % 128;
                size_t mask = from_client ? 4 : 0;
                if (len == 0 && mask == 0) {
                    CHECK_INT(rc, 1);
                    CHECK_INT(head.opcode, first % 16);
                    CHECK_INT(head.fin, first / 128);
                    CHECK_INT(head.rsv, first & 0x70);
                    CHECK_INT(head.payload_len, 0);
                    CHECK_INT(head.len, 2);
                    CHECK_INT(head.masked, 0);
                    CHECK_INT(q.in_message,
                              first % 16 >= 8 ? in_message : first < 128);
                }
                else {
                    CHECK_INT(rc, 0);
                    size_t want = len == 126   ? 4
                                  : len == 127 ? 10
                                  : mask != 0  ? 6
                                               : 2 + len;
                    CHECK_INT(q.need, want);
                    CHECK_INT(q.in_message, in_message);
                }
            }
        }
    }
    guard_free(p, 2);
}

/* ---- lengths ---- */

/* What must come of a head that announces |len| in |size| bytes (2, 8), read
 * up to the end of the length. */
static void
length_check(unsigned size, uint64_t len, int from_client, size_t max)
{
    size_t n = 2 + size;
    uint8_t buf[10];
    struct ws_parser p;
    struct ws_head head;

    check_context("%u bytes of length, %llu, max %zu", size,
                  (unsigned long long)len, max);
    buf[0] = 0x82;
    buf[1] = (uint8_t)((from_client ? 0x80 : 0) | (size == 2 ? 126 : 127));
    for (unsigned i = 0; i < size; i++) {
        buf[2 + i] = (uint8_t)(len >> (8 * (size - 1 - i)));
    }
    uint8_t *at = guard_copy(buf, n);
    ws_parser_init(&p, from_client, max);
    int rc = ws_parser_next(&p, at, n, &head);
    if (size == 8 && len >> 63 != 0) {
        CHECK_INT(rc, WS_ERR_LEN_SIGN);
    }
    else if (len < (size == 2 ? 126u : 65536u)) {
        CHECK_INT(rc, WS_ERR_LEN_NOT_MINIMAL);
    }
    else if (len > max || len > WS_FRAME_SIZE_MAX) {
        CHECK_INT(rc, WS_ERR_FRAME_SIZE);
    }
    else {
        CHECK_INT(rc, 0);
        CHECK_INT(p.need, from_client ? n + 4 : n + (size_t)len);
    }
    guard_free(at, n);
}

static void
test_lengths(void)
{
    for (uint64_t len = 0; len < 65536; len += quick() ? 331 : 7) {
        length_check(2, len, len & 1, 40000);
    }
    for (uint64_t len = 0; len < 300; len++) {
        length_check(2, len, 0, SIZE_MAX);
        length_check(2, 65535 - len, 1, SIZE_MAX);
        length_check(8, len, 1, SIZE_MAX);
        length_check(8, 65536 - 150 + len, 0, SIZE_MAX);
        length_check(8, (uint64_t)WS_FRAME_SIZE_MAX - 150 + len, 0, SIZE_MAX);
    }
    for (int bit = 0; bit < 64; bit++) {
        for (int d = -2; d <= 2; d++) {
            uint64_t len = ((uint64_t)1 << bit) + (uint64_t)(int64_t)d;
            length_check(8, len, 0, SIZE_MAX);
            length_check(8, len, 1, 1 << 20);
        }
    }
}

static void
test_max_frame_size(void)
{
    static const size_t limits[] = {0,
                                    1,
                                    2,
                                    124,
                                    125,
                                    126,
                                    127,
                                    128,
                                    65534,
                                    65535,
                                    65536,
                                    65537,
                                    99999,
                                    1 << 20,
                                    SIZE_MAX / 4 - 1,
                                    SIZE_MAX / 4,
                                    SIZE_MAX / 4 + 1,
                                    SIZE_MAX};

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        size_t limit = limits[i] < SIZE_MAX / 4 ? limits[i] : SIZE_MAX / 4;
        for (int d = -2; d <= 2; d++) {
            for (int masked = 0; masked <= 1; masked++) {
                static const uint8_t key[4] = {9, 8, 7, 6};
                static const unsigned ops[] = {0x82, 0x81, 0x01, 0x02};
                for (size_t o = 0; o < 4; o++) {
                    size_t len = limit + (size_t)d;
                    if (d < 0 && limit < (size_t)-d) {
                        continue;
                    }
                    check_context("limit %zu, length %zu, masked %d", limits[i],
                                  len, masked);
                    uint8_t buf[WS_HEAD_MAX];
                    struct ws_parser p;
                    struct ws_head head;
                    uint8_t *end =
                        ws_writer_head(buf, ops[o], len, masked ? key : NULL);
                    size_t n = (size_t)(end - buf);
                    ws_parser_init(&p, masked, limits[i]);
                    CHECK_INT(p.max_frame_size, limit);
                    /* The length alone is enough to refuse it. */
                    size_t upto = n - (masked ? 4 : 0);
                    int rc = ws_parser_next(&p, buf, upto, &head);
                    if (len > limit) {
                        CHECK_INT(rc, WS_ERR_FRAME_SIZE);
                    }
                    else {
                        CHECK(rc >= 0);
                        rc = rc == 0 ? ws_parser_next(&p, buf, n, &head) : rc;
                        CHECK_INT(rc, len == 0);
                        CHECK(rc == 1 || p.need == n + len);
                    }
                }
            }
        }
        /* Control frames have a limit of their own. */
        uint8_t ping[2 + 125] = {0x89, 125};
        struct ws_parser p;
        struct ws_head head;
        ws_parser_init(&p, 0, limits[i]);
        CHECK_INT(ws_parser_next(&p, ping, sizeof(ping), &head), 1);
    }
}

/* ---- the order of frames ---- */

static void
test_order(void)
{
    static const uint8_t firsts[] = {0x01, 0x82, 0x00, 0x80, 0x89, 0x88};
    enum { LEN = 6, COUNT = 6 };
    long sequences = 1;

    for (int i = 0; i < LEN; i++) {
        sequences *= COUNT;
    }
    for (long s = 0; s < sequences; s += quick() ? 13 : 1) {
        struct ws_parser p;
        struct ws_head head;
        long rest = s;
        int in_message = 0, failed = 0;

        check_context("sequence %ld", s);
        ws_parser_init(&p, 0, 100);
        for (int i = 0; i < LEN; i++, rest /= COUNT) {
            uint8_t frame[2] = {firsts[rest % COUNT], 0};
            int want = 1;
            if (frame[0] == 0x01 || frame[0] == 0x82) {
                want = in_message ? WS_ERR_CONT_EXPECTED : 1;
                in_message = frame[0] == 0x01;
            }
            else if (frame[0] == 0x00 || frame[0] == 0x80) {
                want = in_message ? 1 : WS_ERR_CONT_UNSTARTED;
                in_message = frame[0] == 0x00;
            }
            failed = failed != 0 ? failed : want < 0 ? want : 0;
            CHECK_INT(ws_parser_next(&p, frame, 2, &head),
                      failed != 0 ? failed : 1);
        }
    }
}

/* ---- on a ring, while memory fails ---- */

struct kept {
    struct ws_block *block;
    const uint8_t *at;
    size_t offset, len;
};

enum { KEPT_MAX = 64 };

/* The stream: frames of many sizes, a large one among them. */
static uint8_t *
stream_build(size_t *len, size_t *frames)
{
    static const struct {
        uint8_t first;
        size_t len;
    } list[] = {
        {0x81, 5},     {0x82, 600},  {0x89, 4},     {0x82, 600},   {0x01, 100},
        {0x8A, 0},     {0x80, 3000}, {0x82, 600},   {0x82, 60000}, {0x81, 12},
        {0x82, 600},   {0x82, 4090}, {0x82, 60000}, {0x82, 9000},  {0x82, 200},
        {0x01, 3},     {0x00, 5000}, {0x89, 125},   {0x80, 1},     {0x82, 4096},
        {0x82, 65000}, {0x88, 2},
    };
    uint8_t *bytes = malloc(300000), *at = bytes;

    CHECK(bytes != NULL);
    *frames = sizeof(list) / sizeof(list[0]);
    for (size_t i = 0; i < *frames; i++) {
        at = ws_writer_head(at, list[i].first, list[i].len, NULL);
        for (size_t k = 0; k < list[i].len; k++) {
            *at++ = (uint8_t)(check_random() >> 8);
        }
    }
    *len = (size_t)(at - bytes);
    CHECK(*len < 300000);
    return bytes;
}

/* Reads the stream in pieces of at most |most| bytes, keeps every second frame
 * of some length, and returns whether no allocation failed.  With |go_on| a
 * failed one is tried again, else it ends the connection. */
static int
scenario(const uint8_t *stream, size_t len, size_t frames, size_t most,
         long fail_at, int go_on)
{
    struct failing_mem fm;
    struct ws_spare spare = {NULL, NULL};
    struct ws_ring ring;
    struct ws_parser p;
    struct ws_head head;
    struct kept kept[KEPT_MAX];
    size_t kept_count = 0, in = 0, out = 0, seen = 0;
    int failures = 0, rc = 0;

    failing_mem_init(&fm, fail_at);
    ws_ring_init(&ring, &fm.mem, &spare, 4096);
    ws_parser_init(&p, 0, 1 << 20);
    while (in < len) {
        uint8_t *ptr;
        size_t n;
        int err = ws_ring_reserve(&ring, p.need, &ptr, &n);
        CHECK(ws_ring_check(&ring));
        CHECK_INT(ws_ring_len(&ring), in - out);
        if (err != 0) {
            CHECK_INT(err, WS_ERR_NOMEM);
            CHECK_INT(++failures, 1);
            if (!go_on) {
                break;
            }
            continue;
        }
        n = n < most ? n : most;
        n = n < len - in ? n : len - in;
        memcpy(ptr, stream + in, n);
        ws_ring_commit(&ring, n);
        CHECK(ws_ring_check(&ring));
        in += n;
        while ((rc = ws_parser_next(&p, ws_ring_peek(&ring), ws_ring_len(&ring),
                                    &head)) == 1) {
            size_t total = head.len + head.payload_len;
            CHECK_BYTES(ws_ring_peek(&ring), stream + out, total);
            if (seen++ % 2 == 1 && head.payload_len > 100 &&
                kept_count < KEPT_MAX) {
                struct kept *k = &kept[kept_count++];
                k->block = ws_ring_block(&ring);
                k->at = ws_ring_peek(&ring);
                k->offset = out;
                k->len = total;
                ws_block_incref(k->block);
            }
            ws_ring_consume(&ring, total);
            CHECK(ws_ring_check(&ring));
            out += total;
        }
        CHECK_INT(rc, 0);
        ws_ring_settle(&ring);
        CHECK(ws_ring_check(&ring));
    }
    if (failures == 0 || go_on) {
        CHECK_INT(seen, frames);
        CHECK_INT(out, len);
        CHECK(ws_ring_block(&ring) == NULL);
        CHECK(kept_count > 3);
    }
    ws_ring_free(&ring);
    CHECK(ws_ring_check(&ring));

    /* The ring works for the next connection, in what is left. */
    uint8_t *ptr;
    size_t n;
    fm.fail_at = -1;
    ws_parser_init(&p, 0, 1 << 20);
    CHECK_INT(ws_ring_reserve(&ring, p.need, &ptr, &n), 0);
    CHECK(n >= 7);
    memcpy(ptr, stream, 7);
    ws_ring_commit(&ring, 7);
    CHECK_INT(ws_parser_next(&p, ws_ring_peek(&ring), 7, &head), 1);
    ws_ring_consume(&ring, 7);
    ws_ring_settle(&ring);

    for (size_t i = 0; i < kept_count; i++) {
        CHECK_BYTES(kept[i].at, stream + kept[i].offset, kept[i].len);
    }
    ws_ring_free(&ring);
    ws_spare_clear(&spare);
    for (size_t pass = 0; pass < 3; pass++) {
        for (size_t i = pass; i < kept_count; i += 3) {
            CHECK(fm.alive > 0);
            ws_block_decref(kept[i].block);
        }
    }
    CHECK_INT(fm.alive, 0);
    return failures == 0;
}

static void
test_no_memory(void)
{
    static const size_t pieces[] = {700, 1500, 4096, 100000};
    size_t len, frames;
    uint8_t *stream = stream_build(&len, &frames);

    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        for (int go_on = 0; go_on <= 1; go_on++) {
            long fail_at = 0;
            for (;; fail_at++) {
                check_context("pieces of %zu, go on %d, allocation %ld",
                              pieces[i], go_on, fail_at);
                if (scenario(stream, len, frames, pieces[i], fail_at, go_on)) {
                    break;
                }
            }
            CHECK(fail_at >= 8);
        }
    }
    free(stream);
}

/* RFC 7692, 6.1: bits that only the first frame of a message may carry. */
static void
test_rsv_of_messages(void)
{
    for (unsigned first = 0; first < 256; first++) {
        for (int in_message = 0; in_message <= 1; in_message++) {
            check_context("%02x, in_message %d", first, in_message);
            struct ws_parser p;
            struct ws_head head;
            uint8_t bytes[2] = {(uint8_t)first, 0};
            unsigned opcode = first % 16;
            ws_parser_init(&p, 0, 1000);
            CHECK_INT(p.rsv_message, 0);
            p.in_message = (uint8_t)in_message;
            p.rsv_message = WS_BIT_RSV1;
            int begins = opcode == WS_OP_TEXT || opcode == WS_OP_BINARY;
            unsigned allowed = begins ? WS_BIT_RSV1 : 0;
            int rc = ws_parser_next(&p, bytes, 2, &head);
            if (first & WS_BITS_RSV & ~allowed) {
                CHECK_INT(rc, WS_ERR_RSV);
            }
            else {
                CHECK(rc != WS_ERR_RSV);
                CHECK(rc != 1 || head.rsv == (first & WS_BITS_RSV));
            }
        }
    }
}

static const struct test tests[] = {
    {"vectors, cut everywhere", test_vectors},
    {"RSV bits of messages", test_rsv_of_messages},
    {"every first and second byte", test_two_bytes},
    {"extended lengths", test_lengths},
    {"max_frame_size", test_max_frame_size},
    {"the order of frames", test_order},
    {"each allocation fails in turn", test_no_memory},
    {NULL, NULL},
};

extern const struct suite suite_parser;
const struct suite suite_parser = {"parser", tests};
