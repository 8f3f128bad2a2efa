/* fuzz_message.c - any bytes as messages: gathered from fragments of any size,
 * under any limit, part of them looked at before, with an allocator that may
 * fail.  A message is its fragments, one behind the other; it ends with an
 * error where it exceeds the limit, or at the first piece with which its text
 * cannot be right any more, and never otherwise.
 *
 * The input begins with 3 bytes of settings and a list of sizes of fragments;
 * the rest is what the fragments carry.
 */
#include "fuzz.h"
#include "ws_err.h"
#include "ws_message.h"
#include "ws_opcode.h"

/* ---- settings ---- */

struct settings {
    size_t max;
    /* Every nth allocation fails; 0: none. */
    unsigned fail_every;
    /* What describes the fragments, one behind the other, again and again. */
    const uint8_t *sizes;
    size_t count;
};

enum { FRAGMENTS_MAX = 64, MESSAGES_MAX = 32 };

/* Takes the settings off the front of the input; returns what is left. */
static const uint8_t *
settings_read(struct settings *s, const uint8_t *data, size_t *size)
{
    static const size_t maxima[] = {0,   1,    2,     125,     255,     256,
                                    257, 1000, 10000, 1 << 20, SIZE_MAX};

    if (*size < 3 || *size < 3 + (size_t)data[2] % 64) {
        return NULL;
    }
    s->max = maxima[data[0] % 11];
    s->fail_every = data[1] % 4 == 0 ? 0 : 1 + data[1] % 4;
    s->count = data[2] % 64;
    s->sizes = data + 3;
    *size -= 3 + s->count;
    return data + 3 + s->count;
}

/* The settings and the memory of this input. */
static const struct settings *now;
static struct fuzz_memory memory;

/* ---- what must come of it ---- */

/* Whether the |n| bytes at |p| can go on to be UTF-8: whether some end makes
 * them right. */
static int
is_begun(const uint8_t *p, size_t n)
{
    static const char *const ends[] = {
        "", "\x80", "\x80\x80", "\x80\x80\x80", "\xa0\x80", "\x90\x80\x80"};
    /* The last character begins at most three bytes before the end. */
    for (size_t back = 0; back <= 3 && back <= n; back++) {
        if (!ws_utf8_valid(p, n - back)) {
            continue;
        }
        for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
            uint8_t last[8];
            size_t len = strlen(ends[i]);
            memcpy(last, p + n - back, back);
            memcpy(last + back, ends[i], len);
            if (ws_utf8_valid(last, back + len)) {
                return 1;
            }
        }
    }
    return 0;
}

/* One message out of the |n| bytes at |p|; |*at| counts fragments.  Returns how
 * many bytes it took. */
static size_t
one_message(struct ws_message *m, const uint8_t *p, size_t n, size_t *at)
{
    int is_text = now->count == 0 || (now->sizes[*at % now->count] & 1);
    unsigned opcode = is_text ? WS_OP_TEXT : WS_OP_BINARY;
    size_t total = 0;

    ws_message_begin(m, opcode, 0);
    MUST(m->opcode == opcode && m->len == 0 && m->block == NULL);
    for (int fin = 0, i = 0; !fin; i++) {
        unsigned bits = now->count == 0 ? 250 : now->sizes[*at % now->count];
        size_t len = bits >= 250 ? 997 : bits / 4;
        uint8_t *room;

        ++*at;
        fin = len >= n - total || bits % 8 == 7 || i == FRAGMENTS_MAX;
        len = len < n - total ? len : n - total;
        int err = ws_message_room(m, len, &room);
        if (len > now->max - total) {
            MUST(err == WS_ERR_MESSAGE_SIZE && m->len == total);
            MUST(ws_err_close_code(err) == WS_CLOSE_MESSAGE_TOO_BIG);
            ws_message_drop(m);
            return total + len;
        }
        if (err != 0) {
            /* Nothing is lost; try again. */
            MUST(err == WS_ERR_NOMEM && now->fail_every != 0);
            MUST(m->len == total);
            MUST(total == 0 || memcmp(m->block->data, p, total) == 0);
            MUST(ws_message_room(m, len, &room) == 0);
        }
        MUST(m->block->cap >= total + len);
        MUST(m->block->cap <= (now->max > 0 ? now->max : 1));
        /* A part of it is looked at early, where it lies. */
        size_t checked = bits & 2 ? len / 2 : bits & 4 ? len : 0;
        err = ws_message_text(m, p + total, checked);
        if (err == 0) {
            memcpy(room, p + total, len);
            err = ws_message_commit(m, len, checked);
            checked = len;
        }
        total += len;
        int is_bad = is_text && !is_begun(p, total - len + checked);
        MUST(err == (is_bad ? WS_ERR_TEXT : 0));
        if (err != 0) {
            ws_message_drop(m);
            return total;
        }
    }
    struct ws_block *block;
    size_t got;
    int err = ws_message_end(m, &block, &got);
    MUST(err == (is_text && !ws_utf8_valid(p, total) ? WS_ERR_TEXT : 0));
    MUST(m->opcode == 0 && m->len == 0 && m->block == NULL);
    if (err == 0) {
        MUST(got == total && (total == 0 || block != NULL));
        MUST(total == 0 || memcmp(block->data, p, total) == 0);
        MUST(now->fail_every != 0 || block == NULL ||
             block->cap <= got + got / 2 + 1);
        ws_block_decref(block);
    }
    MUST(memory.alive == 0);
    return total;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct settings s;
    struct ws_message m;
    const uint8_t *rest = settings_read(&s, data, &size);
    size_t at = 0;

    if (rest == NULL) {
        return 0;
    }
    /* A copy of its own, so that reading past its end is seen. */
    uint8_t *bytes = fuzz_copy(rest, size);
    now = &s;
    /* Twice as much as there are bytes, at most; inputs are small. */
    memory = (struct fuzz_memory){.fail_every = s.fail_every, .most = 1 << 17};
    struct ws_mem mem = fuzz_mem(&memory);
    ws_message_init(&m, &mem, s.max);
    size_t done = 0, i = 0;
    do { /* some take nothing at all */
        done += one_message(&m, bytes + done, size - done, &at);
        MUST(memory.alive == 0);
    } while (done < size && ++i < MESSAGES_MAX);
    /* And one that is begun and dropped. */
    uint8_t *room;
    ws_message_begin(&m, WS_OP_TEXT, 1);
    (void)ws_message_room(&m, s.max < 10 ? s.max : 10, &room);
    ws_message_drop(&m);
    MUST(memory.alive == 0);
    free(bytes);
    return 0;
}
