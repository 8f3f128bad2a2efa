/* ws_conn.h - the rules of one connection between its opening and its end:
 * what a received frame asks for, and what may be sent (RFC 6455, 5.4, 5.5, 7).
 *
 * The connection's role, state and the chosen mask kernel; no bytes, no
 * clock.
 */
#ifndef WS_CONN_H
#define WS_CONN_H

#include "ws_base.h"
#include "ws_close.h"
#include "ws_mask.h"
#include "ws_opcode.h"
#include "ws_parser.h"

/* The states of 7.1.  OPEN until the first CLOSE in either direction. */
enum ws_conn_state {
    WS_CONN_OPEN,
    WS_CONN_CLOSING,
    WS_CONN_CLOSED,
};

/* What a received frame asks for; bits, in the order in which to do them. */
enum ws_conn_action {
    /* answer with a PONG that carries the same payload (5.5.3) */
    WS_ACT_PONG = 1,
    /* hand the frame to the listener */
    WS_ACT_DELIVER = 2,
    /* it was the peer's CLOSE: answer it unless that was done, then end
     * (5.5.1); nothing that follows it is read */
    WS_ACT_CLOSE = 4,
};

struct ws_conn {
    uint8_t state;
    uint8_t is_client;
    /* auto_pong: PINGs are answered here and not delivered. */
    uint8_t auto_pong;
    /* rsv_allowed has the RSV bits that an extension gave a meaning. */
    uint8_t rsv_allowed;
    /* sending_message is 1 between the first and the last fragment sent. */
    uint8_t sending_message;
    uint8_t close_sent;
    uint8_t close_received;
    /* received_first is 1 where the peer's CLOSE came before ours was sent. */
    uint8_t received_first;
    /* mask is this connection's kernel. */
    ws_mask_fn mask;
};

/* ws_conn_init opens a connection in the given role. */
void ws_conn_init(struct ws_conn *c, int is_client, int auto_pong,
                  ws_mask_fn mask);

/* ws_conn_receive takes a parsed frame with its unmasked payload.  Stores what
 * it asks for in |*actions|, and for a CLOSE its content in |*close|.
 * Returns 0, or WS_ERR_CLOSE_LEN, _CODE, _TEXT. */
int ws_conn_receive(struct ws_conn *c, const struct ws_head *head,
                    const uint8_t *payload, unsigned *actions,
                    struct ws_close *close);

/* ws_conn_delivers returns whether a frame with |opcode| would reach the
 * listener. */
static inline int
ws_conn_delivers(const struct ws_conn *c, unsigned opcode)
{
    return !(c->auto_pong && opcode == WS_OP_PING);
}

/* ws_conn_may_send says whether a frame may be sent now; it changes nothing.
 * Returns 0, WS_ERR_SEND_CLOSED (nothing may be sent any more), or the
 * WS_ERR_SEND_* that says what is wrong with the frame. */
int ws_conn_may_send(const struct ws_conn *c, unsigned opcode, int fin,
                     unsigned rsv, size_t payload_len);

/* ws_conn_may_pong says whether a PING is still to be answered.  5.5.2: "unless
 * it already received a Close frame"; that ours was sent does not matter, since
 * 5.5.1 forbids data frames after it, not control frames. */
static inline int
ws_conn_may_pong(const struct ws_conn *c)
{
    return !c->close_received && c->state != WS_CONN_CLOSED;
}

/* ws_conn_sent notes that the frame was sent. */
void ws_conn_sent(struct ws_conn *c, unsigned opcode, int fin);

/* ws_conn_lost notes the end of the byte stream: nothing may be sent. */
void ws_conn_lost(struct ws_conn *c);

#endif /* WS_CONN_H */
