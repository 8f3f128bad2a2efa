/* fuzz_close.c - any bytes as the payload of a CLOSE frame: what is accepted
 * may be sent and is written as it was read; what is refused breaks the rule
 * that is named.  The first bytes of the input are also taken as a code and a
 * reason to be sent.
 */
#include "fuzz.h"
#include "ws_close.h"
#include "ws_err.h"
#include "ws_opcode.h"
#include "ws_utf8.h"

/* 7.4, as a list of what is not allowed. */
static int
code_may_be_sent(unsigned code)
{
    if (code < 1000 || code >= 5000) {
        return 0;
    }
    return code >= 3000 ||
           (code < 1015 && code != 1004 && code != 1005 && code != 1006);
}

/* Writes |close| into a block of just that size and compares. */
static void
write_check(const struct ws_close *close, const uint8_t *want, size_t len)
{
    MUST(ws_close_len(close) == len);
    uint8_t *out = fuzz_new(len);
    MUST(ws_close_write(out, close) == out + len);
    MUST(len == 0 || memcmp(out, want, len) == 0);
    free(out);
}

static void
parse_check(const uint8_t *payload, size_t len)
{
    struct ws_close close;
    int err = ws_close_parse(payload, len, &close);
    unsigned code = len >= 2 ? (unsigned)payload[0] * 256 + payload[1] : 0;

    if (err != 0) {
        MUST(close.code == 0 && close.reason == NULL && close.reason_len == 0);
        MUST(strcmp(ws_err_text(err), "unknown error") != 0);
    }
    if (len == 0) {
        MUST(err == 0 && close.code == 0);
    }
    else if (len == 1) {
        MUST(err == WS_ERR_CLOSE_LEN);
    }
    else if (!code_may_be_sent(code)) {
        MUST(err == WS_ERR_CLOSE_CODE);
    }
    else if (!ws_utf8_valid(payload + 2, len - 2)) {
        MUST(err == WS_ERR_CLOSE_TEXT);
    }
    else {
        MUST(err == 0 && close.code == code && close.reason_len == len - 2);
        MUST(close.reason == (len == 2 ? NULL : payload + 2));
    }
    if (err == 0) {
        MUST(ws_close_check(&close) ==
             (len > WS_CONTROL_MAX ? WS_ERR_SEND_REASON : 0));
        write_check(&close, payload, len);
    }
}

/* The other way: what may be sent is what a peer accepts. */
static void
send_check(unsigned code, const uint8_t *reason, size_t len)
{
    struct ws_close close = {code, reason, len}, back;
    int err = ws_close_check(&close);
    uint8_t payload[WS_CONTROL_MAX];

    if (err != 0) {
        MUST(strcmp(ws_err_text(err), "unknown error") != 0);
        MUST(err == WS_ERR_SEND_CODE || err == WS_ERR_SEND_REASON ||
             err == WS_ERR_SEND_REASON_TEXT || err == WS_ERR_SEND_NO_CODE);
        MUST((err == WS_ERR_SEND_NO_CODE) == (code == 0));
        MUST((err == WS_ERR_SEND_CODE) ==
             (code != 0 && !code_may_be_sent(code)));
        return;
    }
    size_t n = ws_close_len(&close);
    MUST(n <= sizeof(payload));
    MUST(ws_close_write(payload, &close) == payload + n);
    MUST(ws_close_parse(payload, n, &back) == 0);
    MUST(back.code == code && back.reason_len == len);
    MUST(len == 0 || memcmp(back.reason, reason, len) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = fuzz_copy(data, size);
    parse_check(copy, size);
    if (size >= 2) {
        unsigned code = (unsigned)copy[0] * 256 + copy[1];
        send_check(code, copy + 2, size - 2);
        send_check(code | 0x10000, copy + 2, size - 2);
    }
    free(copy);
    return 0;
}
