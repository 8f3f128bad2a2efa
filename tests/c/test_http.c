/* test_http.c - the vectors of tests/vectors/http_*.md, whole and in pieces,
 * and what the parser does with each byte at each place.
 *
 * Between two calls the bytes that were looked at already are overwritten, and
 * the buffer moves: the result must not notice.
 */

#include "check.h"
#include "vectors.h"
#include "ws_err.h"
#include "ws_http.h"

/* The events are those that tests/vectors/http_requests.md describes. */

static void
log_span(const char *before, const uint8_t *head, struct ws_http_span s)
{
    vectors_log_add("%s", before);
    vectors_log_bytes(head + s.off, s.len);
}

static int
span_same(const uint8_t *head, struct ws_http_span a, struct ws_http_span b)
{
    return a.len == b.len && memcmp(head + a.off, head + b.off, a.len) == 0;
}

static void
log_fields(const struct ws_http *h, const uint8_t *head)
{
    for (size_t i = 0, run; i < h->field_count; i += run) {
        const struct ws_http_field *f = &h->fields[i];
        log_span("field ", head, f->name);
        log_span("=", head, f->value);
        vectors_log_add("\n");
        for (run = 1; i + run < h->field_count &&
                      span_same(head, f->name, f[run].name) &&
                      span_same(head, f->value, f[run].value);) {
            run++;
        }
        if (run > 1)
            vectors_log_add("again *%u\n", (unsigned)run - 1);
    }
}

static const char *
error_name(int err)
{
    static const char *const names[] = {"SYNTAX",   "LINE",   "VERSION",
                                        "HEADER",   "FOLDED", "TOO_LARGE",
                                        "TOO_MANY", "INTERIM"};
    int i = WS_ERR_HTTP_SYNTAX - err;
    CHECK(i >= 0 && i < (int)(sizeof(names) / sizeof(names[0])));
    return names[i];
}

/* log_result writes the log of |h|, which has just returned |rc|, and whose
 * bytes are those of |head|. */
static void
log_result(const struct ws_http *h, int rc, const uint8_t *head)
{
    vectors_log_clear();
    if (rc == 0) {
        vectors_log_add("incomplete\n");
        return;
    }
    if (rc < 0) {
        CHECK_INT(h->err, rc);
        vectors_log_add("error HTTP_%s at offset %u\n", error_name(rc),
                        (unsigned)h->pos);
        return;
    }
    int is_1_0 = h->version.len == 8 && head[h->version.off + 7] == '0';
    CHECK_INT(h->version.len, 8);
    CHECK_BYTES(head + h->version.off, is_1_0 ? "HTTP/1.0" : "HTTP/1.1", 8);
    if (h->is_response) {
        vectors_log_add("status=%u\n", h->status);
        log_span("reason=", head, h->reason);
    }
    else {
        log_span("method=", head, h->method);
        log_span("\ntarget=", head, h->target);
    }
    vectors_log_add(is_1_0 ? "\nHTTP/1.0\n" : "\n");
    log_fields(h, head);
    vectors_log_add("complete len=%d\n", rc);
}

/* One input: its bytes, and what the parser said of it as a whole. */
struct input {
    const char *title;
    int is_response;
    const uint8_t *bytes;
    size_t len;
    int rc;
    size_t pos;
    char *log;
};

/* input_whole feeds |in| at once. */
static void
input_whole(struct input *in)
{
    struct ws_http h;
    uint8_t *copy = guard_copy(in->bytes, in->len);
    check_context("%s, whole", in->title);
    ws_http_init(&h, in->is_response);
    in->rc = ws_http_feed(&h, copy, in->len);
    in->pos = h.pos;
    guard_free(copy, in->len);
    log_result(&h, in->rc, in->bytes);
    in->log =
        strcpy(malloc(strlen(vectors_log_text()) + 1), vectors_log_text());
}

/* input_after returns what ws_http_feed() must say once the first |n| bytes of
 * |in| are there. */
static int
input_after(const struct input *in, size_t n)
{
    if (in->rc > 0)
        return n >= (size_t)in->rc ? in->rc : 0;
    return n > in->pos || n == WS_HTTP_HEAD_MAX ? in->rc : 0;
}

/* piece_feed feeds the first |n| bytes of |in|, in a fresh buffer that ends
 * with them.  Those that |h| has looked at are |garbage|. */
