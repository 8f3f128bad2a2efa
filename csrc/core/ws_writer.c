#include "ws_writer.h"

#include "ws_opcode.h"

size_t
ws_writer_head_len(uint64_t payload_len, int masked)
{
    size_t extended = payload_len < WS_LEN_16     ? 0
                      : payload_len <= UINT16_MAX ? 2
                                                  : 8;
    return 2 + extended + (masked ? 4 : 0);
}

uint8_t *
ws_writer_head(uint8_t *dest, unsigned first, uint64_t payload_len,
               const uint8_t *key)
{
    unsigned mask_bit = key != NULL ? WS_BIT_MASK : 0;

    *dest++ = (uint8_t)first;
    /* 5.2: "in all cases, the minimal number of bytes MUST be used to encode
     * the length". */
    if (payload_len < WS_LEN_16) {
        *dest++ = (uint8_t)(mask_bit | payload_len);
    }
    else if (payload_len <= UINT16_MAX) {
        *dest++ = (uint8_t)(mask_bit | WS_LEN_16);
        dest = ws_store_be16(dest, (uint16_t)payload_len);
    }
    else {
        *dest++ = (uint8_t)(mask_bit | WS_LEN_64);
        dest = ws_store_be64(dest, payload_len);
    }
    if (key != NULL) {
        memcpy(dest, key, 4);
        dest += 4;
    }
    return dest;
}
