/* ws_field.h - the header fields of a request that the opening handshake reads
 * (RFC 6455, 4.2.1; RFC 9112, 3.2 and 6).
 */
#ifndef WS_FIELD_H
#define WS_FIELD_H

#include "ws_base.h"

enum ws_field {
    WS_FIELD_HOST,
    WS_FIELD_TRANSFER_ENCODING,
    WS_FIELD_CONTENT_LENGTH,
    WS_FIELD_UPGRADE,
    WS_FIELD_CONNECTION,
    WS_FIELD_VERSION,
    WS_FIELD_KEY,
    WS_FIELD_ORIGIN,
    WS_FIELD_PROTOCOL,
    WS_FIELD_EXTENSIONS,
    /* how many they are; any other one */
    WS_FIELDS,
};

/* ws_field_of returns which of them the |len| bytes at |name| are, in any case
 * (RFC 9110, 5.1: "Field names are case-insensitive"), or WS_FIELDS. */
enum ws_field ws_field_of(const uint8_t *name, size_t len);

#endif /* WS_FIELD_H */