static int
piece_feed(const struct input *in, struct ws_http *h, size_t n, uint8_t garbage)
{
    uint8_t *copy = guard_copy(in->bytes, n);
    if (h->pos != 0)
        memset(copy, garbage, h->pos < n ? h->pos : n);
    int rc = ws_http_feed(h, copy, n);
    guard_free(copy, n);
    CHECK_INT(rc, input_after(in, n));
    if (rc == 0)
        CHECK_INT(h->pos, n);
    return rc;
}

/* input_cut feeds |in| in two pieces. */
static void
input_cut(const struct input *in, size_t cut)
{
    static const uint8_t garbage[] = {0, '\n', ' ', 'A', '\r', ':', 0xff, '\t'};
    struct ws_http h;
    check_context("%s, cut at %u", in->title, (unsigned)cut);
    ws_http_init(&h, in->is_response);
    piece_feed(in, &h, cut, 0);
    int rc = piece_feed(in, &h, in->len, garbage[cut % sizeof(garbage)]);
    log_result(&h, rc, in->bytes);
    vectors_log_check(in->log);
}

/* input_crumbs feeds |in| byte by byte.  But for the newest one, all bytes of
 * the buffer are |garbage|: those behind it, too. */
static void
input_crumbs(const struct input *in, uint8_t garbage)
{
    struct ws_http h;
    int rc = 0;
    uint8_t *window = guard_new(in->len);
    if (in->len != 0)
        memset(window, garbage, in->len);
    check_context("%s, byte by byte among %02x", in->title, garbage);
    ws_http_init(&h, in->is_response);
    for (size_t n = 1; n <= in->len; n++) {
        window[n - 1] = in->bytes[n - 1];
        rc = ws_http_feed(&h, window, n);
        window[n - 1] = garbage;
        CHECK_INT(rc, input_after(in, n));
        if (rc == 0)
            CHECK_INT(h.pos, n);
    }
    guard_free(window, in->len);
    log_result(&h, rc, in->bytes);
    vectors_log_check(in->log);
}

/* input_check feeds |in| in every way. */
static void
input_check(struct input *in)
{
    /* Of a long input, not every cut: those near its ends, and some. */
    const size_t near = 300, stride = 97;
    for (size_t cut = 0; cut <= in->len; cut++) {
        int is_near = cut < near || cut + near > in->len;
        if (in->len < 2000 || is_near || cut % stride == 0)
            input_cut(in, cut);
    }
    input_crumbs(in, 0);
    input_crumbs(in, '\n');
    input_crumbs(in, 'A');
}

static void
vectors_run(const char *file, int is_response)
{
    size_t count;
    struct vector *vectors = vectors_load(file, &count);
    for (size_t i = 0; i < count; i++) {
        const struct vector *v = &vectors[i];
        struct input in = {.title = v->title,
                           .is_response = is_response,
                           .bytes = v->bytes,
                           .len = v->len};
        input_whole(&in);
        vectors_log_check(v->expect);
        input_check(&in);
        free(in.log);
    }
    vectors_free(vectors, count);
}

static void
test_requests(void)
{
    vectors_run("http_requests.md", 0);
}

static void
test_responses(void)
{
    vectors_run("http_responses.md", 1);
}

/* test_changed feeds good heads in which some bytes were changed: whatever
 * comes of them must not depend on the pieces. */
static void
test_changed(void)
{
    static const char odd[] = "\r\n\t :AB12/\x7f\x80";
    static const char *const heads[] = {
        "GET /a HTTP/1.1\r\nHost: a b\r\nX:\r\nY: \t z \r\n\r\nrest",
        "HTTP/1.1 200 OK\r\nHost: a b\r\nX:\r\nY: \t z \r\n\r\nrest",
    };
    for (int round = 0; round < 400; round++) {
        uint8_t bytes[100];
        struct input in = {.title = "changed", .bytes = bytes};
        in.is_response = round % 2;
        in.len = strlen(heads[in.is_response]);
        memcpy(bytes, heads[in.is_response], in.len);
        for (uint32_t n = check_random() % 3 + 1; n > 0; n--) {
            bytes[check_random() % in.len] =
                (uint8_t)odd[check_random() % sizeof(odd)];
        }
        input_whole(&in);
        input_check(&in);
        free(in.log);
    }
}

/* set_has returns whether |c| is of |set|: bytes and ranges, from-to; a '-'
 * that is meant stands first. */
static int
set_has(const char *set, int c)
{
    for (const uint8_t *p = (const uint8_t *)set; *p != 0; p++) {
        if (p[1] == '-' && p[2] != 0) {
            if (c >= p[0] && c <= p[2])
                return 1;
            p += 2;
        }
        else if (c == *p) {
            return 1;
        }
    }
    return 0;
}

