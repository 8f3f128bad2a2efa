/* ws_parser.h - bytes -> frame head and payload span (RFC 6455, 5.2).
 *
 * The parser looks at the bytes of a ring from the first unconsumed one on; it
 * copies nothing and owns nothing.  It checks what 5.2, 5.4 and 5.5 ask of a
 * frame's head, at the first byte that shows it (an extended length counts as
 * one thing, read when its last byte is there): a frame that breaks a rule is
 * refused before its mask or payload is awaited.
 *
 * FAILED is terminal: after an error every call returns it again.
 */
#ifndef WS_PARSER_H
#define WS_PARSER_H

#include "ws_base.h"

/* One frame's head. */
struct ws_head {
    uint8_t opcode;
    uint8_t fin;
    /* rsv has the bits where they stand in the first byte (WS_BIT_RSV1...). */
    uint8_t rsv;
    uint8_t masked;
    /* len is how many bytes the head itself takes: 2..14. */
    uint8_t len;
    uint8_t key[4];
    size_t payload_len;
};

struct ws_parser {
    /* from_client says whose frames these are: "a client MUST mask all frames
     * that it sends to the server", "A server MUST NOT mask any frames" (5.1).
     */
    uint8_t from_client;
    /* rsv_allowed has the RSV bits that an extension gave a meaning. */
    uint8_t rsv_allowed;
    /* rsv_message has those that only a message's first frame may carry. */
    uint8_t rsv_message;
    /* in_message is 1 between the first and the last fragment of a message. */
    uint8_t in_message;
    /* have_head is 1 while |head| describes a frame that is not complete. */
    uint8_t have_head;
    /* err is 0, or the error that ended the parse. */
    int err;
    /* max_frame_size bounds the payload of data frames, in bytes. */
    size_t max_frame_size;
    /* need is how many bytes, from the first unconsumed one on, the next step
     * waits for; set whenever ws_parser_next() returns 0. */
    size_t need;
    struct ws_head head;
};

/* The largest max_frame_size: head and payload together fit any buffer. */
#define WS_FRAME_SIZE_MAX (SIZE_MAX / 4)

/* ws_parser_init prepares for the first frame.  |max_frame_size| is taken down
 * to WS_FRAME_SIZE_MAX. */
void ws_parser_init(struct ws_parser *p, int from_client,
                    size_t max_frame_size);

/* ws_parser_next looks for one whole frame at the front of the |len| bytes at
 * |data|.  Returns
 *   1    a frame: |*head| is filled, its payload (still masked) stands at
 *        data + head->len; the caller consumes head->len + head->payload_len
 *        bytes before it calls again;
 *   0    more bytes are needed: p->need in all;
 *   < 0  WS_ERR_RSV ... WS_ERR_CONT_EXPECTED or WS_ERR_FRAME_SIZE: terminal. */
int ws_parser_next(struct ws_parser *p, const uint8_t *data, size_t len,
                   struct ws_head *head);

#endif /* WS_PARSER_H */
