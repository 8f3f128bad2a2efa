#include "ws_parser.h"

#include "ws_err.h"
#include "ws_opcode.h"

void
ws_parser_init(struct ws_parser *p, int from_client, size_t max_frame_size)
{
    memset(p, 0, sizeof(*p));
    p->from_client = from_client != 0;
    p->max_frame_size =
        max_frame_size < WS_FRAME_SIZE_MAX ? max_frame_size : WS_FRAME_SIZE_MAX;
    p->need = 2;
}

/* The first byte: FIN, RSV, opcode, and their order within a message. */
static int
parser_first_byte(const struct ws_parser *p, unsigned byte)
{
    unsigned opcode = byte & WS_BITS_OPCODE;

    /* 5.2: "If a nonzero value is received and none of the negotiated
     * extensions defines the meaning of such a nonzero value, the receiving
     * endpoint MUST _Fail the WebSocket Connection_." */
    unsigned allowed = p->rsv_allowed;
    /* RFC 7692, 6.1: RSV1 stands on "the first fragment of the message", and
     * "An endpoint MUST NOT set the "Per-Message Compressed" bit of control
     * frames and non-first fragments of a data message." */
    if (opcode == WS_OP_TEXT || opcode == WS_OP_BINARY) {
        allowed |= p->rsv_message;
    }
    if (byte & WS_BITS_RSV & ~allowed) {
        return WS_ERR_RSV;
    }
    /* 5.2: "If an unknown opcode is received, the receiving endpoint MUST
     * _Fail the WebSocket Connection_." */
    if (!ws_opcode_is_known(opcode)) {
        return WS_ERR_OPCODE;
    }
    if (ws_opcode_is_control(opcode)) {
        /* 5.5: control frames "MUST NOT be fragmented". */
        return byte & WS_BIT_FIN ? 0 : WS_ERR_CONTROL_FIN;
    }
    /* 5.4: a fragmented message is "a single frame with the FIN bit clear and
     * an opcode other than 0, followed by zero or more frames with the FIN
     * bit clear and the opcode set to 0, and terminated by a single frame with
     * the FIN bit set and an opcode of 0". */
    if (opcode == WS_OP_CONTINUATION) {
        return p->in_message ? 0 : WS_ERR_CONT_UNSTARTED;
    }
    return p->in_message ? WS_ERR_CONT_EXPECTED : 0;
}

/* The second byte: MASK and the 7-bit length. */
static int
parser_second_byte(const struct ws_parser *p, unsigned opcode, unsigned byte)
{
    /* 5.1: "The server MUST close the connection upon receiving a frame that
     * is not masked." "A client MUST close a connection if it detects a masked
     * frame." */
    if (p->from_client && !(byte & WS_BIT_MASK)) {
        return WS_ERR_MASK_MISSING;
    }
    if (!p->from_client && (byte & WS_BIT_MASK)) {
        return WS_ERR_MASK_PRESENT;
    }
    /* 5.5: "All control frames MUST have a payload length of 125 bytes or
     * less". */
    if (ws_opcode_is_control(opcode) && (byte & WS_BITS_LEN) > WS_CONTROL_MAX) {
        return WS_ERR_CONTROL_LEN;
    }
    return 0;
}

/* The extended length of |size| bytes at |at|. */
static int
parser_extended_len(const uint8_t *at, unsigned size, uint64_t *payload_len)
{
    /* 5.2: "in all cases, the minimal number of bytes MUST be used to encode
     * the length". */
    if (size == 2) {
        *payload_len = ws_load_be16(at);
        return *payload_len < WS_LEN_16 ? WS_ERR_LEN_NOT_MINIMAL : 0;
    }
    *payload_len = ws_load_be64(at);
    /* 5.2: "the most significant bit MUST be 0". */
    if (*payload_len >> 63) {
        return WS_ERR_LEN_SIGN;
    }
    return *payload_len <= UINT16_MAX ? WS_ERR_LEN_NOT_MINIMAL : 0;
}

/* Reads the head at |data| into p->head.  Returns 1, 0 with p->need set, or an
 * error. */
static int
parser_head(struct ws_parser *p, const uint8_t *data, size_t len)
{
    struct ws_head *h = &p->head;
    int err;

    if (len >= 1 && (err = parser_first_byte(p, data[0])) != 0) {
        return err;
    }
    if (len < 2) {
        p->need = 2;
        return 0;
    }
    h->opcode = data[0] & WS_BITS_OPCODE;
    h->fin = (data[0] & WS_BIT_FIN) != 0;
    h->rsv = data[0] & WS_BITS_RSV;
    h->masked = (data[1] & WS_BIT_MASK) != 0;
    if ((err = parser_second_byte(p, h->opcode, data[1])) != 0) {
        return err;
    }

    uint64_t payload_len = data[1] & WS_BITS_LEN;
    unsigned extended = payload_len < WS_LEN_16    ? 0
                        : payload_len == WS_LEN_16 ? 2
                                                   : 8;
    size_t at = 2u + extended;
    if (extended != 0) {
        if (len < at) {
            p->need = at;
            return 0;
        }
        if ((err = parser_extended_len(data + 2, extended, &payload_len)) !=
            0) {
            return err;
        }
    }
    if (payload_len > p->max_frame_size && !ws_opcode_is_control(h->opcode)) {
        return WS_ERR_FRAME_SIZE;
    }
    if (h->masked) {
        if (len < at + 4) {
            p->need = at + 4;
            return 0;
        }
        memcpy(h->key, data + at, 4);
        at += 4;
    }
    h->len = (uint8_t)at;
    h->payload_len = (size_t)payload_len;
    return 1;
}

int
ws_parser_next(struct ws_parser *p, const uint8_t *data, size_t len,
               struct ws_head *head)
{
    if (p->err != 0) {
        return p->err;
    }
    if (!p->have_head) {
        int rc = parser_head(p, data, len);
        if (rc <= 0) {
            p->err = rc;
            return rc;
        }
        p->have_head = 1;
    }
    size_t total = p->head.len + p->head.payload_len;
    if (len < total) {
        p->need = total;
        return 0;
    }
    *head = p->head;
    p->have_head = 0;
    p->need = 2;
    if (!ws_opcode_is_control(head->opcode)) {
        p->in_message = !head->fin;
    }
    return 1;
}