/* A byte between |before| and |after| is right if it is of the set |good|; it
 * is left to the vectors if it is of |skip|; it is else |lf_err| if LF, |err|
 * if not. */
struct place {
    int is_response;
    const char *before, *after, *good, *skip;
    int lf_err, err;
};

/* RFC 9110, 5.6.2 and 5.5. */
#define TOKEN "-!#$%&'*+.^_`|~0-9A-Za-z"
#define VISIBLE "!-~"
#define TEXT "!-~ \t\x80-\xff"
#define SYNTAX WS_ERR_HTTP_SYNTAX
#define LINE WS_ERR_HTTP_LINE
#define HEADER WS_ERR_HTTP_HEADER
#define REQ "GET / HTTP/1.1"
#define RES "HTTP/1.1 2"
static const struct place places[] = {
    {0, "", "T / HTTP/1.1\r\n\r\n", TOKEN, "\r", LINE, LINE},
    {0, "\r", "GET / HTTP/1.1\r\n\r\n", "\n", "", SYNTAX, SYNTAX},
    {0, "\r\n", "T / HTTP/1.1\r\n\r\n", TOKEN, "", LINE, LINE},
    {0, "GE", "T / HTTP/1.1\r\n\r\n", TOKEN, " ", LINE, LINE},
    {0, "GET", "/ HTTP/1.1\r\n\r\n", " ", TOKEN, LINE, LINE},
    {0, "GET ", " HTTP/1.1\r\n\r\n", VISIBLE, "", LINE, LINE},
    {0, "GET /a", "b HTTP/1.1\r\n\r\n", VISIBLE, " ", LINE, LINE},
    {0, REQ, "\n\r\n", "\r", "", SYNTAX, LINE},
    {0, REQ "\r", "\r\n", "\n", "", SYNTAX, SYNTAX},
    {0, REQ "\r\n", ": b\r\n\r\n", TOKEN, "\r\t ", SYNTAX, HEADER},
    {0, REQ "\r\nA", ": b\r\n\r\n", TOKEN ":", "", HEADER, HEADER},
    {0, REQ "\r\nA:", "b\r\n\r\n", TEXT, "\r", SYNTAX, HEADER},
    {0, REQ "\r\nA: ", "b\r\n\r\n", TEXT, "\r", SYNTAX, HEADER},
    {0, REQ "\r\nA: b", "c\r\n\r\n", TEXT, "\r", SYNTAX, HEADER},
    {0, REQ "\r\nA: b ", "c\r\n\r\n", TEXT, "\r", SYNTAX, HEADER},
    {0, REQ "\r\nA: b\r", "\r\n", "\n", "", SYNTAX, SYNTAX},
    {0, REQ "\r\nA:\r", "\r\n", "\n", "", SYNTAX, SYNTAX},
    {0, REQ "\r\nA: b\r\n\r", "", "\n", "", SYNTAX, SYNTAX},
    {0, REQ "\r\n\r", "", "\n", "", SYNTAX, SYNTAX},
    {1, "HTTP/1.1", "200 A\r\n\r\n", " ", "", LINE, LINE},
    {1, "HTTP/1.1 ", "00 A\r\n\r\n", "1-9", "", LINE, LINE},
    {1, RES, "0 A\r\n\r\n", "0-9", "", LINE, LINE},
    {1, RES "0", " A\r\n\r\n", "0-9", "", LINE, LINE},
    {1, RES "00", "A\r\n\r\n", " ", "\r", SYNTAX, LINE},
    {1, RES "00 ", "A\r\n\r\n", TEXT, "\r", SYNTAX, LINE},
    {1, RES "00 A", "B\r\n\r\n", TEXT, "\r", SYNTAX, LINE},
    {1, RES "00\r\nA: b\r\n", ": c\r\n\r\n", TOKEN "\t ", "\r", SYNTAX, HEADER},
    {1, RES "00\r\nA: b\r\n ", "c\r\n\r\n", TEXT, "\r", SYNTAX, HEADER},
    {1, RES "00\r\n", ": c\r\n\r\n", TOKEN, "\r\t ", SYNTAX, HEADER},
    {1, RES "00\r", "\r\n", "\n", "", SYNTAX, SYNTAX},
    {1, RES "00 A\r", "\r\n", "\n", "", SYNTAX, SYNTAX},
};

