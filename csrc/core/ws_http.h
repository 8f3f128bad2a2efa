/* ws_http.h - one head of HTTP/1.1 or 1.0, request or response: strict,
 * bounded, no copies (RFC 9112; RFC 6455, 4.1 and 4.2.1).
 *
 * The caller keeps the bytes of the head in one contiguous buffer, from its
 * first byte on, and calls ws_http_feed() as it grows.  The buffer may move
 * between calls: spans are offsets.  Each byte is looked at once, however the
 * head is cut into pieces, and an error is reported at the first byte that
 * shows it, not at the end of the head.
 *
 * What is strict: lines end with CRLF (RFC 9112, 2.2 allows a lone LF; we
 * do not); single spaces in the first line; version HTTP/1.1 or HTTP/1.0;
 * field names are tokens (RFC 9110, 5.6.2) directly followed by ':'; field
 * values hold HTAB, SP, VCHAR and obs-text (RFC 9110, 5.5) only; no obsolete
 * folding in requests.  What is not: one empty line may stand before a request;
 * the SP between status code and an absent reason phrase may be missing; a
 * status code is any of 100..999; a value in a response may be folded.
 *
 * Which error is which:
 *   WS_ERR_HTTP_SYNTAX     where a line may end, it ends with LF alone or with
 *                          CR and something other than LF
 *   WS_ERR_HTTP_LINE       any other fault in the first line, such as a byte
 *                          that is not allowed there, NUL included, ...
 *   WS_ERR_HTTP_VERSION    ... unless it reads HTTP/d.d, but not HTTP/1.1
 * or 1.0: reported at the second digit WS_ERR_HTTP_FOLDED     SP or HTAB where
 * a field line begins, in a request or before the first field
 *   WS_ERR_HTTP_HEADER     any other fault in a field line
 *   WS_ERR_HTTP_TOO_MANY   a field name begins behind WS_HTTP_FIELDS_MAX fields
 *   WS_ERR_HTTP_TOO_LARGE  WS_HTTP_HEAD_MAX good bytes, and no end
 *   WS_ERR_HTTP_INTERIM    more than WS_HTTP_INTERIM_MAX interim responses
 */
#ifndef WS_HTTP_H
#define WS_HTTP_H

#include "ws_base.h"

/* Limits of one head, its final empty line included.  Spans fit 16 bits. */
#define WS_HTTP_HEAD_MAX 16384
#define WS_HTTP_FIELDS_MAX 128
/* How many interim responses may come before the final one; their heads count
 * towards its limit of bytes. */
#define WS_HTTP_INTERIM_MAX 8

/* A run of bytes of the head, as an offset from its first byte. */
struct ws_http_span {
    uint16_t off;
    uint16_t len;
};

struct ws_http_field {
    struct ws_http_span name;
    /* value, without white space before and after it; may be empty.  Where it
     * is folded, which a response's may be, CR and LF stand in it, too. */
    struct ws_http_span value;
};

struct ws_http {
    /* is_response says which of the two kinds of first line is expected. */
    uint8_t is_response;
    /* state is private: what the parser expects next. */
    uint8_t state;
    /* interim is how many interim responses were passed over. */
    uint8_t interim;
    /* err is 0, or the error that ended the parse; terminal. */
    int err;
    /* max is how many bytes this head may have: WS_HTTP_HEAD_MAX, less what the
     * interim responses took. */
    size_t max;
    /* pos is how many bytes have been looked at and found right.  At an error
     * it is therefore the offset of the byte that shows it; that of
     * WS_ERR_HTTP_TOO_LARGE, |max|, need not be there. */
    size_t pos;
    /* What follows is complete once ws_http_feed() has returned a length; until
     * then it is work in progress.  A request's first line. */
    struct ws_http_span method, target;
    /* A response's first line: its status, 100..999, and its reason phrase,
     * which may be empty or absent (RFC 9112, 4: "A client SHOULD ignore the
     * reason-phrase content"); absent has the length 0, too. */
    unsigned status;
    struct ws_http_span reason;
    /* version of either kind: "HTTP/1.1" or "HTTP/1.0". */
    struct ws_http_span version;
    size_t field_count;
    struct ws_http_field fields[WS_HTTP_FIELDS_MAX];
};

/* ws_http_init prepares |h| for a request, or for a response where
 * |is_response| is not 0. */
void ws_http_init(struct ws_http *h, int is_response);

/* ws_http_feed goes on with the head whose first |len| bytes stand at |buf|
 * (all of them from the first on, not only the new ones).  Returns
 *   > 0  the head is complete: its length, final empty line included; what
 *        follows it in |buf| is not part of it; every later call returns it
 *        again;
 *     0  more is needed;
 *   < 0  one of WS_ERR_HTTP_*; every later call returns it again.
 * A head that is not complete within WS_HTTP_HEAD_MAX bytes is
 * WS_ERR_HTTP_TOO_LARGE. */
int ws_http_feed(struct ws_http *h, const uint8_t *buf, size_t len);

/* ws_http_interim is called once |h| is complete.  Returns
 *     1  it is an interim response, such as 103 (Early Hints): |h| expects the
 *        head behind it, whose first byte is now the first of the buffer;
 *     0  it is a request, or a final response; 101 is one here;
 *   < 0  WS_ERR_HTTP_INTERIM: one more than WS_HTTP_INTERIM_MAX. */
int ws_http_interim(struct ws_http *h);

#endif /* WS_HTTP_H */
