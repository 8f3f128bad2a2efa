/* test_field.c - which header field a name is: each of them in any case, and
 * none that differs in a byte.
 */
#include "check.h"
#include "ws_field.h"

static const struct {
    const char *name;
    enum ws_field field;
} known[] = {
    {"Host", WS_FIELD_HOST},
    {"Transfer-Encoding", WS_FIELD_TRANSFER_ENCODING},
    {"Content-Length", WS_FIELD_CONTENT_LENGTH},
    {"Upgrade", WS_FIELD_UPGRADE},
    {"Connection", WS_FIELD_CONNECTION},
    {"Sec-WebSocket-Version", WS_FIELD_VERSION},
    {"Sec-WebSocket-Key", WS_FIELD_KEY},
    {"Origin", WS_FIELD_ORIGIN},
    {"Sec-WebSocket-Protocol", WS_FIELD_PROTOCOL},
    {"Sec-WebSocket-Extensions", WS_FIELD_EXTENSIONS},
};

#define COUNT (sizeof(known) / sizeof(known[0]))

static enum ws_field
field_of(const char *name)
{
    return ws_field_of((const uint8_t *)name, strlen(name));
}

static void
test_names(void)
{
    CHECK_INT(COUNT, WS_FIELDS);
    for (size_t i = 0; i < COUNT; i++) {
        char name[40];
        check_context("%s", known[i].name);
        CHECK_INT(field_of(known[i].name), known[i].field);
        snprintf(name, sizeof(name), "%s", known[i].name);
        for (char *p = name; *p != '\0'; p++)
            *p = (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
        CHECK_INT(field_of(name), known[i].field);
    }
}

/* Each byte of each name, replaced by each other one. */
static void
test_others(void)
{
    for (size_t i = 0; i < COUNT; i++) {
        char name[40];
        size_t len = strlen(known[i].name);
        check_context("%s", known[i].name);
        for (size_t at = 0; at < len; at++) {
            for (int byte = 0; byte < 256; byte++) {
                memcpy(name, known[i].name, len);
                int is_letter =
                    (name[at] | 32) >= 'a' && (name[at] | 32) <= 'z';
                int same = byte == (uint8_t)name[at] ||
                           (is_letter && (byte ^ 32) == (uint8_t)name[at]);
                name[at] = (char)byte;
                CHECK_INT(ws_field_of((const uint8_t *)name, len),
                          same ? known[i].field : WS_FIELDS);
            }
        }
        CHECK_INT(ws_field_of((const uint8_t *)known[i].name, len - 1),
                  WS_FIELDS);
    }
    CHECK_INT(field_of(""), WS_FIELDS);
    CHECK_INT(field_of("Hosts"), WS_FIELDS);
    CHECK_INT(field_of("Sec-WebSocket-Accept"), WS_FIELDS);
}

static const struct test tests[] = {
    {"names", test_names},
    {"others", test_others},
    {NULL, NULL},
};

const struct suite suite_field = {"field", tests};
