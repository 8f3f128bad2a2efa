#include "ws_http.h"

#include "ws_err.h"

/* What a byte can be.  A token character is visible, too. */
enum {
    BYTE_TOKEN = 1,                       /* tchar (RFC 9110, 5.6.2) */
    BYTE_VISIBLE = 2,                     /* VCHAR: 0x21-0x7E */
    BYTE_BLANK = 4,                       /* SP, HTAB */
    BYTE_OBS = 8,                         /* obs-text: 0x80-0xFF */
    BYTE_FIELD = BYTE_VISIBLE | BYTE_OBS, /* field-vchar (RFC 9110, 5.5) */
};

#define T (BYTE_TOKEN | BYTE_VISIBLE)
#define V BYTE_VISIBLE
#define B BYTE_BLANK
#define O BYTE_OBS
static const uint8_t byte_class[256] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, B, 0, 0, 0, 0, 0, 0, /* 00 */
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* 10 */
    B, T, V, T, T, T, T, T, V, V, T, T, V, T, T, V, /* 20 */
    T, T, T, T, T, T, T, T, T, T, V, V, V, V, V, V, /* 30 */
    V, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, /* 40 */
    T, T, T, T, T, T, T, T, T, T, T, V, V, V, T, T, /* 50 */
    T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, /* 60 */
    T, T, T, T, T, T, T, T, T, T, T, V, T, V, T, 0, /* 70 */
    O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, /* 80 */
    O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, /* 90 */
    O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, /* A0 */
    O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, /* B0 */
    O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, /* C0 */
    O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, /* D0 */
    O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, /* E0 */
    O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, /* F0 */
};
#undef T
#undef V
#undef B
#undef O

/* What the parser expects next.  The first line's states come first. */
enum {
    STATE_EMPTY_LF,      /* the LF of an empty line before the first line */
    STATE_METHOD,        /* rest of the method, or the SP after it */
    STATE_TARGET,        /* rest of the target, or the SP after it */
    STATE_VERSION,       /* next byte of "HTTP/1.1" or "HTTP/1.0" */
    STATE_VERSION_OTHER, /* the same, behind another digit */
    STATE_REQUEST_END,   /* the CR of the request line */
    STATE_STATUS_SP,     /* the SP before the status code */
    STATE_STATUS,        /* next digit of the status code */
    STATE_STATUS_END,    /* the SP before the reason phrase, or the CR */
    STATE_REASON,        /* rest of the reason phrase, or the CR after it */
    STATE_LINE_LF,       /* the LF of the first line */
    STATE_FIELD,         /* first byte of a field line or of the empty line */
    STATE_NAME,          /* rest of the name, or the ':' */
    STATE_VALUE_BEFORE,  /* blanks, the value's first byte or the CR */
    STATE_VALUE,         /* rest of the value, a blank or the CR */
    STATE_VALUE_BLANK,   /* blanks in the value or behind it, or what follows */
    STATE_FIELD_LF,      /* the LF of a field line */
    STATE_HEAD_LF,       /* the LF of the empty line */
    STATE_DONE,          /* nothing: the head is complete */
    STATE_COUNT,
};

/* The bytes that leave a state as it is: its run. */
static const uint8_t state_run[STATE_COUNT] = {
    [STATE_METHOD] = BYTE_TOKEN,
    /* RFC 9112, 3.2: "No whitespace is allowed in the request-target." */
    [STATE_TARGET] = BYTE_VISIBLE,
    /* RFC 9112, 4: "reason-phrase = 1*( HTAB / SP / VCHAR / obs-text )" */
    [STATE_REASON] = BYTE_FIELD | BYTE_BLANK,
    [STATE_NAME] = BYTE_TOKEN,
    [STATE_VALUE_BEFORE] = BYTE_BLANK,
    /* RFC 9110, 5.5: "Field values containing CR, LF, or NUL characters are
     * invalid and dangerous [...] Field values containing other CTL characters
     * are also invalid". */
    [STATE_VALUE] = BYTE_FIELD,
    [STATE_VALUE_BLANK] = BYTE_BLANK,
};

/* span_begin makes |s| the empty span at |pos|; span_end lets it reach to
 * |pos|.  Both fit: |pos| is at most WS_HTTP_HEAD_MAX. */
static void
span_begin(struct ws_http_span *s, size_t pos)
{
    s->off = (uint16_t)pos;
    s->len = 0;
}

static void
span_end(struct ws_http_span *s, size_t pos)
{
    s->len = (uint16_t)(pos - s->off);
}

/* line_end returns |next| if |c| is the CR that ends a line, and the error if
 * it is not: |otherwise|, or WS_ERR_HTTP_SYNTAX for a lone LF. */
static int
line_end(uint8_t c, int next, int otherwise)
{
    if (c == '\r') {
        return next;
    }
    return c == '\n' ? WS_ERR_HTTP_SYNTAX : otherwise;
}

/* line_lf returns |next| if |c| is the LF that a CR asks for.  RFC 9112, 2.2:
 * "A recipient of such a bare CR MUST consider that element to be invalid or
 * replace each bare CR with SP". */
