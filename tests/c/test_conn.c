/* test_conn.c - what a received frame asks for, and the whole table of what may
 * be sent when. */
#include "check.h"

#include "ws_conn.h"
#include "ws_err.h"

static void
mask_nothing(uint8_t *dst, const uint8_t *src, size_t n, const uint8_t key[4],
             unsigned phase)
{
    (void)dst;
    (void)src;
    (void)n;
    (void)key;
    (void)phase;
}

/* Hands |c| a frame from the peer. */
static int
receive(struct ws_conn *c, unsigned opcode, const void *payload, size_t len,
        unsigned *actions, struct ws_close *close)
{
    struct ws_head head;
    memset(&head, 0, sizeof(head));
    head.opcode = (uint8_t)opcode;
    head.fin = 1;
    head.payload_len = len;
    uint8_t *p = guard_copy(payload, len);
    *actions = 0xAAAA;
    memset(close, 0xAA, sizeof(*close));
    int err = ws_conn_receive(c, &head, p, actions, close);
    if (close->reason != NULL && opcode == WS_OP_CLOSE && err == 0) {
        /* It points into the payload; make it outlive that. */
        static uint8_t reason[WS_REASON_MAX];
        CHECK(close->reason == p + 2);
        CHECK_INT(close->reason_len, len - 2);
        memcpy(reason, close->reason, close->reason_len);
        close->reason = reason;
    }
    guard_free(p, len);
    return err;
}

/* ---- the ways into every state ---- */

enum way {
    WAY_OPEN,
    WAY_CLOSE_SENT,
    WAY_CLOSE_RECEIVED,
    WAY_SENT_RECEIVED,
    WAY_RECEIVED_SENT,
    WAY_LOST,
    WAY_SENT_LOST,
    WAY_RECEIVED_LOST,
    WAYS
};

static const struct {
    const char *name;
    int state, sent, received, received_first;
} ways[WAYS] = {
    {"open", WS_CONN_OPEN, 0, 0, 0},
    {"close sent", WS_CONN_CLOSING, 1, 0, 0},
    {"close received", WS_CONN_CLOSING, 0, 1, 1},
    {"close sent, received", WS_CONN_CLOSING, 1, 1, 0},
    {"close received, sent", WS_CONN_CLOSING, 1, 1, 1},
    {"lost", WS_CONN_CLOSED, 0, 0, 0},
    {"close sent, lost", WS_CONN_CLOSED, 1, 0, 0},
    {"close received, lost", WS_CONN_CLOSED, 0, 1, 1},
};

static void
go(struct ws_conn *c, enum way way)
{
    unsigned actions;
    struct ws_close close;

    if (way == WAY_CLOSE_SENT || way == WAY_SENT_RECEIVED ||
        way == WAY_SENT_LOST) {
        ws_conn_sent(c, WS_OP_CLOSE, 1);
    }
    if (way == WAY_CLOSE_RECEIVED || way == WAY_SENT_RECEIVED ||
        way == WAY_RECEIVED_SENT || way == WAY_RECEIVED_LOST) {
        CHECK_INT(receive(c, WS_OP_CLOSE, "", 0, &actions, &close), 0);
    }
    if (way == WAY_RECEIVED_SENT) {
        ws_conn_sent(c, WS_OP_CLOSE, 1);
    }
    if (way == WAY_LOST || way == WAY_SENT_LOST || way == WAY_RECEIVED_LOST) {
        ws_conn_lost(c);
    }
}

static void
test_states(void)
{
    for (int client = 0; client <= 1; client++) {
        for (int auto_pong = 0; auto_pong <= 1; auto_pong++) {
            for (int way = 0; way < WAYS; way++) {
                struct ws_conn c;
                check_context("%s, client %d", ways[way].name, client);
                memset(&c, 0xAA, sizeof(c));
                ws_conn_init(&c, client, auto_pong, mask_nothing);
                CHECK_INT(c.state, WS_CONN_OPEN);
                CHECK_INT(c.rsv_allowed, 0);
                CHECK_INT(c.sending_message, 0);
                CHECK(c.mask == mask_nothing);
                go(&c, (enum way)way);
                CHECK_INT(c.is_client, client);
                CHECK_INT(c.auto_pong, auto_pong);
                CHECK_INT(c.state, ways[way].state);
                CHECK_INT(c.close_sent, ways[way].sent);
                CHECK_INT(c.close_received, ways[way].received);
                CHECK_INT(c.received_first, ways[way].received_first);
                /* The end is the end. */
                ws_conn_lost(&c);
                CHECK_INT(c.state, WS_CONN_CLOSED);
                ws_conn_sent(&c, WS_OP_CLOSE, 1);
                CHECK_INT(c.state, WS_CONN_CLOSED);
            }
        }
    }
    /* Any value but 0 is yes. */
    struct ws_conn c;
    ws_conn_init(&c, 0x100, -1, mask_nothing);
    CHECK_INT(c.is_client, 1);
    CHECK_INT(c.auto_pong, 1);
}

