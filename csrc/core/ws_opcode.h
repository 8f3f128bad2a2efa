/* ws_opcode.h - the numbers of RFC 6455: opcodes, header bits, close codes,
 * limits.
 */
#ifndef WS_OPCODE_H
#define WS_OPCODE_H

/* Opcodes (RFC 6455, 5.2 and 11.8).  3-7 and 0xB-0xF are reserved. */
enum ws_opcode {
    WS_OP_CONTINUATION = 0x0,
    WS_OP_TEXT = 0x1,
    WS_OP_BINARY = 0x2,
    WS_OP_CLOSE = 0x8,
    WS_OP_PING = 0x9,
    WS_OP_PONG = 0xA,
};

/* Bits of the first header byte (5.2). */
#define WS_BIT_FIN 0x80u
#define WS_BIT_RSV1 0x40u
#define WS_BIT_RSV2 0x20u
#define WS_BIT_RSV3 0x10u
#define WS_BITS_RSV (WS_BIT_RSV1 | WS_BIT_RSV2 | WS_BIT_RSV3)
#define WS_BITS_OPCODE 0x0Fu

/* Bits of the second header byte (5.2). */
#define WS_BIT_MASK 0x80u
#define WS_BITS_LEN 0x7Fu

/* Values of the 7-bit length that announce a longer one (5.2). */
#define WS_LEN_16 126u
#define WS_LEN_64 127u

/* 5.2: 2 bytes, up to 8 of extended length, 4 of masking key. */
#define WS_HEAD_MAX 14

/* 5.5: "All control frames MUST have a payload length of 125 bytes or less". */
#define WS_CONTROL_MAX 125

/* 5.5.1: the first two bytes of a CLOSE payload are the code. */
#define WS_REASON_MAX (WS_CONTROL_MAX - 2)

/* ws_opcode_is_control returns whether |opcode| is a control opcode: "Control
 * frames are identified by opcodes where the most significant bit of the
 * opcode is 1" (5.5). */
static inline int
ws_opcode_is_control(unsigned opcode)
{
    return (opcode & 0x8u) != 0;
}

/* ws_opcode_is_known returns whether |opcode| has a meaning in RFC 6455. */
static inline int
ws_opcode_is_known(unsigned opcode)
{
    return opcode <= WS_OP_BINARY ||
           (opcode >= WS_OP_CLOSE && opcode <= WS_OP_PONG);
}

/* Close codes (7.4.1, and IANA's registry). */
enum ws_close_code {
    WS_CLOSE_OK = 1000,
    WS_CLOSE_GOING_AWAY = 1001,
    WS_CLOSE_PROTOCOL_ERROR = 1002,
    WS_CLOSE_UNSUPPORTED_DATA = 1003,
    WS_CLOSE_NO_STATUS = 1005, /* never on the wire */
    WS_CLOSE_ABNORMAL = 1006,  /* never on the wire */
    WS_CLOSE_INVALID_TEXT = 1007,
    WS_CLOSE_POLICY_VIOLATION = 1008,
    WS_CLOSE_MESSAGE_TOO_BIG = 1009,
    WS_CLOSE_MANDATORY_EXTENSION = 1010,
    WS_CLOSE_INTERNAL_ERROR = 1011,
    WS_CLOSE_SERVICE_RESTART = 1012,
    WS_CLOSE_TRY_AGAIN_LATER = 1013,
    WS_CLOSE_BAD_GATEWAY = 1014,
    WS_CLOSE_TLS_HANDSHAKE = 1015, /* never on the wire */
};

#endif /* WS_OPCODE_H */
