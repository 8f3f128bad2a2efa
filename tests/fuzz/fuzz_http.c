/* fuzz_http.c - any bytes as an HTTP head: what the parser says must not depend
 * on the pieces, and what it accepts must be what it says it is.
 *
 * The first byte of the input chooses the kind of head (bit 0) and seeds the
 * cuts.
 *
 *     clang -fsanitize=fuzzer,address,undefined -Icsrc/core
 *           tests/fuzz/fuzz_http.c csrc/core/ws_http.c
 */
#include "fuzz.h"
#include "ws_err.h"
#include "ws_http.h"

/* piece_feed feeds the first |n| bytes of |head| from a block of just that
 * size.  What was looked at before is replaced by |garbage|. */
static int
piece_feed(struct ws_http *h, const uint8_t *head, size_t n, uint8_t garbage)
{
    uint8_t *copy = fuzz_copy(head, n);
    if (n != 0)
        memset(copy, garbage, h->pos < n ? h->pos : n);
    int rc = ws_http_feed(h, copy, n);
    free(copy);
    return rc;
}

/* pieces_feed feeds all of |head| in pieces that |seed| chooses. */
static int
pieces_feed(struct ws_http *h, const uint8_t *head, size_t len, uint32_t seed)
{
    size_t n = 0;
    int rc = 0;
    /* Long inputs go in longer pieces: copies are what takes the time. */
    size_t most = (seed >> 5) % 4 * 16 + len / 64 + 1;
    while (n < len) {
        seed = seed * 1664525u + 1013904223u;
        n += (seed >> 16) % most + 1;
        if (n > len)
            n = len;
        int before = rc;
        rc = piece_feed(h, head, n, (uint8_t)(seed >> 8));
        MUST(before == 0 || rc == before);
        MUST(rc != 0 || h->pos == n);
    }
    return rc;
}

static int
is_token(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        int is_alpha = (p[i] | 0x20) >= 'a' && (p[i] | 0x20) <= 'z';
        int is_digit = p[i] >= '0' && p[i] <= '9';
        if (is_alpha || is_digit)
            continue;
        if (p[i] == 0 || strchr("!#$%&'*+-.^_`|~", p[i]) == NULL)
            return 0;
    }
    return len != 0;
}

static int
is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* is_text allows folds where |folds|. */
static int
is_text(const uint8_t *p, size_t len, int folds)
{
    for (size_t i = 0; i < len; i++) {
        if (folds && i + 3 < len && p[i] == '\r' && p[i + 1] == '\n' &&
            is_blank(p[i + 2]))
            i += 2;
        else if ((p[i] < 0x20 && p[i] != '\t') || p[i] == 0x7f)
            return 0;
    }
    return 1;
}

/* text_check checks that |want| stands at |pos| of |head| and returns where it
 * ends. */
static size_t
text_check(const uint8_t *head, size_t pos, const char *want)
{
    MUST(memcmp(head + pos, want, strlen(want)) == 0);
    return pos + strlen(want);
}

/* span_check checks that |s| begins at |pos| and returns where it ends. */
static size_t
span_check(struct ws_http_span s, size_t pos)
{
    MUST(s.off == pos);
    return pos + s.len;
}

/* blanks_skip returns where the blanks at |pos| end; also folds, where |folds|.
 */
static size_t
blanks_skip(const uint8_t *head, size_t pos, int folds)
{
    while (is_blank(head[pos]) ||
           (folds && head[pos] == '\r' && head[pos + 1] == '\n' &&
            is_blank(head[pos + 2]))) {
        pos += is_blank(head[pos]) ? 1 : 3;
    }
    return pos;
}

static size_t
field_check(const struct ws_http_field *f, const uint8_t *head, size_t pos,
            int folds)
{
    pos = span_check(f->name, pos);
    MUST(is_token(head + f->name.off, f->name.len));
    pos = blanks_skip(head, text_check(head, pos, ":"), folds);
    pos = span_check(f->value, pos);
    MUST(is_text(head + f->value.off, f->value.len, folds));
    MUST(f->value.len == 0 || !is_blank(head[pos - 1]));
    return text_check(head, blanks_skip(head, pos, folds), "\r\n");
}

