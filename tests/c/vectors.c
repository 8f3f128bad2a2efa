#include "vectors.h"

#include <stdarg.h>

#include "check.h"

/* What is being read, and what has been. */
struct reader {
    const char *name;
    /* cursor is the first byte not read yet, line the number of its line. */
    const char *cursor;
    int line;
    /* heading is the last one seen, or NULL; not ended by NUL. */
    const char *heading;
    int heading_len;
    struct vector *vectors;
    size_t count;
    /* open says that the last vector waits for its events. */
    int open;
};

/* A growing run of bytes. */
struct bytes {
    uint8_t *p;
    size_t len, room;
};

static void
reader_check(const struct reader *r, int good, const char *what)
{
    check_context("%s:%d", r->name, r->line);
    if (!good)
        check_fail(__FILE__, __LINE__, what);
}

/* memory_resize is realloc that does not fail. */
static void *
memory_resize(void *p, size_t size)
{
    p = realloc(p, size != 0 ? size : 1);
    if (p == NULL)
        abort();
    return p;
}

static char *
text_copy(const char *from, size_t len)
{
    char *copy = memory_resize(NULL, len + 1);
    memcpy(copy, from, len);
    copy[len] = '\0';
    return copy;
}

static void
bytes_add(struct bytes *b, const void *from, size_t len)
{
    if (b->len + len > b->room) {
        b->room = (b->len + len) * 2;
        b->p = memory_resize(b->p, b->room);
    }
    if (len != 0)
        memcpy(b->p + b->len, from, len);
    b->len += len;
}

/* hex_pair returns the value of the two hexadecimal digits at |p|. */
static uint8_t
hex_pair(const struct reader *r, const char *p, const char *end)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    unsigned value = 0;
    for (int i = 0; i < 2; i++) {
        const char *d = p + i < end && p[i] ? strchr(digits, p[i]) : NULL;
        reader_check(r, d != NULL, "two hexadecimal digits are needed");
        value = value * 16 + (unsigned)(d - digits) % 16;
    }
    return (uint8_t)value;
}

/* A unit reads the least piece of a block, at |p|, into |out| and returns what
 * follows it. */
typedef const char *(*unit_fn)(struct reader *r, const char *p, const char *end,
                               struct bytes *out);

static const char *
unit_http(struct reader *r, const char *p, const char *end, struct bytes *out)
{
    static const char escapes[] = "r\rn\nt\t\\\\{{}}";
    if (*p == '\n') {
        reader_check(r, p[-1] != ' ', "a blank ends the line: write \\x20");
        r->line++;
        return p + 1;
    }
    if (*p != '\\') {
        reader_check(r, *p >= ' ' && *p <= '~', "write the byte as an escape");
        reader_check(r, *p != '{' && *p != '}', "a brace out of place");
        bytes_add(out, p, 1);
        return p + 1;
    }
    if (end - p >= 2 && p[1] == 'x') {
        uint8_t value = hex_pair(r, p + 2, end);
        bytes_add(out, &value, 1);
        return p + 4;
    }
    for (const char *e = escapes; *e != '\0'; e += 2) {
        if (end - p >= 2 && p[1] == *e) {
            bytes_add(out, e + 1, 1);
            return p + 2;
        }
    }
    reader_check(r, 0, "unknown escape");
    return end;
}

static const char *
unit_hex(struct reader *r, const char *p, const char *end, struct bytes *out)
{
    if (*p == '#') {
        while (p < end && *p != '\n') {
            p++;
        }
        return p;
    }
    if (*p == ' ' || *p == '\t' || *p == '\n') {
        r->line += *p == '\n';
        return p + 1;
    }
    uint8_t value = hex_pair(r, p, end);
    bytes_add(out, &value, 1);
    return p + 2;
}

/* repeat_read reads a {bytes*N} at |p| and returns what follows it. */
static const char *
repeat_read(struct reader *r, unit_fn unit, const char *p, const char *end,
            struct bytes *out)
{
    struct bytes body = {0};
    const char *star = NULL, *close = p + 1;
    while (close < end && *close != '}') {
        if (*close == '*')
            star = close;
        close += *close == '\\' && close + 1 < end ? 2 : 1;
    }
    reader_check(r, star != NULL && close < end, "{...*N} is not complete");

    char *rest;
    unsigned long times = strtoul(star + 1, &rest, 10);
    reader_check(
        r,
        star[1] >= '0' && star[1] <= '9' && rest == close && times <= 1000000,
        "{...*N} needs a number");
    for (p++; p < star;) {
        p = unit(r, p, star, &body);
    }
    while (times-- > 0) {
        bytes_add(out, body.p, body.len);
    }
    free(body.p);
    return close + 1;
}

/* line_next stores the bounds of the next line in |*p| and |*end|; returns 0 if
 * there is none. */
static int
line_next(struct reader *r, const char **p, const char **end)
{
    if (*r->cursor == '\0')
        return 0;
    *p = r->cursor;
    *end = *p + strcspn(*p, "\n");
    r->cursor = **end == '\n' ? *end + 1 : *end;
    r->line++;
    return 1;
}

/* block_end reads on behind the block that begins at r->cursor, and returns its
 * end. */
static const char *
block_end(struct reader *r)
{
    const char *p, *end;
    while (line_next(r, &p, &end)) {
        if (end - p == 3 && memcmp(p, "```", 3) == 0)
            return p;
    }
    reader_check(r, 0, "a block is not closed");
    return NULL;
}

/* vector_begin reads a block of bytes, up to |end|, in which |unit| is the
 * language's. */
