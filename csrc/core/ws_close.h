/* ws_close.h - the payload of CLOSE frames and the codes in it (RFC 6455,
 * 5.5.1 and 7.4).
 */
#ifndef WS_CLOSE_H
#define WS_CLOSE_H

#include "ws_base.h"

/* ws_close_code_is_valid returns whether |code| may stand in a CLOSE frame:
 * 1000-1003, 1007-1014 (7.4.1 and IANA's registry), 3000-4999 (7.4.2). */
int ws_close_code_is_valid(unsigned code);

/* What a CLOSE frame says. */
struct ws_close {
    /* code is 0 where the payload is empty. */
    unsigned code;
    /* reason is UTF-8 within the payload that was parsed; NULL where there is
     * none. */
    const uint8_t *reason;
    size_t reason_len;
};

/* ws_close_parse reads the unmasked payload of a CLOSE frame into |*close|.
 * Returns 0, WS_ERR_CLOSE_LEN, WS_ERR_CLOSE_CODE or WS_ERR_CLOSE_TEXT (then
 * |*close| says nothing: code 0). */
int ws_close_parse(const uint8_t *payload, size_t len, struct ws_close *close);

/* ws_close_check says whether |close| may be sent.  Returns 0,
 * WS_ERR_SEND_CODE, WS_ERR_SEND_REASON, WS_ERR_SEND_REASON_TEXT or
 * WS_ERR_SEND_NO_CODE. */
int ws_close_check(const struct ws_close *close);

/* ws_close_len returns the length of the payload for |close|: 0 without a code,
 * else 2 and the reason. */
size_t ws_close_len(const struct ws_close *close);

/* ws_close_write writes that payload to |dest| and returns the byte after it.
 * |close| passed ws_close_check(). */
uint8_t *ws_close_write(uint8_t *dest, const struct ws_close *close);

#endif /* WS_CLOSE_H */
