#include "ws_field.h"

static const struct {
    const char *name;
    size_t len;
} fields[WS_FIELDS] = {
#define FIELD(field, variable, name) [field] = {name, sizeof(name) - 1},
    WS_FIELD_LIST(FIELD)
#undef FIELD
};

static uint8_t
lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
}

enum ws_field
ws_field_of(const uint8_t *name, size_t len)
{
    for (int i = 0; i < WS_FIELDS; i++) {
        size_t same = 0;
        if (len != fields[i].len) {
            continue;
        }
        while (same < len &&
               lower(name[same]) == (uint8_t)fields[i].name[same]) {
            same++;
        }
        if (same == len) {
            return (enum ws_field)i;
        }
    }
    return WS_FIELDS;
}
