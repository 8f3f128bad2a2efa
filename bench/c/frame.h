/* frame.h - frames and their masks (RFC 6455, 5.2 and 5.3), for peers that keep
 * the rules. */
#ifndef FRAME_H
#define FRAME_H

#include <stddef.h>
#include <stdint.h>

enum { FRAME_BINARY = 0x2, FRAME_CLOSE = 0x8 };

/* The longest head. */
#define FRAME_HEAD_MAX 14

struct frame {
    unsigned opcode;
    uint8_t *payload;
    size_t len;
};

/* frame_next looks at the |len| bytes at |data|.  Returns the length of the
 * first frame, unmasked in place where it is masked; 0 where it is not whole.
 */
size_t frame_next(uint8_t *data, size_t len, struct frame *f);

/* frame_write writes a whole frame and returns the byte after it; |masked|:
 * with a new key from the system's entropy.  The room is FRAME_HEAD_MAX +
 * |len|; |payload| may stand behind |dest|. */
uint8_t *frame_write(uint8_t *dest, unsigned opcode, const uint8_t *payload,
                     size_t len, int masked);

#endif /* FRAME_H */
