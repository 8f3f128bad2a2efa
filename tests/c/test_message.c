/* test_message.c - messages gathered from fragments. */
#include "check.h"

#include "ws_err.h"
#include "ws_message.h"
#include "ws_opcode.h"

static int
add(struct ws_message *m, const void *p, size_t n)
{
    uint8_t *room;
    int err = ws_message_room(m, n, &room);
    if (err != 0) {
        return err;
    }
    memcpy(room, p, n);
    return ws_message_commit(m, n, 0);
}

static void
test_gathers(void)
{
    struct failing_mem fm;
    struct ws_message m;
    struct ws_block *block;
    size_t len;

    failing_mem_init(&fm, -1);
    ws_message_init(&m, &fm.mem, 1000);
    CHECK_INT(m.opcode, 0);
    ws_message_begin(&m, WS_OP_BINARY, 0);
    CHECK_INT(m.opcode, WS_OP_BINARY);
    CHECK_INT(add(&m, "abc", 3), 0);
    CHECK_INT(add(&m, "", 0), 0);
    CHECK_INT(add(&m, "\xff", 1), 0); /* no text */
    CHECK_INT(ws_message_end(&m, &block, &len), 0);
    CHECK_INT((long long)len, 4);
    CHECK(memcmp(block->data, "abc\xff", 4) == 0);
    CHECK(block->cap < 1000);
    CHECK_INT(m.opcode, 0);
    ws_block_decref(block);

    /* Nothing at all. */
    ws_message_begin(&m, WS_OP_TEXT, 1);
    CHECK_INT(m.compressed, 1);
    CHECK_INT(ws_message_end(&m, &block, &len), 0);
    CHECK(block == NULL);
    CHECK_INT((long long)len, 0);
    CHECK_INT(m.compressed, 0);

    /* A new one drops the one before. */
    ws_message_begin(&m, WS_OP_BINARY, 0);
    CHECK_INT(add(&m, "abc", 3), 0);
    ws_message_begin(&m, WS_OP_BINARY, 0);
    CHECK_INT((long long)m.len, 0);
    ws_message_drop(&m);
    CHECK_INT(fm.alive, 0);
}

static void
test_limit_is_exact(void)
{
    static const uint8_t bytes[300];
    struct failing_mem fm;
    struct ws_message m;
    uint8_t *room;

    for (size_t max = 0; max < 300; max += 7) {
        check_context("max %zu", max);
        failing_mem_init(&fm, -1);
        ws_message_init(&m, &fm.mem, max);
        ws_message_begin(&m, WS_OP_BINARY, 0);
        CHECK_INT(ws_message_room(&m, max + 1, &room), WS_ERR_MESSAGE_SIZE);
        CHECK_INT(ws_message_room(&m, SIZE_MAX, &room), WS_ERR_MESSAGE_SIZE);
        CHECK_INT(add(&m, bytes, max / 2), 0);
        CHECK_INT(ws_message_room(&m, max - max / 2 + 1, &room),
                  WS_ERR_MESSAGE_SIZE);
        CHECK_INT(add(&m, bytes, max - max / 2), 0);
        CHECK(m.block == NULL || m.block->cap <= (max > 0 ? max : 1));
        CHECK_INT(ws_message_room(&m, 1, &room), WS_ERR_MESSAGE_SIZE);
        ws_message_drop(&m);
        CHECK_INT(fm.alive, 0);
    }
}

static void
test_a_million_fragments_are_linear(void)
{
    enum { COUNT = 1000000 };
    struct failing_mem fm;
    struct ws_message m;
    struct ws_block *block;
    size_t len;

    failing_mem_init(&fm, -1);
    ws_message_init(&m, &fm.mem, 4 * COUNT);
    ws_message_begin(&m, WS_OP_TEXT, 0);
    for (size_t i = 0; i < COUNT; i++) {
        CHECK_INT(add(&m, "x", 1), 0);
        CHECK(m.block->cap <= 256 || m.block->cap <= 2 * m.len);
    }
    CHECK_INT(ws_message_end(&m, &block, &len), 0);
    CHECK_INT((long long)len, COUNT);
    CHECK(block->cap <= COUNT + COUNT / 2);
    CHECK(fm.resized <= 6 * (size_t)COUNT);
    CHECK(fm.calls < 30);
    ws_block_decref(block);
    CHECK_INT(fm.alive, 0);
}

