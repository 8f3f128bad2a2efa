/* ws_field.h - the header fields of a request that the opening handshake reads
 * (RFC 6455, 4.2.1; RFC 9112, 3.2 and 6).
 */
#ifndef WS_FIELD_H
#define WS_FIELD_H

#include "ws_base.h"

/* X(enumerator, name of a variable, field name in lower case) */
#define WS_FIELD_LIST(X)                                                \
  X(WS_FIELD_HOST, host, "host")                                        \
  X(WS_FIELD_TRANSFER_ENCODING, transfer_encoding, "transfer-encoding") \
  X(WS_FIELD_CONTENT_LENGTH, content_length, "content-length")          \
  X(WS_FIELD_UPGRADE, upgrade, "upgrade")                               \
  X(WS_FIELD_CONNECTION, connection, "connection")                      \
  X(WS_FIELD_VERSION, version, "sec-websocket-version")                 \
  X(WS_FIELD_KEY, key, "sec-websocket-key")                             \
  X(WS_FIELD_ORIGIN, origin, "origin")                                  \
  X(WS_FIELD_PROTOCOL, protocol, "sec-websocket-protocol")              \
  X(WS_FIELD_EXTENSIONS, extensions, "sec-websocket-extensions")

enum ws_field {
#define WS_FIELD_ENUMERATOR(field, variable, name) field,
    WS_FIELD_LIST(WS_FIELD_ENUMERATOR)
#undef WS_FIELD_ENUMERATOR
    /* how many they are; any other one */
    WS_FIELDS,
};

/* ws_field_of returns which of them the |len| bytes at |name| are, in any case
 * (RFC 9110, 5.1: "Field names are case-insensitive"), or WS_FIELDS. */
enum ws_field ws_field_of(const uint8_t *name, size_t len);

#endif /* WS_FIELD_H */