static int
line_lf(uint8_t c, int next)
{
    return c == '\n' ? next : WS_ERR_HTTP_SYNTAX;
}

/* version_turn reads one byte of the version.  RFC 9112, 2.3: "HTTP-version is
 * case-sensitive."  Another version is told from another protocol only by its
 * second digit. */
static int
version_turn(struct ws_http *h, uint8_t c)
{
    static const char text[] = "HTTP/1.1";
    enum { MAJOR = 5, MINOR = 7, LENGTH = 8 };
    size_t at = h->pos - h->version.off;
    int state = h->state;
    int is_0 = at == MINOR && c == '0'; /* HTTP/1.0, which is fine */
    if (c != (uint8_t)text[at] && !is_0) {
        int digit = (at == MAJOR || at == MINOR) && c >= '0' && c <= '9';
        if (!digit) {
            return WS_ERR_HTTP_LINE;
        }
        state = STATE_VERSION_OTHER;
    }
    if (at + 1 < LENGTH) {
        return state;
    }
    if (state == STATE_VERSION_OTHER) {
        return WS_ERR_HTTP_VERSION;
    }
    span_end(&h->version, h->pos + 1);
    return h->is_response ? STATE_STATUS_SP : STATE_REQUEST_END;
}

/* status_turn reads one digit of the status code.  RFC 9110, 15: "a
 * three-digit integer code".  The first digit is not 0; codes that nobody has
 * registered do occur (520). */
static int
status_turn(struct ws_http *h, uint8_t c)
{
    uint8_t least = h->status == 0 ? '1' : '0';
    if (c < least || c > '9') {
        return WS_ERR_HTTP_LINE;
    }
    h->status = h->status * 10 + (unsigned)(c - '0');
    return h->status < 100 ? STATE_STATUS : STATE_STATUS_END;
}

/* line_turn is head_turn for the first line.  RFC 9112, 3: "A request-line
 * begins with a method token, followed by a single space (SP), the
 * request-target, and another single space (SP), and ends with the protocol
 * version."  4: "status-line = HTTP-version SP status-code SP
 * [ reason-phrase ]". */
static int
line_turn(struct ws_http *h, uint8_t c)
{
    switch (h->state) {
    case STATE_EMPTY_LF:
        span_begin(&h->method, h->pos + 1);
        return line_lf(c, STATE_METHOD);
    case STATE_METHOD:
        /* RFC 9112, 2.2: "a server that is expecting to receive and parse a
         * request-line SHOULD ignore at least one empty line (CRLF) received
         * prior to the request-line." */
        if (c == '\r' && h->pos == 0) {
            return STATE_EMPTY_LF;
        }
        if (c != ' ' || h->pos == h->method.off) {
            return WS_ERR_HTTP_LINE;
        }
        span_end(&h->method, h->pos);
        span_begin(&h->target, h->pos + 1);
        return STATE_TARGET;
    case STATE_TARGET:
        if (c != ' ' || h->pos == h->target.off) {
            return WS_ERR_HTTP_LINE;
        }
        span_end(&h->target, h->pos);
        span_begin(&h->version, h->pos + 1);
        return STATE_VERSION;
    case STATE_VERSION:
    case STATE_VERSION_OTHER:
        return version_turn(h, c);
    case STATE_REQUEST_END:
        return line_end(c, STATE_LINE_LF, WS_ERR_HTTP_LINE);
    case STATE_STATUS_SP:
        return c == ' ' ? STATE_STATUS : WS_ERR_HTTP_LINE;
    case STATE_STATUS:
        return status_turn(h, c);
    case STATE_STATUS_END:
        /* RFC 9112, 4: "A server MUST send the space [...] even when the
         * reason-phrase is absent".  Many do not, and no harm comes of it. */
        span_begin(&h->reason, c == ' ' ? h->pos + 1 : h->pos);
        if (c == ' ') {
            return STATE_REASON;
        }
        return line_end(c, STATE_LINE_LF, WS_ERR_HTTP_LINE);
    case STATE_REASON:
        span_end(&h->reason, h->pos);
        return line_end(c, STATE_LINE_LF, WS_ERR_HTTP_LINE);
    default: /* STATE_LINE_LF */
        return line_lf(c, STATE_FIELD);
    }
}

/* field_begin reads the first byte behind a line's end. */
static int
field_begin(struct ws_http *h, uint8_t c)
{
    if (byte_class[c] & BYTE_TOKEN) {
        if (h->field_count == WS_HTTP_FIELDS_MAX) {
            return WS_ERR_HTTP_TOO_MANY;
        }
        span_begin(&h->fields[h->field_count].name, h->pos);
        return STATE_NAME;
    }
    /* RFC 9112, 2.2: "A recipient that receives whitespace between the
     * start-line and the first header field MUST either reject the message as
     * invalid [...]".  5.2: "A server that receives an obs-fold in a request
     * message [...] MUST either reject the message [...]".  "A user agent that
     * receives an obs-fold in a response message [...] MUST replace each
     * received obs-fold with one or more SP octets". */
    if (byte_class[c] & BYTE_BLANK) {
        if (!h->is_response || h->field_count == 0) {
            return WS_ERR_HTTP_FOLDED;
        }
        h->field_count--;
        return h->fields[h->field_count].value.len == 0 ? STATE_VALUE_BEFORE
                                                        : STATE_VALUE_BLANK;
    }
    return line_end(c, STATE_HEAD_LF, WS_ERR_HTTP_HEADER);
}