static void
vector_begin(struct reader *r, unit_fn unit, const char *p, const char *end,
             const char *options, size_t options_len)
{
    struct bytes title = {0}, out = {0};
    char where[200];
    reader_check(r, !r->open, "two blocks of bytes and no events");
    reader_check(r, r->heading != NULL, "a vector without heading");
    snprintf(where, sizeof(where), "%s:%d: ", r->name, r->line);
    bytes_add(&title, where, strlen(where));
    bytes_add(&title, r->heading, (size_t)r->heading_len);
    while (p < end) {
        p = *p == '{' ? repeat_read(r, unit, p, end, &out)
                      : unit(r, p, end, &out);
    }
    r->vectors =
        memory_resize(r->vectors, (r->count + 1) * sizeof(*r->vectors));
    struct vector *v = &r->vectors[r->count++];
    v->title = text_copy((const char *)title.p, title.len);
    v->options = text_copy(options, options_len);
    v->bytes = memory_resize(out.p, out.len);
    v->len = out.len;
    v->expect = NULL;
    r->open = 1;
    free(title.p);
}

/* fence_read reads the block behind a fence whose info string is at |info|. */
static void
fence_read(struct reader *r, const char *info, const char *info_end)
{
    size_t word = strcspn(info, " \n");
    const char *options = info + word + (info[word] == ' ');
    const char *from = r->cursor;
    int line = r->line;
    const char *to = block_end(r);
    int after = r->line;
    int is_http = word == 4 && memcmp(info, "http", 4) == 0;
    r->line = line + 1;
    if (is_http || (word == 3 && memcmp(info, "hex", 3) == 0)) {
        vector_begin(r, is_http ? unit_http : unit_hex, from, to, options,
                     (size_t)(info_end - options));
    }
    else if (word == 6 && memcmp(info, "events", 6) == 0) {
        reader_check(r, r->open, "events without bytes");
        r->vectors[r->count - 1].expect = text_copy(from, (size_t)(to - from));
        r->open = 0;
    }
    r->line = after;
}

struct vector *
vectors_parse(const char *name, const char *text, size_t *count)
{
    struct reader r = {.name = name, .cursor = text};
    const char *p, *end;
    while (line_next(&r, &p, &end)) {
        if (end - p >= 3 && memcmp(p, "```", 3) == 0) {
            fence_read(&r, p + 3, end);
        }
        else if (*p == '#') {
            reader_check(&r, !r.open, "a heading between bytes and events");
            r.heading = p + strspn(p, "# ");
            r.heading_len = (int)(end - r.heading);
        }
    }
    reader_check(&r, !r.open, "bytes without events");
    reader_check(&r, r.count != 0, "no vectors");
    *count = r.count;
    return r.vectors;
}

struct vector *
vectors_load(const char *file, size_t *count)
{
    const char *directory = getenv("VECTORS");
    char path[500], piece[4096];
    struct bytes text = {0};
    size_t n;
    snprintf(path, sizeof(path), "%s/%s",
             directory != NULL ? directory : "tests/vectors", file);
    check_context("%s", path);
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        check_fail(__FILE__, __LINE__, "the file cannot be opened");
    while ((n = fread(piece, 1, sizeof(piece), f)) != 0) {
        bytes_add(&text, piece, n);
    }
    fclose(f);
    bytes_add(&text, "", 1);
    struct vector *vectors = vectors_parse(file, (char *)text.p, count);
    free(text.p);
    return vectors;
}

void
vectors_free(struct vector *vectors, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(vectors[i].title);
        free(vectors[i].options);
        free(vectors[i].bytes);
        free(vectors[i].expect);
    }
    free(vectors);
}

/* byte_write writes |c| and a NUL at |out|. */
static void
byte_write(char out[8], uint8_t c)
{
    if (c == '\t') {
        strcpy(out, "\\t");
    }
    else if (c == '\\' || c == '{' || c == '}') {
        snprintf(out, 8, "\\%c", c);
    }
    else {
        snprintf(out, 8, c >= ' ' && c <= '~' ? "%c" : "\\x%02x", c);
    }
}

size_t
vectors_write(char *out, size_t size, const uint8_t *bytes, size_t len)
{
    char one[8], some[40] = "";
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0, run; i < len; i += run) {
        for (run = 1; i + run < len && bytes[i + run] == bytes[i];) {
            run++;
        }
        byte_write(one, bytes[i]);
        if (run >= 8) {
            snprintf(some, sizeof(some), "{%s*%lu}", one, (unsigned long)run);
        }
        else {
            run = 1;
            strcpy(some, i + 1 == len && *one == ' ' ? "\\x20" : one);
        }
        size_t some_len = strlen(some);
        if (n + some_len >= size)
            check_fail(__FILE__, __LINE__, "no room");
        memcpy(out + n, some, some_len + 1);
        n += some_len;
    }
    return n;
}

/* ---- the log ---- */

static char log_text[200000];
static size_t log_len;

void
vectors_log_clear(void)
{
    log_len = 0;
    log_text[0] = '\0';
}

void
vectors_log_add(const char *format, ...)
{
    size_t room = sizeof(log_text) - log_len;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(log_text + log_len, room, format, args);
    va_end(args);
    CHECK(n >= 0 && (size_t)n < room);
    log_len += (size_t)n;
}

void
vectors_log_bytes(const uint8_t *bytes, size_t len)
{
    log_len += vectors_write(log_text + log_len, sizeof(log_text) - log_len,
                             bytes, len);
}

const char *
vectors_log_text(void)
{
    return log_text;
}

void
vectors_log_check(const char *want)
{
    if (strcmp(log_text, want) != 0) {
        fprintf(stderr, "\n--- wanted\n%.2000s--- got\n%.2000s", want,
                log_text);
    }
    CHECK(strcmp(log_text, want) == 0);
}