/* head_check writes the |len| bytes of |head| once more, so to speak, from what
 * |h| says of them: no byte may be left over. */
static void
head_check(const struct ws_http *h, const uint8_t *head, size_t len)
{
    size_t pos = 0;
    if (h->is_response) {
        char status[8];
        pos = text_check(head, span_check(h->version, pos), " ");
        MUST(h->status >= 100 && h->status <= 999);
        snprintf(status, sizeof(status), "%u", h->status);
        pos = text_check(head, pos, status);
        if (head[pos] == ' ')
            pos++;
        pos = span_check(h->reason, pos);
        MUST(is_text(head + h->reason.off, h->reason.len, 0));
    }
    else {
        if (head[0] == '\r')
            pos = text_check(head, 0, "\r\n");
        pos = text_check(head, span_check(h->method, pos), " ");
        MUST(is_token(head + h->method.off, h->method.len));
        pos = text_check(head, span_check(h->target, pos), " ");
        MUST(h->target.len != 0);
        for (size_t i = 0; i < h->target.len; i++) {
            uint8_t c = head[h->target.off + i];
            MUST(c > 0x20 && c < 0x7f);
        }
        pos = span_check(h->version, pos);
    }
    MUST(h->version.len == 8);
    text_check(head, h->version.off,
               head[h->version.off + 7] == '0' ? "HTTP/1.0" : "HTTP/1.1");
    pos = text_check(head, pos, "\r\n");
    MUST(h->field_count <= WS_HTTP_FIELDS_MAX);
    for (size_t i = 0; i < h->field_count; i++) {
        pos = field_check(&h->fields[i], head, pos, h->is_response);
    }
    pos = text_check(head, pos, "\r\n");
    MUST(pos == len && len == h->pos && len <= WS_HTTP_HEAD_MAX);
}

static void
same_check(const struct ws_http *a, const struct ws_http *b)
{
    MUST(a->err == b->err && a->pos == b->pos && a->status == b->status);
    MUST(a->field_count == b->field_count);
    MUST(memcmp(&a->method, &b->method, sizeof(a->method)) == 0);
    MUST(memcmp(&a->target, &b->target, sizeof(a->target)) == 0);
    MUST(memcmp(&a->reason, &b->reason, sizeof(a->reason)) == 0);
    MUST(memcmp(&a->version, &b->version, sizeof(a->version)) == 0);
    MUST(memcmp(a->fields, b->fields, sizeof(a->fields)) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ws_http whole, pieces;
    if (size == 0)
        return 0;
    const uint8_t *head = data + 1;
    size_t len = size - 1;

    ws_http_init(&whole, data[0] & 1);
    int rc = piece_feed(&whole, head, len, 0);
    ws_http_init(&pieces, data[0] & 1);
    MUST(pieces_feed(&pieces, head, len, data[0]) == rc);
    same_check(&whole, &pieces);

    if (rc > 0) {
        MUST((size_t)rc <= len && whole.err == 0);
        head_check(&whole, head, (size_t)rc);
    }
    else if (rc == 0) {
        MUST(whole.pos == len && len < WS_HTTP_HEAD_MAX);
    }
    else {
        MUST(rc <= WS_ERR_HTTP_SYNTAX && rc >= WS_ERR_HTTP_TOO_MANY);
        MUST(strcmp(ws_err_text(rc), "unknown error") != 0);
        MUST(ws_err_http_status(rc) == 400 || rc <= WS_ERR_HTTP_TOO_LARGE);
        /* The byte at pos shows the error: without it there is none. */
        ws_http_init(&pieces, data[0] & 1);
        size_t fine = whole.pos - (rc == WS_ERR_HTTP_TOO_LARGE);
        MUST(piece_feed(&pieces, head, fine, 0) == 0);
    }
    return 0;
}
