/* ws_writer.h - frames -> bytes (RFC 6455, 5.2): the inverse of ws_parser.
 *
 * Nothing here can fail: the caller asks for the length first and brings the
 * room.  Whether a frame may be sent at all is ws_conn's to say.
 */
#ifndef WS_WRITER_H
#define WS_WRITER_H

#include "ws_base.h"

/* ws_writer_head_len returns how many bytes ws_writer_head() writes for a
 * payload of |payload_len| bytes, with a masking key where |masked| is not 0:
 * 2..14. */
size_t ws_writer_head_len(uint64_t payload_len, int masked);

/* ws_writer_head writes a frame's head to |dest| and returns the byte after it.
 * |first| is the first byte of the frame (FIN, RSV and opcode); |key| has 4
 * bytes, or is NULL for a frame without mask. */
uint8_t *ws_writer_head(uint8_t *dest, unsigned first, uint64_t payload_len,
                        const uint8_t *key);

#endif /* WS_WRITER_H */