/* ---- what may be sent ---- */

/* One rule broken is one bit; no bit, and the frame may go. */
enum {
    RULE_CLOSED = 1,
    RULE_OPCODE = 2,
    RULE_RSV = 4,
    RULE_CONTROL = 8,
    RULE_FRAGMENT = 16,
    RULE_CONT = 32,
    RULE_ORDER = 64,
};

static unsigned
broken_rules(enum way way, int in_message, unsigned rsv_allowed,
             unsigned opcode, int fin, unsigned rsv, size_t len)
{
    int control = opcode == 0x8 || opcode == 0x9 || opcode == 0xA;
    int data = opcode == 0x1 || opcode == 0x2;
    unsigned broken = 0;

    if (ways[way].sent || ways[way].state == WS_CONN_CLOSED) {
        broken |= RULE_CLOSED;
    }
    if (!control && !data && opcode != 0x0) {
        broken |= RULE_OPCODE;
    }
    if ((rsv | rsv_allowed) != rsv_allowed) {
        broken |= RULE_RSV;
    }
    if (control && len > 125) {
        broken |= RULE_CONTROL;
    }
    if (control && !fin) {
        broken |= RULE_FRAGMENT;
    }
    if (opcode == 0x0 && !in_message) {
        broken |= RULE_CONT;
    }
    if (data && in_message) {
        broken |= RULE_ORDER;
    }
    return broken;
}

static unsigned
rule_of(int err)
{
    switch (err) {
    case 0:
        return 0;
    case WS_ERR_SEND_CLOSED:
        return RULE_CLOSED;
    case WS_ERR_SEND_OPCODE:
        return RULE_OPCODE;
    case WS_ERR_SEND_RSV:
        return RULE_RSV;
    case WS_ERR_SEND_CONTROL:
        return RULE_CONTROL;
    case WS_ERR_SEND_FRAGMENT:
        return RULE_FRAGMENT;
    case WS_ERR_SEND_CONT:
        return RULE_CONT;
    case WS_ERR_SEND_ORDER:
        return RULE_ORDER;
    default:
        CHECK(!"an error that ws_conn_may_send does not name");
        return 0;
    }
}

static void
test_may_send(void)
{
    static const unsigned opcodes[] = {
        0,  1,  2,  3,  4,  5,  6,  7,  8,   9,   10,    11,
        12, 13, 14, 15, 16, 17, 24, 26, 128, 255, 0x101, 0xFFFFFFFF};
    static const size_t lens[] = {0,   1,   2,     124,   125,
                                  126, 127, 65535, 65536, SIZE_MAX};

    for (int way = 0; way < WAYS; way++) {
        for (int in_message = 0; in_message <= 1; in_message++) {
            for (unsigned allowed = 0; allowed <= 0x70; allowed += 0x10) {
                struct ws_conn c, before;
                ws_conn_init(&c, 1, 0, mask_nothing);
                c.rsv_allowed = (uint8_t)allowed;
                if (in_message) {
                    ws_conn_sent(&c, WS_OP_TEXT, 0);
                }
                go(&c, (enum way)way);
                before = c;
                for (size_t o = 0; o < sizeof(opcodes) / sizeof(*opcodes);
                     o++) {
                    for (unsigned bits = 0; bits < 16; bits++) {
                        for (size_t l = 0; l < sizeof(lens) / sizeof(*lens);
                             l++) {
                            int fin = bits & 1;
                            unsigned rsv = bits >> 1 << 4;
                            check_context(
                                "%s, in message %d, allowed %02x: opcode %x, "
                                "fin %d, rsv %02x, length %zu",
                                ways[way].name, in_message, allowed, opcodes[o],
                                fin, rsv, lens[l]);
                            unsigned broken =
                                broken_rules((enum way)way, in_message, allowed,
                                             opcodes[o], fin, rsv, lens[l]);
                            unsigned said = rule_of(ws_conn_may_send(
                                &c, opcodes[o], fin, rsv, lens[l]));
                            /* It says one of the rules that are broken. */
                            CHECK_INT(said != 0, broken != 0);
                            CHECK((said & ~broken) == 0);
                        }
                    }
                }
                /* Asking changes nothing. */
                CHECK(memcmp(&c, &before, sizeof(c)) == 0);
            }
        }
    }
}

