/* ws_message.h - a message on its way in: its fragments gathered into one run
 * of bytes, its size bounded, its text checked as it arrives (RFC 6455, 5.4 and
 * 8.1).  That the fragments come in order is the parser's business.
 *
 * Public API: begin -> (room -> commit)* -> end.  A message that comes in one
 * piece needs no room: its text is checked where it lies (ws_message_text).
 *
 * Ownership: the message owns the block that it fills until ws_message_end()
 * hands it over.
 */
#ifndef WS_MESSAGE_H
#define WS_MESSAGE_H

#include "ws_block.h"
#include "ws_utf8.h"

struct ws_message {
    const struct ws_mem *mem;
    /* max is how many bytes a message may have. */
    size_t max;
    /* block has data[0..len); NULL where nothing was gathered. */
    struct ws_block *block;
    size_t len;
    struct ws_utf8 text;
    /* opcode is TEXT or BINARY; 0 between messages. */
    uint8_t opcode;
    /* compressed says that what is gathered was inflated first. */
    uint8_t compressed;
};

/* ws_message_init prepares for the first message. */
void ws_message_init(struct ws_message *m, const struct ws_mem *mem,
                     size_t max);

/* ws_message_drop forgets the message in progress. */
void ws_message_drop(struct ws_message *m);

/* ws_message_begin begins a message of type |opcode|. */
void ws_message_begin(struct ws_message *m, unsigned opcode, int compressed);

/* ws_message_room gives room for |n| more bytes at |*ptr|.  It grows with the
 * message, never on a claim of how long it will be.  Returns 0,
 * WS_ERR_MESSAGE_SIZE (the message would exceed |max|) or WS_ERR_NOMEM; the
 * message is unchanged then. */
int ws_message_room(struct ws_message *m, size_t n, uint8_t **ptr);

/* ws_message_commit takes |n| bytes that were written to the last room; of a
 * text the first |checked| of them were seen by ws_message_text() already.
 * Returns 0 or WS_ERR_TEXT. */
int ws_message_commit(struct ws_message *m, size_t n, size_t checked);

/* ws_message_text looks at |n| more bytes of the message, which are gathered
 * later or not at all; nothing where it is no text.  Returns 0 or WS_ERR_TEXT
 * at the first byte that cannot be right. */
int ws_message_text(struct ws_message *m, const uint8_t *p, size_t n);

/* ws_message_end ends the message: stores the block with its bytes in |*block|
 * (NULL where there are none; a reference of the caller's) and their number in
 * |*len|.  Returns 0, or WS_ERR_TEXT: the text ends within a character; the
 * message is dropped then. */
int ws_message_end(struct ws_message *m, struct ws_block **block, size_t *len);

#endif /* WS_MESSAGE_H */