static void
test_text_is_checked_as_it_comes(void)
{
    static const uint8_t text[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z";
    struct failing_mem fm;
    struct ws_message m;
    struct ws_block *block;
    size_t len, size = sizeof(text) - 1;

    for (size_t split = 0; split <= size; split++) {
        for (size_t checked = 0; checked <= size - split; checked++) {
            check_context("split %zu, %zu checked before", split, checked);
            uint8_t *room;
            failing_mem_init(&fm, -1);
            ws_message_init(&m, &fm.mem, 100);
            ws_message_begin(&m, WS_OP_TEXT, 0);
            CHECK_INT(add(&m, text, split), 0);
            CHECK_INT(ws_message_text(&m, text + split, checked), 0);
            CHECK_INT(ws_message_room(&m, size - split, &room), 0);
            memcpy(room, text + split, size - split);
            CHECK_INT(ws_message_commit(&m, size - split, checked), 0);
            CHECK_INT(ws_message_end(&m, &block, &len), 0);
            CHECK(len == size && memcmp(block->data, text, size) == 0);
            ws_block_decref(block);
            CHECK_INT(fm.alive, 0);
        }
        /* A text that ends here ends within a character or not. */
        int inside = split < size && (text[split] & 0xc0) == 0x80;
        ws_message_begin(&m, WS_OP_TEXT, 0);
        CHECK_INT(add(&m, text, split), 0);
        CHECK_INT(ws_message_end(&m, &block, &len), inside ? WS_ERR_TEXT : 0);
        if (!inside) {
            ws_block_decref(block);
        }
        CHECK_INT(fm.alive, 0);
        /* And a byte that can never be right fails at once. */
        ws_message_begin(&m, WS_OP_TEXT, 0);
        CHECK_INT(add(&m, text, split), 0);
        CHECK_INT(add(&m, "\xff", 1), WS_ERR_TEXT);
        ws_message_drop(&m);
        CHECK_INT(fm.alive, 0);
    }
}

static void
test_no_memory(void)
{
    struct failing_mem fm;
    struct ws_message m;
    struct ws_block *block;
    size_t len;

    for (long fails = 0;; fails++) {
        check_context("allocation %ld fails", fails);
        failing_mem_init(&fm, fails);
        ws_message_init(&m, &fm.mem, 1 << 20);
        ws_message_begin(&m, WS_OP_BINARY, 0);
        int err = 0;
        size_t i;
        for (i = 0; i < 20000 && err == 0; i++) {
            err = add(&m, &"0123456789"[i % 10], 1);
        }
        if (err != 0) {
            CHECK_INT(err, WS_ERR_NOMEM);
            /* What was there is there. */
            CHECK(m.len == i - 1);
            CHECK(m.len == 0 || m.block->data[m.len - 1] == '0' + (i - 2) % 10);
        }
        else {
            /* For want of memory the block is larger than it must be. */
            CHECK_INT(ws_message_end(&m, &block, &len), 0);
            CHECK(len == 20000);
            ws_block_decref(block);
        }
        ws_message_drop(&m);
        CHECK_INT(fm.alive, 0);
        if (fm.calls <= fails) {
            break;
        }
    }
}

static const struct test tests[] = {
    {"gathers", test_gathers},
    {"the limit is exact", test_limit_is_exact},
    {"a million fragments", test_a_million_fragments_are_linear},
    {"text is checked as it comes", test_text_is_checked_as_it_comes},
    {"failing allocations", test_no_memory},
    {NULL, NULL},
};

const struct suite suite_message = {"message", tests};
