/* test_err.c - each error has a text, a close code and an HTTP status. */
#include "check.h"

#include "ws_err.h"
#include "ws_opcode.h"

enum kind { KIND_OK, KIND_OURS, KIND_SEND, KIND_PEER, KIND_HTTP };

/* kind_of has no default label: an error that is added to ws_err.h and not
 * here stops the build (-Wswitch -Werror). */
static enum kind
kind_of(enum ws_err err)
{
    switch (err) {
    case WS_OK:
        return KIND_OK;
    case WS_ERR_NOMEM:
        return KIND_OURS;
    case WS_ERR_SEND_CLOSED:
    case WS_ERR_SEND_OPCODE:
    case WS_ERR_SEND_RSV:
    case WS_ERR_SEND_CONTROL:
    case WS_ERR_SEND_FRAGMENT:
    case WS_ERR_SEND_CONT:
    case WS_ERR_SEND_ORDER:
    case WS_ERR_SEND_CODE:
    case WS_ERR_SEND_REASON:
    case WS_ERR_SEND_REASON_TEXT:
    case WS_ERR_SEND_NO_CODE:
        return KIND_SEND;
    case WS_ERR_RSV:
    case WS_ERR_OPCODE:
    case WS_ERR_CONTROL_FIN:
    case WS_ERR_CONTROL_LEN:
    case WS_ERR_MASK_MISSING:
    case WS_ERR_MASK_PRESENT:
    case WS_ERR_LEN_NOT_MINIMAL:
    case WS_ERR_LEN_SIGN:
    case WS_ERR_CONT_UNSTARTED:
    case WS_ERR_CONT_EXPECTED:
    case WS_ERR_CLOSE_LEN:
    case WS_ERR_CLOSE_CODE:
    case WS_ERR_CLOSE_TEXT:
    case WS_ERR_TEXT:
    case WS_ERR_FRAME_SIZE:
    case WS_ERR_MESSAGE_SIZE:
    case WS_ERR_DEFLATE:
        return KIND_PEER;
    case WS_ERR_HTTP_SYNTAX:
    case WS_ERR_HTTP_LINE:
    case WS_ERR_HTTP_VERSION:
    case WS_ERR_HTTP_HEADER:
    case WS_ERR_HTTP_FOLDED:
    case WS_ERR_HTTP_TOO_LARGE:
    case WS_ERR_HTTP_TOO_MANY:
    case WS_ERR_HTTP_INTERIM:
        return KIND_HTTP;
    }
    return KIND_OK;
}

struct row {
    int err;
    unsigned close_code;
    unsigned http_status;
};

/* What the two mappings of ws_err.h promise, written out. */
static const struct row rows[] = {
    {WS_OK, 1011, 400},
    {WS_ERR_NOMEM, 1011, 400},
    {WS_ERR_SEND_CLOSED, 1011, 400},
    {WS_ERR_SEND_OPCODE, 1011, 400},
    {WS_ERR_SEND_RSV, 1011, 400},
    {WS_ERR_SEND_CONTROL, 1011, 400},
    {WS_ERR_SEND_FRAGMENT, 1011, 400},
    {WS_ERR_SEND_CONT, 1011, 400},
    {WS_ERR_SEND_ORDER, 1011, 400},
    {WS_ERR_SEND_CODE, 1011, 400},
    {WS_ERR_SEND_REASON, 1011, 400},
    {WS_ERR_SEND_REASON_TEXT, 1011, 400},
    {WS_ERR_SEND_NO_CODE, 1011, 400},
    {WS_ERR_RSV, 1002, 400},
    {WS_ERR_OPCODE, 1002, 400},
    {WS_ERR_CONTROL_FIN, 1002, 400},
    {WS_ERR_CONTROL_LEN, 1002, 400},
    {WS_ERR_MASK_MISSING, 1002, 400},
    {WS_ERR_MASK_PRESENT, 1002, 400},
    {WS_ERR_LEN_NOT_MINIMAL, 1002, 400},
    {WS_ERR_LEN_SIGN, 1002, 400},
    {WS_ERR_CONT_UNSTARTED, 1002, 400},
    {WS_ERR_CONT_EXPECTED, 1002, 400},
    {WS_ERR_CLOSE_LEN, 1002, 400},
    {WS_ERR_CLOSE_CODE, 1002, 400},
    {WS_ERR_CLOSE_TEXT, 1007, 400},
    {WS_ERR_TEXT, 1007, 400},
    {WS_ERR_FRAME_SIZE, 1009, 400},
    {WS_ERR_MESSAGE_SIZE, 1009, 400},
    {WS_ERR_DEFLATE, 1007, 400},
    {WS_ERR_HTTP_SYNTAX, 1011, 400},
    {WS_ERR_HTTP_LINE, 1011, 400},
    {WS_ERR_HTTP_VERSION, 1011, 400},
    {WS_ERR_HTTP_HEADER, 1011, 400},
    {WS_ERR_HTTP_FOLDED, 1011, 400},
    {WS_ERR_HTTP_TOO_LARGE, 1011, 431},
    {WS_ERR_HTTP_TOO_MANY, 1011, 431},
    {WS_ERR_HTTP_INTERIM, 1011, 400},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static const struct row *
row_of(int err)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (rows[i].err == err) {
            return &rows[i];
        }
    }
    return NULL;
}