static void
place_check(const struct place *place, int c)
{
    char head[100];
    struct ws_http h;
    size_t before = strlen(place->before);
    int len =
        snprintf(head, sizeof(head), "%s?%s", place->before, place->after);
    check_context("byte %02x behind \"%s\"", c, place->before);
    head[before] = (char)c;
    uint8_t *copy = guard_copy(head, (size_t)len);
    ws_http_init(&h, place->is_response);
    int rc = ws_http_feed(&h, copy, (size_t)len);
    guard_free(copy, (size_t)len);
    if (set_has(place->good, c)) {
        CHECK_INT(rc, len);
    }
    else {
        CHECK_INT(rc, c == '\n' ? place->lf_err : place->err);
        CHECK_INT(h.pos, before);
    }
}

static void
test_places(void)
{
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        for (int c = 0; c < 256; c++) {
            if (!set_has(places[i].skip, c))
                place_check(&places[i], c);
        }
    }
}

static void
test_versions(void)
{
    for (int i = 0; i < 100; i++) {
        char head[50];
        struct ws_http h;
        int len = snprintf(head, sizeof(head), "GET / HTTP/%d.%d\r\n\r\n",
                           i / 10, i % 10);
        check_context("HTTP/%d.%d", i / 10, i % 10);
        ws_http_init(&h, 0);
        int rc = ws_http_feed(&h, (uint8_t *)head, (size_t)len);
        int is_fine = i == 10 || i == 11;
        CHECK_INT(rc, is_fine ? len : WS_ERR_HTTP_VERSION);
        CHECK_INT(h.pos, is_fine ? len : 13);
    }
}

static void
test_statuses(void)
{
    for (unsigned status = 0; status < 1000; status++) {
        char head[50];
        struct ws_http h;
        int len = snprintf(head, sizeof(head), "HTTP/1.1 %03u\r\n\r\n", status);
        check_context("status %03u", status);
        ws_http_init(&h, 1);
        int rc = ws_http_feed(&h, (uint8_t *)head, (size_t)len);
        CHECK_INT(rc, status >= 100 ? len : WS_ERR_HTTP_LINE);
        CHECK_INT(h.status, status >= 100 ? status : 0);
    }
}

/* test_terminal: both ends of a parse are final, and nothing is read there. */
static void
test_terminal(void)
{
    static const uint8_t bad[] = REQ "\r\n: b\r\n\r\n";
    static const uint8_t good[] = REQ "\r\n\r\n" REQ "\r\n\r\n";
    struct ws_http h;
    ws_http_init(&h, 0);
    CHECK_INT(ws_http_feed(&h, NULL, 0), 0);
    CHECK_INT(ws_http_feed(&h, bad, 16), 0);
    CHECK_INT(ws_http_feed(&h, bad, 16), 0);
    CHECK_INT(ws_http_feed(&h, bad, 17), WS_ERR_HTTP_HEADER);
    CHECK_INT(ws_http_feed(&h, good, sizeof(good)), WS_ERR_HTTP_HEADER);
    CHECK_INT(ws_http_feed(&h, NULL, 0), WS_ERR_HTTP_HEADER);
    CHECK_INT(h.err, WS_ERR_HTTP_HEADER);
    CHECK_INT(h.pos, 16);

    ws_http_init(&h, 0);
    CHECK_INT(ws_http_feed(&h, good, 18), 18);
    CHECK_INT(ws_http_feed(&h, good, 36), 18);
    CHECK_INT(ws_http_feed(&h, NULL, 0), 18);
    CHECK_INT(h.err, 0);

    /* init forgets all of what was. */
    ws_http_init(&h, 2);
    CHECK_INT(h.is_response, 1);
    CHECK_INT(ws_http_feed(&h, good, 1), WS_ERR_HTTP_LINE);
}

/* interim_pass feeds |count| interim responses of |len| bytes each, whole and
 * byte by byte; all of them are passed over. */
static void
interim_pass(struct ws_http *h, const char *head, unsigned count)
{
    size_t len = strlen(head);
    for (unsigned i = 0; i < count; i++) {
        uint8_t *copy = guard_copy(head, len);
        for (size_t n = i % 2 == 0 ? len : 1; n < len; n++) {
            CHECK_INT(ws_http_feed(h, copy, n), 0);
        }
        CHECK_INT(ws_http_feed(h, copy, len), len);
        guard_free(copy, len);
        CHECK_INT(ws_http_interim(h), 1);
        CHECK_INT(h->interim, i + 1);
        CHECK_INT(h->pos, 0);
    }
}

/* test_interim: 1xx but 101 are passed over, so many of them, and no more bytes
 * than one head may have. */