/* field_turn is head_turn for what follows the first line.  RFC 9112, 5:
 * "field-line = field-name ":" OWS field-value OWS". */
static int
field_turn(struct ws_http *h, uint8_t c)
{
    if (h->state == STATE_FIELD) {
        return field_begin(h, c);
    }
    if (h->state == STATE_HEAD_LF) {
        return line_lf(c, STATE_DONE);
    }

    /* In between there is a field, so that one more fits. */
    struct ws_http_field *f = &h->fields[h->field_count];
    switch (h->state) {
    case STATE_NAME:
        /* RFC 9112, 5.1: "No whitespace is allowed between the field name and
         * colon." */
        if (c != ':') {
            return WS_ERR_HTTP_HEADER;
        }
        span_end(&f->name, h->pos);
        return STATE_VALUE_BEFORE;
    case STATE_VALUE_BEFORE:
        /* RFC 9112, 5.1: "The field line value does not include that leading or
         * trailing whitespace". */
        span_begin(&f->value, h->pos);
        if (byte_class[c] & BYTE_FIELD) {
            return STATE_VALUE;
        }
        return line_end(c, STATE_FIELD_LF, WS_ERR_HTTP_HEADER);
    case STATE_VALUE:
        /* The value ends here, unless more of it follows the blanks. */
        span_end(&f->value, h->pos);
        if (byte_class[c] & BYTE_BLANK) {
            return STATE_VALUE_BLANK;
        }
        return line_end(c, STATE_FIELD_LF, WS_ERR_HTTP_HEADER);
    case STATE_VALUE_BLANK:
        if (byte_class[c] & BYTE_FIELD) {
            return STATE_VALUE;
        }
        return line_end(c, STATE_FIELD_LF, WS_ERR_HTTP_HEADER);
    default: /* STATE_FIELD_LF */
        h->field_count++;
        return line_lf(c, STATE_FIELD);
    }
}

/* head_turn reads |c|, the byte at h->pos, which is not of the state's run.
 * Returns the next state, or an error if |c| has no place there. */
static int
head_turn(struct ws_http *h, uint8_t c)
{
    return h->state <= STATE_LINE_LF ? line_turn(h, c) : field_turn(h, c);
}

/* run_end returns where, from |pos| on, the run of bytes of the classes |run|
 * ends: |end| at the latest. */
static size_t
run_end(uint8_t run, const uint8_t *buf, size_t pos, size_t end)
{
    while (pos < end && (byte_class[buf[pos]] & run) != 0) {
        pos++;
    }
    return pos;
}

void
ws_http_init(struct ws_http *h, int is_response)
{
    memset(h, 0, sizeof(*h));
    h->is_response = is_response != 0;
    h->max = WS_HTTP_HEAD_MAX;
    h->state = is_response ? STATE_VERSION : STATE_METHOD;
}

int
ws_http_feed(struct ws_http *h, const uint8_t *buf, size_t len)
{
    if (h->err != 0) {
        return h->err;
    }
    if (h->state == STATE_DONE) {
        return (int)h->pos;
    }
    WS_ASSERT(len >= h->pos);

    size_t end = len < h->max ? len : h->max;
    while (h->pos < end) {
        h->pos = run_end(state_run[h->state], buf, h->pos, end);
        if (h->pos == end) {
            break;
        }
        int next = head_turn(h, buf[h->pos]);
        if (next < 0) {
            h->err = next;
            return next;
        }
        h->state = (uint8_t)next;
        h->pos++;
        if (next == STATE_DONE) {
            return (int)h->pos;
        }
    }
    if (h->pos == h->max) {
        h->err = WS_ERR_HTTP_TOO_LARGE;
    }
    return h->err;
}

int
ws_http_interim(struct ws_http *h)
{
    enum { SWITCHING_PROTOCOLS = 101, FIRST_FINAL = 200 };
    WS_ASSERT(h->state == STATE_DONE);
    /* RFC 9110, 15.2: "A client MUST be able to parse one or more 1xx responses
     * received prior to a final response, even if the client does not expect
     * one."  What follows a 101 is not HTTP. */
    if (!h->is_response || h->status >= FIRST_FINAL ||
        h->status == SWITCHING_PROTOCOLS) {
        return 0;
    }
    if (h->interim == WS_HTTP_INTERIM_MAX) {
        return h->err = WS_ERR_HTTP_INTERIM;
    }
    uint8_t interim = (uint8_t)(h->interim + 1);
    size_t max = h->max - h->pos;
    ws_http_init(h, 1);
    h->interim = interim;
    h->max = max;
    return 1;
}