/* Numbers are spaced by kind, so that a caller can tell the kinds apart. */
static void
test_numbers(void)
{
    for (size_t i = 0; i < ROWS; i++) {
        int err = rows[i].err;
        check_context("error %d", err);
        switch (kind_of((enum ws_err)err)) {
        case KIND_OK:
            CHECK_INT(err, 0);
            break;
        case KIND_OURS:
            CHECK(err < 0 && err > -100);
            break;
        case KIND_SEND:
            CHECK(err <= -100 && err > -200);
            break;
        case KIND_PEER:
            CHECK(err <= -200 && err > -400);
            break;
        case KIND_HTTP:
            CHECK(err <= -400 && err > -500);
            break;
        }
        for (size_t j = 0; j < i; j++) {
            CHECK(rows[j].err != err);
        }
    }
}

static void
test_texts(void)
{
    /* Exactly the known errors have a text, and it is a phrase to be put
     * into a sentence: printable ASCII, no full stop. */
    for (int err = -1000; err <= 1000; err++) {
        check_context("error %d", err);
        const char *text = ws_err_text(err);
        CHECK(text != NULL && text[0] != '\0');
        CHECK_INT(strcmp(text, "unknown error") == 0, row_of(err) == NULL);
        for (const char *c = text; *c != '\0'; c++) {
            CHECK(*c >= ' ' && *c <= '~');
        }
        CHECK(text[strlen(text) - 1] != '.');
        /* The same text each time, in the same place. */
        CHECK(ws_err_text(err) == text);
    }
    CHECK(strcmp(ws_err_text(INT32_MIN), "unknown error") == 0);
    CHECK(strcmp(ws_err_text(INT32_MAX), "unknown error") == 0);

    /* Two errors of one kind never read the same. */
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t j = 0; j < i; j++) {
            check_context("errors %d and %d", rows[i].err, rows[j].err);
            if (kind_of((enum ws_err)rows[i].err) ==
                kind_of((enum ws_err)rows[j].err)) {
                CHECK(strcmp(ws_err_text(rows[i].err),
                             ws_err_text(rows[j].err)) != 0);
            }
        }
    }
}

static void
test_close_codes(void)
{
    for (size_t i = 0; i < ROWS; i++) {
        check_context("error %d", rows[i].err);
        CHECK_INT(ws_err_close_code(rows[i].err), rows[i].close_code);
    }
    CHECK_INT(ws_err_close_code(1), WS_CLOSE_INTERNAL_ERROR);
    CHECK_INT(ws_err_close_code(-1000), WS_CLOSE_INTERNAL_ERROR);
    CHECK_INT(ws_err_close_code(INT32_MIN), WS_CLOSE_INTERNAL_ERROR);
}

static void
test_http_statuses(void)
{
    for (size_t i = 0; i < ROWS; i++) {
        check_context("error %d", rows[i].err);
        CHECK_INT(ws_err_http_status(rows[i].err), rows[i].http_status);
    }
    CHECK_INT(ws_err_http_status(1), 400);
    CHECK_INT(ws_err_http_status(-1000), 400);
}

static const struct test tests[] = {
    {"numbers are spaced by kind", test_numbers},
    {"each error has a text of its own", test_texts},
    {"close codes", test_close_codes},
    {"http statuses", test_http_statuses},
    {NULL, NULL},
};

extern const struct suite suite_err;
const struct suite suite_err = {"err", tests};