/* The order of one message's fragments, through ws_conn_sent(). */
static void
test_message_order(void)
{
    struct ws_conn c;
    ws_conn_init(&c, 0, 0, mask_nothing);
    CHECK_INT(ws_conn_may_send(&c, WS_OP_CONTINUATION, 1, 0, 0),
              WS_ERR_SEND_CONT);
    ws_conn_sent(&c, WS_OP_TEXT, 1);
    CHECK_INT(ws_conn_may_send(&c, WS_OP_CONTINUATION, 1, 0, 0),
              WS_ERR_SEND_CONT);
    ws_conn_sent(&c, WS_OP_BINARY, 0);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(ws_conn_may_send(&c, WS_OP_TEXT, 1, 0, 0), WS_ERR_SEND_ORDER);
        CHECK_INT(ws_conn_may_send(&c, WS_OP_BINARY, 0, 0, 0),
                  WS_ERR_SEND_ORDER);
        CHECK_INT(ws_conn_may_send(&c, WS_OP_CONTINUATION, i & 1, 0, 0), 0);
        /* 5.4: "Control frames MAY be injected in the middle of a fragmented
         * message." */
        CHECK_INT(ws_conn_may_send(&c, WS_OP_PING, 1, 0, 125), 0);
        ws_conn_sent(&c, WS_OP_PING, 1);
        ws_conn_sent(&c, WS_OP_PONG, 1);
        CHECK_INT(ws_conn_may_send(&c, WS_OP_TEXT, 1, 0, 0), WS_ERR_SEND_ORDER);
        ws_conn_sent(&c, WS_OP_CONTINUATION, 0);
    }
    ws_conn_sent(&c, WS_OP_CONTINUATION, 1);
    CHECK_INT(ws_conn_may_send(&c, WS_OP_TEXT, 0, 0, 0), 0);
    CHECK_INT(ws_conn_may_send(&c, WS_OP_CONTINUATION, 1, 0, 0),
              WS_ERR_SEND_CONT);

    /* 5.4 again: CLOSE may come in the middle, too, and it is sent once. */
    ws_conn_sent(&c, WS_OP_TEXT, 0);
    CHECK_INT(ws_conn_may_send(&c, WS_OP_CLOSE, 1, 0, 125), 0);
    ws_conn_sent(&c, WS_OP_CLOSE, 1);
    CHECK_INT(ws_conn_may_send(&c, WS_OP_CLOSE, 1, 0, 0), WS_ERR_SEND_CLOSED);
    CHECK_INT(ws_conn_may_send(&c, WS_OP_CONTINUATION, 1, 0, 0),
              WS_ERR_SEND_CLOSED);
}

/* ---- what is received ---- */

