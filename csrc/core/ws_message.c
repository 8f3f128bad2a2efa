#include "ws_message.h"

#include "ws_err.h"
#include "ws_opcode.h"

/* The first block of a gathered message. */
#define MESSAGE_CAP_MIN 256

void
ws_message_init(struct ws_message *m, const struct ws_mem *mem, size_t max)
{
    memset(m, 0, sizeof(*m));
    m->mem = mem;
    m->max = max;
}

void
ws_message_drop(struct ws_message *m)
{
    ws_block_decref(m->block);
    m->block = NULL;
    m->len = 0;
    m->opcode = 0;
    m->compressed = 0;
    ws_utf8_init(&m->text);
}

void
ws_message_begin(struct ws_message *m, unsigned opcode, int compressed)
{
    ws_message_drop(m);
    m->opcode = (uint8_t)opcode;
    m->compressed = compressed != 0;
}

int
ws_message_room(struct ws_message *m, size_t n, uint8_t **ptr)
{
    if (n > m->max - m->len) {
        return WS_ERR_MESSAGE_SIZE;
    }
    size_t need = m->len + n;
    size_t cap = m->block == NULL ? 0 : m->block->cap;
    if (need > cap || m->block == NULL) {
        /* Twice as much each time, so that a byte is moved once or twice
         * however many fragments come; never more than may be needed. */
        size_t more = cap < MESSAGE_CAP_MIN / 2 ? MESSAGE_CAP_MIN
                      : cap > m->max / 2        ? m->max
                                                : 2 * cap;
        more = more > m->max ? m->max : more;
        more = more < need ? need : more;
        more = more == 0 ? 1 : more;
        struct ws_block *block = m->block == NULL
                                     ? ws_block_new(m->mem, more)
                                     : ws_block_resize(m->block, more);
        if (block == NULL) {
            return WS_ERR_NOMEM;
        }
        m->block = block;
    }
    *ptr = m->block->data + m->len;
    return 0;
}

int
ws_message_commit(struct ws_message *m, size_t n, size_t checked)
{
    const uint8_t *p = m->block->data + m->len;

    WS_ASSERT(checked <= n && n <= m->block->cap - m->len);
    m->len += n;
    return ws_message_text(m, p + checked, n - checked);
}

int
ws_message_text(struct ws_message *m, const uint8_t *p, size_t n)
{
    return m->opcode == WS_OP_TEXT ? ws_utf8_feed(&m->text, p, n) : 0;
}

int
ws_message_end(struct ws_message *m, struct ws_block **block, size_t *len)
{
    int err = m->opcode == WS_OP_TEXT ? ws_utf8_done(&m->text) : 0;

    if (err == 0) {
        /* Whoever keeps the message keeps little more than its bytes. */
        if (m->block != NULL && m->block->cap - m->len > m->len / 2) {
            struct ws_block *less =
                ws_block_resize(m->block, m->len > 0 ? m->len : 1);
            m->block = less != NULL ? less : m->block;
        }
        *block = m->block;
        *len = m->len;
        m->block = NULL;
    }
    ws_message_drop(m);
    return err;
}
