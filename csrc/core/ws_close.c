#include "ws_close.h"

#include "ws_err.h"
#include "ws_opcode.h"
#include "ws_utf8.h"

int
ws_close_code_is_valid(unsigned code)
{
    /* 7.4.1: 1004 is reserved; 1005, 1006 and 1015 "MUST NOT be set as a
     * status code in a Close control frame".  7.4.2: 0-999 "are not used",
     * 1000-2999 belong to the protocol, 3000-4999 to its users. */
    return (code >= WS_CLOSE_OK && code <= WS_CLOSE_UNSUPPORTED_DATA) ||
           (code >= WS_CLOSE_INVALID_TEXT && code <= WS_CLOSE_BAD_GATEWAY) ||
           (code >= 3000 && code <= 4999);
}

int
ws_close_parse(const uint8_t *payload, size_t len, struct ws_close *close)
{
    close->code = 0;
    close->reason = NULL;
    close->reason_len = 0;
    if (len == 0) {
        return 0;
    }
    /* 5.5.1: "If there is a body, the first two bytes of the body MUST be a
     * 2-byte unsigned integer (in network byte order) representing a status
     * code". */
    if (len == 1) {
        return WS_ERR_CLOSE_LEN;
    }
    unsigned code = ws_load_be16(payload);
    if (!ws_close_code_is_valid(code)) {
        return WS_ERR_CLOSE_CODE;
    }
    /* 5.5.1: "Following the 2-byte integer, the body MAY contain UTF-8-encoded
     * data". */
    if (!ws_utf8_valid(payload + 2, len - 2)) {
        return WS_ERR_CLOSE_TEXT;
    }
    close->code = code;
    if (len > 2) {
        close->reason = payload + 2;
        close->reason_len = len - 2;
    }
    return 0;
}

int
ws_close_check(const struct ws_close *close)
{
    if (close->code == 0) {
        return close->reason_len == 0 ? 0 : WS_ERR_SEND_NO_CODE;
    }
    if (!ws_close_code_is_valid(close->code)) {
        return WS_ERR_SEND_CODE;
    }
    if (close->reason_len > WS_REASON_MAX) {
        return WS_ERR_SEND_REASON;
    }
    return ws_utf8_valid(close->reason, close->reason_len)
               ? 0
               : WS_ERR_SEND_REASON_TEXT;
}

size_t
ws_close_len(const struct ws_close *close)
{
    return close->code == 0 ? 0 : 2 + close->reason_len;
}

uint8_t *
ws_close_write(uint8_t *dest, const struct ws_close *close)
{
    if (close->code == 0) {
        return dest;
    }
    dest = ws_store_be16(dest, (uint16_t)close->code);
    if (close->reason_len != 0) {
        memcpy(dest, close->reason, close->reason_len);
    }
    return dest + close->reason_len;
}
