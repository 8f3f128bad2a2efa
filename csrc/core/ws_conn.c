#include "ws_conn.h"

#include "ws_err.h"
#include "ws_opcode.h"

void
ws_conn_init(struct ws_conn *c, int is_client, int auto_pong, ws_mask_fn mask)
{
    memset(c, 0, sizeof(*c));
    c->state = WS_CONN_OPEN;
    c->is_client = is_client != 0;
    c->auto_pong = auto_pong != 0;
    c->mask = mask;
}

int
ws_conn_receive(struct ws_conn *c, const struct ws_head *head,
                const uint8_t *payload, unsigned *actions,
                struct ws_close *close)
{
    *actions = WS_ACT_DELIVER;
    if (head->opcode == WS_OP_PING && c->auto_pong) {
        /* 5.5.2: "Upon receipt of a Ping frame, an endpoint MUST send a Pong
         * frame in response, unless it already received a Close frame." */
        *actions = ws_conn_may_pong(c) ? WS_ACT_PONG : 0;
    }
    else if (head->opcode == WS_OP_CLOSE) {
        int err = ws_close_parse(payload, head->payload_len, close);
        if (err != 0) {
            return err;
        }
        c->close_received = 1;
        c->received_first = !c->close_sent;
        if (c->state == WS_CONN_OPEN) {
            c->state = WS_CONN_CLOSING;
        }
        *actions |= WS_ACT_CLOSE;
    }
    return 0;
}

int
ws_conn_may_send(const struct ws_conn *c, unsigned opcode, int fin,
                 unsigned rsv, size_t payload_len)
{
    if (!ws_opcode_is_known(opcode)) {
        return WS_ERR_SEND_OPCODE;
    }
    /* 5.2: RSV bits "MUST be 0 unless an extension is negotiated that defines
     * meanings for non-zero values". */
    if (rsv & ~(unsigned)c->rsv_allowed) {
        return WS_ERR_SEND_RSV;
    }
    if (ws_opcode_is_control(opcode)) {
        /* 5.5: "All control frames MUST have a payload length of 125 bytes or
         * less and MUST NOT be fragmented." */
        if (payload_len > WS_CONTROL_MAX) {
            return WS_ERR_SEND_CONTROL;
        }
        if (!fin) {
            return WS_ERR_SEND_FRAGMENT;
        }
    }
    /* 5.5.1: "The application MUST NOT send any more data frames after sending
     * a Close frame." */
    if (c->close_sent || c->state == WS_CONN_CLOSED) {
        return WS_ERR_SEND_CLOSED;
    }
    if (!ws_opcode_is_control(opcode)) {
        /* 5.4: "The fragments of one message MUST NOT be interleaved between
         * the fragments of another message". */
        if (opcode == WS_OP_CONTINUATION && !c->sending_message) {
            return WS_ERR_SEND_CONT;
        }
        if (opcode != WS_OP_CONTINUATION && c->sending_message) {
            return WS_ERR_SEND_ORDER;
        }
    }
    return 0;
}

void
ws_conn_sent(struct ws_conn *c, unsigned opcode, int fin)
{
    if (opcode == WS_OP_CLOSE) {
        c->close_sent = 1;
        if (c->state == WS_CONN_OPEN) {
            c->state = WS_CONN_CLOSING;
        }
    }
    else if (!ws_opcode_is_control(opcode)) {
        c->sending_message = !fin;
    }
}

void
ws_conn_lost(struct ws_conn *c)
{
    c->state = WS_CONN_CLOSED;
}