static void
test_actions(void)
{
    for (int client = 0; client <= 1; client++) {
        for (int auto_pong = 0; auto_pong <= 1; auto_pong++) {
            for (int way = 0; way < WAYS; way++) {
                static const unsigned opcodes[] = {
                    WS_OP_CONTINUATION, WS_OP_TEXT, WS_OP_BINARY,
                    WS_OP_PING,         WS_OP_PONG, WS_OP_CLOSE};
                for (size_t o = 0; o < 6; o++) {
                    struct ws_conn c, before;
                    struct ws_close close;
                    unsigned actions, want = WS_ACT_DELIVER, op = opcodes[o];

                    check_context("%s, client %d, auto_pong %d, opcode %x",
                                  ways[way].name, client, auto_pong, op);
                    ws_conn_init(&c, client, auto_pong, mask_nothing);
                    go(&c, (enum way)way);
                    before = c;
                    if (op == WS_OP_PING && auto_pong) {
                        want = ways[way].received ||
                                       ways[way].state == WS_CONN_CLOSED
                                   ? 0
                                   : WS_ACT_PONG;
                    }
                    else if (op == WS_OP_CLOSE) {
                        want = WS_ACT_DELIVER | WS_ACT_CLOSE;
                    }
                    CHECK_INT(receive(&c, op, "", 0, &actions, &close), 0);
                    CHECK_INT(actions, want);
                    CHECK_INT((actions & WS_ACT_DELIVER) != 0,
                              ws_conn_delivers(&c, op) != 0);
                    if (op == WS_OP_CLOSE) {
                        CHECK_INT(close.code, 0);
                        CHECK_INT(c.close_received, 1);
                        CHECK_INT(c.state, ways[way].state == WS_CONN_OPEN
                                               ? WS_CONN_CLOSING
                                               : ways[way].state);
                    }
                    else {
                        CHECK(memcmp(&c, &before, sizeof(c)) == 0);
                    }
                }
            }
        }
    }
}

static void
test_close_content(void)
{
    struct ws_conn c;
    struct ws_close close;
    unsigned actions;

    ws_conn_init(&c, 0, 1, mask_nothing);
    CHECK_INT(receive(&c, WS_OP_CLOSE, "\x0F\xA1over", 6, &actions, &close), 0);
    CHECK_INT(actions, WS_ACT_DELIVER | WS_ACT_CLOSE);
    CHECK_INT(close.code, 4001);
    CHECK_INT(close.reason_len, 4);
    CHECK_BYTES(close.reason, "over", 4);
    CHECK_INT(c.state, WS_CONN_CLOSING);

    static const struct {
        const char *payload;
        size_t len;
        int err;
    } bad[] = {
        {"\x03", 1, WS_ERR_CLOSE_LEN},
        {"\x03\xED", 2, WS_ERR_CLOSE_CODE},
        {"\x03\xE8\xFF", 3, WS_ERR_CLOSE_TEXT},
    };
    for (size_t i = 0; i < 3; i++) {
        check_context("bad payload %zu", i);
        ws_conn_init(&c, 0, 1, mask_nothing);
        CHECK_INT(receive(&c, WS_OP_CLOSE, bad[i].payload, bad[i].len, &actions,
                          &close),
                  bad[i].err);
        CHECK_INT(close.code, 0);
        /* It was no CLOSE: ours, with the error's code, can still go. */
        CHECK_INT(c.close_received, 0);
        CHECK_INT(c.state, WS_CONN_OPEN);
        CHECK_INT(ws_conn_may_send(&c, WS_OP_CLOSE, 1, 0, 2), 0);
    }
}

/* 5.5.2 and 5.5.3: who answers a PING, and until when. */
static void
test_pongs(void)
{
    for (int way = 0; way < WAYS; way++) {
        struct ws_conn c;
        check_context("%s", ways[way].name);
        ws_conn_init(&c, 0, 1, mask_nothing);
        CHECK(ws_conn_may_pong(&c));
        go(&c, (enum way)way);
        /* After our CLOSE: yes, it is not data.  After the peer's: no. */
        CHECK_INT(ws_conn_may_pong(&c) != 0,
                  way == WAY_OPEN || way == WAY_CLOSE_SENT);
    }
    /* PINGs come to the listener only where it answers them itself; everything
     * else always does. */
    for (int auto_pong = 0; auto_pong <= 1; auto_pong++) {
        struct ws_conn c;
        ws_conn_init(&c, 0, auto_pong, mask_nothing);
        for (unsigned op = 0; op <= 15; op++) {
            check_context("auto_pong %d, opcode %x", auto_pong, op);
            CHECK_INT(ws_conn_delivers(&c, op) != 0,
                      !(auto_pong && op == WS_OP_PING));
        }
    }
}

static const struct test tests[] = {
    {"states", test_states},
    {"what may be sent", test_may_send},
    {"the order of fragments", test_message_order},
    {"what received frames ask for", test_actions},
    {"the content of a CLOSE", test_close_content},
    {"pongs", test_pongs},
    {NULL, NULL},
};

extern const struct suite suite_conn;
const struct suite suite_conn = {"conn", tests};
