/* fuzz_conn.c - any sequence of frames received and frames to be sent, against
 * a model that remembers what happened and judges each step by the sentences
 * of the RFC: what a frame asks for, what may be sent, and the state.
 *
 * The input begins with a byte of settings; each step takes a byte that says
 * what it is, and one or more that say which.
 */
#include "fuzz.h"
#include "ws_conn.h"
#include "ws_err.h"
#include "ws_utf8.h"

/* What happened, and nothing else. */
struct history {
    int closed_by_us, closed_by_peer, peer_was_first, is_lost;
    int message_is_open;
    unsigned rsv_allowed;
    int auto_pong;
};

struct input {
    const uint8_t *at;
    size_t left;
};

static unsigned
byte_take(struct input *in)
{
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->at++;
}

static void
state_check(const struct ws_conn *c, const struct history *h)
{
    int is_open = !h->closed_by_us && !h->closed_by_peer && !h->is_lost;
    MUST((c->state == WS_CONN_OPEN) == is_open);
    MUST((c->state == WS_CONN_CLOSED) == h->is_lost);
    MUST(c->close_sent == h->closed_by_us);
    MUST(c->close_received == h->closed_by_peer);
    MUST(c->received_first == h->peer_was_first);
    MUST(ws_conn_may_pong(c) == (!h->closed_by_peer && !h->is_lost));
    for (unsigned opcode = 0; opcode < 16; opcode++) {
        MUST(ws_conn_delivers(c, opcode) ==
             !(h->auto_pong && opcode == WS_OP_PING));
    }
}

/* 7.4 and 5.5.1: whether the payload of a CLOSE is well formed. */
static int
close_is_fine(const uint8_t *p, size_t n)
{
    unsigned code = n >= 2 ? (unsigned)p[0] << 8 | p[1] : 1000;
    int is_code = (code >= 1000 && code <= 1014 && code != 1004 &&
                   code != 1005 && code != 1006) ||
                  (code >= 3000 && code <= 4999);
    return n != 1 && is_code && (n <= 2 || ws_utf8_valid(p + 2, n - 2));
}

static void
receive_step(struct ws_conn *c, struct history *h, struct input *in)
{
    static const uint8_t opcodes[] = {WS_OP_CONTINUATION, WS_OP_TEXT,
                                      WS_OP_BINARY,       WS_OP_CLOSE,
                                      WS_OP_PING,         WS_OP_PONG};
    struct ws_head head = {0};
    struct ws_close close;
    unsigned actions = 0x55;

    head.opcode = opcodes[byte_take(in) % 6];
    head.fin = 1;
    size_t n = byte_take(in) % (WS_CONTROL_MAX + 1);
    n = n < in->left ? n : in->left;
    head.payload_len = n;
    uint8_t *payload = fuzz_copy(in->at, n);
    in->at += n;
    in->left -= n;

    int err = ws_conn_receive(c, &head, payload, &actions, &close);
    if (head.opcode == WS_OP_CLOSE) {
        MUST((err == 0) == close_is_fine(payload, n));
        MUST(err == 0 || (err <= WS_ERR_CLOSE_LEN && err >= WS_ERR_CLOSE_TEXT));
        MUST(err == 0 || ws_err_close_code(err) ==
                             (err == WS_ERR_CLOSE_TEXT ? 1007u : 1002u));
        if (err == 0) {
            MUST(actions == (WS_ACT_DELIVER | WS_ACT_CLOSE));
            MUST(close.reason_len == (n > 2 ? n - 2 : 0));
            h->closed_by_peer = 1;
            h->peer_was_first = !h->closed_by_us;
        }
    }
    else if (head.opcode == WS_OP_PING && h->auto_pong) {
        unsigned want = h->closed_by_peer || h->is_lost ? 0 : WS_ACT_PONG;
        MUST(err == 0 && actions == want);
    }
    else {
        MUST(err == 0 && actions == WS_ACT_DELIVER);
    }
    free(payload);
}

/* Whether |err| names a rule that the frame breaks; 0 where it breaks none. */
static int
refusal_is_right(const struct history *h, int err, unsigned opcode, int fin,
                 unsigned rsv, size_t len)
{
    int is_data = opcode <= WS_OP_BINARY;
    int is_control = opcode >= WS_OP_CLOSE && opcode <= WS_OP_PONG;
    int reserved = !is_data && !is_control;
    int bits = (rsv & ~h->rsv_allowed) != 0;
    int too_long = is_control && len > 125;
    int in_parts = is_control && !fin;
    int is_over = h->closed_by_us || h->is_lost;
    int unstarted = opcode == WS_OP_CONTINUATION && !h->message_is_open;
    int inside = is_data && opcode != 0 && h->message_is_open;

    switch (err) {
    case 0:
        return !(reserved || bits || too_long || in_parts || is_over ||
                 unstarted || inside);
    case WS_ERR_SEND_OPCODE:
        return reserved;
    case WS_ERR_SEND_RSV:
        return bits;
    case WS_ERR_SEND_CONTROL:
        return too_long;
    case WS_ERR_SEND_FRAGMENT:
        return in_parts;
    case WS_ERR_SEND_CLOSED:
        return is_over;
    case WS_ERR_SEND_CONT:
        return unstarted;
    case WS_ERR_SEND_ORDER:
        return inside;
    default:
        return 0;
    }
}

static void
send_step(struct ws_conn *c, struct history *h, struct input *in)
{
    unsigned bits = byte_take(in);
    unsigned opcode = bits & 15, rsv = bits & WS_BITS_RSV;
    int fin = (bits & WS_BIT_FIN) != 0;
    size_t len = byte_take(in);
    struct ws_conn before = *c;

    int err = ws_conn_may_send(c, opcode, fin, rsv, len);
    MUST(memcmp(&before, c, sizeof(before)) == 0);
    MUST(refusal_is_right(h, err, opcode, fin, rsv, len));
    MUST(strcmp(ws_err_text(err), "unknown error") != 0);
    if (err != 0) {
        return;
    }
    ws_conn_sent(c, opcode, fin);
    h->closed_by_us |= opcode == WS_OP_CLOSE;
    if (opcode <= WS_OP_BINARY) {
        h->message_is_open = !fin;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct ws_conn c;
    size_t kernels;
    unsigned bits = byte_take(&in);
    struct history h = {.rsv_allowed = bits & WS_BITS_RSV,
                        .auto_pong = bits >> 1 & 1};
    ws_mask_fn mask = ws_mask_kernels(&kernels)[0].fn;

    ws_conn_init(&c, bits & 1, h.auto_pong, mask);
    c.rsv_allowed = (uint8_t)h.rsv_allowed;
    MUST(c.is_client == (bits & 1) && c.mask == mask);
    state_check(&c, &h);
    while (in.left > 0) {
        switch (byte_take(&in) % 8) {
        case 0:
        case 1:
        case 2:
            receive_step(&c, &h, &in);
            break;
        case 3:
            if (byte_take(&in) == 3) {
                ws_conn_lost(&c);
                h.is_lost = 1;
            }
            break;
        default:
            send_step(&c, &h, &in);
        }
        state_check(&c, &h);
    }
    return 0;
}
