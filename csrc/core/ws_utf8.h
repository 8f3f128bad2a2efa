/* ws_utf8.h - incremental UTF-8 validation (RFC 3629), as RFC 6455, 8.1 asks:
 * "When an endpoint is to interpret a byte stream as UTF-8 but finds that the
 * byte stream is not, in fact, a valid UTF-8 stream, that endpoint MUST _Fail
 * the WebSocket Connection_".
 */
#ifndef WS_UTF8_H
#define WS_UTF8_H

#include "ws_base.h"

/* State between two pieces of one text.  All zero is the start. */
struct ws_utf8 {
    /* need is how many continuation bytes the character in progress waits
     * for: 0 to 3. */
    uint8_t need;
    /* lo and hi bound the next continuation byte; meaningful while need > 0.
     * They exclude overlong forms, surrogates and what lies above U+10FFFF. */
    uint8_t lo, hi;
    /* failed is 1 once a byte could not be right; it stays 1. */
    uint8_t failed;
    /* wide is 1 once a character of more than one byte began. */
    uint8_t wide;
};

/* ws_utf8_init begins a new text. */
static inline void
ws_utf8_init(struct ws_utf8 *u)
{
    u->need = u->lo = u->hi = u->failed = u->wide = 0;
}

/* ws_utf8_feed reads |n| more bytes at |p|.  Returns 0, or WS_ERR_TEXT at the
 * first byte that cannot be right whatever follows; then and ever after. */
int ws_utf8_feed(struct ws_utf8 *u, const uint8_t *p, size_t n);

/* ws_utf8_done returns 0 where the text ends at a character's end, else
 * WS_ERR_TEXT. */
int ws_utf8_done(const struct ws_utf8 *u);

/* ws_utf8_valid returns whether the |n| bytes at |p| are UTF-8 as a whole. */
int ws_utf8_valid(const uint8_t *p, size_t n);

#endif /* WS_UTF8_H */