static void
test_interim(void)
{
    static const char early[] =
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    struct ws_http h;
    for (unsigned status = 100; status < 1000; status++) {
        char head[50];
        int len = snprintf(head, sizeof(head), "HTTP/1.1 %u\r\n\r\n", status);
        check_context("status %u", status);
        ws_http_init(&h, 1);
        CHECK_INT(ws_http_feed(&h, (uint8_t *)head, (size_t)len), len);
        CHECK_INT(ws_http_interim(&h), status < 200 && status != 101);
    }
    check_context("a request");
    ws_http_init(&h, 0);
    CHECK_INT(ws_http_feed(&h, (const uint8_t *)REQ "\r\n\r\n", 18), 18);
    CHECK_INT(ws_http_interim(&h), 0);

    check_context("as many as may be");
    ws_http_init(&h, 1);
    interim_pass(&h, early, WS_HTTP_INTERIM_MAX);
    CHECK_INT(h.max, WS_HTTP_HEAD_MAX - 8 * strlen(early));
    CHECK_INT(ws_http_feed(&h, (const uint8_t *)"HTTP/1.1 101\r\n\r\n", 16),
              16);
    CHECK_INT(ws_http_interim(&h), 0);

    check_context("one more");
    ws_http_init(&h, 1);
    interim_pass(&h, early, WS_HTTP_INTERIM_MAX);
    size_t len = strlen(early);
    CHECK_INT(ws_http_feed(&h, (const uint8_t *)early, len), len);
    CHECK_INT(ws_http_interim(&h), WS_ERR_HTTP_INTERIM);
    CHECK_INT(ws_http_feed(&h, (const uint8_t *)early, len),
              WS_ERR_HTTP_INTERIM);

    check_context("all heads together");
    char *large = malloc(WS_HTTP_HEAD_MAX);
    size_t most = WS_HTTP_HEAD_MAX - 16;
    for (int more = 0; more < 2; more++) {
        memset(large, 'a', WS_HTTP_HEAD_MAX);
        memcpy(large, "HTTP/1.1 100 ", 13);
        memcpy(large + most - 4 + more, "\r\n\r\n", 5);
        ws_http_init(&h, 1);
        interim_pass(&h, large, 1);
        CHECK_INT(ws_http_feed(&h, (const uint8_t *)"HTTP/1.1 101\r\n\r\n", 16),
                  more ? WS_ERR_HTTP_TOO_LARGE : 16);
    }
    free(large);
}

/* test_vectors: the reader of the vectors reads what vectors.h says. */
static void
test_vectors(void)
{
    static const char text[] =
        "# One\nprose\n```python\nx\n```\n"
        "```http client 5\na\\r\\n\n b{x\\}*2}{*/*3}\\x7f\n```\n"
        "```events\nthis\n  that\n```\n"
        "## Two\n```hex\n0a FF # not 01\n{ab cd*2}\n```\n```events\n```\n"
        "```hex\n```\n```events\nx\n```\n";
    char written[30];
    size_t count;
    struct vector *v = vectors_parse("name", text, &count);
    CHECK_INT(count, 3);
    CHECK(strcmp(v[0].title, "name:7: One") == 0);
    CHECK(strcmp(v[0].options, "client 5") == 0);
    CHECK_INT(v[0].len, 16);
    CHECK_BYTES(v[0].bytes, "a\r\n bx}x}*/*/*/\x7f", 16);
    CHECK(strcmp(v[0].expect, "this\n  that\n") == 0);
    CHECK(strcmp(v[1].options, "") == 0);
    CHECK_INT(v[1].len, 6);
    CHECK_BYTES(v[1].bytes, "\x0a\xff\xab\xcd\xab\xcd", 6);
    CHECK(strcmp(v[1].expect, "") == 0);
    CHECK(strcmp(v[2].title, "name:22: Two") == 0);
    CHECK_INT(v[2].len, 0);
    vectors_free(v, count);

    /* And it writes what it reads. */
    CHECK_INT(vectors_write(written, sizeof(written),
                            (const uint8_t *)" \\a{\t~\x7f zzzzzzzz ", 17),
              23);
    CHECK(strcmp(written, " \\\\a\\{\\t~\\x7f {z*8}\\x20") == 0);
}

static const struct test tests[] = {
    {"vectors", test_vectors},     {"requests", test_requests},
    {"responses", test_responses}, {"changed", test_changed},
    {"places", test_places},       {"versions", test_versions},
    {"statuses", test_statuses},   {"terminal", test_terminal},
    {"interim", test_interim},     {NULL, NULL},
};

const struct suite suite_http = {"http", tests};
