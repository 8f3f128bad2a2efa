#include "ws_err.h"

#include "ws_opcode.h"

const char *
ws_err_text(int err)
{
    switch (err) {
    case WS_OK:
        return "success";
    case WS_ERR_NOMEM:
        return "out of memory";
    case WS_ERR_SEND_CLOSED:
        return "the connection is closing or closed";
    case WS_ERR_SEND_OPCODE:
        return "reserved opcode";
    case WS_ERR_SEND_RSV:
        return "RSV bits need an extension that was negotiated";
    case WS_ERR_SEND_CONTROL:
        return "a control frame carries at most 125 bytes";
    case WS_ERR_SEND_FRAGMENT:
        return "a control frame cannot be fragmented";
    case WS_ERR_SEND_CONT:
        return "CONTINUATION without a message to continue";
    case WS_ERR_SEND_ORDER:
        return "the fragmented message before this one is not finished";
    case WS_ERR_SEND_CODE:
        return "a close code that may not be sent";
    case WS_ERR_SEND_REASON:
        return "a close reason takes at most 123 bytes";
    case WS_ERR_SEND_REASON_TEXT:
        return "a close reason must be UTF-8";
    case WS_ERR_SEND_NO_CODE:
        return "a close reason needs a close code";
    case WS_ERR_RSV:
        return "RSV bit set without a negotiated extension";
    case WS_ERR_OPCODE:
        return "reserved opcode";
    case WS_ERR_CONTROL_FIN:
        return "fragmented control frame";
    case WS_ERR_CONTROL_LEN:
        return "control frame with more than 125 bytes of payload";
    case WS_ERR_MASK_MISSING:
        return "frame from a client without mask";
    case WS_ERR_MASK_PRESENT:
        return "masked frame from a server";
    case WS_ERR_LEN_NOT_MINIMAL:
        return "payload length not in its shortest form";
    case WS_ERR_LEN_SIGN:
        return "payload length with the most significant bit set";
    case WS_ERR_CONT_UNSTARTED:
        return "CONTINUATION without a message to continue";
    case WS_ERR_CONT_EXPECTED:
        return "new message inside a fragmented one";
    case WS_ERR_CLOSE_LEN:
        return "CLOSE frame with a payload of one byte";
    case WS_ERR_CLOSE_CODE:
        return "CLOSE frame with a code that may not be sent";
    case WS_ERR_CLOSE_TEXT:
        return "CLOSE frame with a reason that is not UTF-8";
    case WS_ERR_TEXT:
        return "text that is not UTF-8";
    case WS_ERR_FRAME_SIZE:
        return "frame larger than max_frame_size";
    case WS_ERR_MESSAGE_SIZE:
        return "message larger than max_message_size";
    case WS_ERR_DEFLATE:
        return "compressed data that cannot be inflated";
    case WS_ERR_HTTP_SYNTAX:
        return "byte out of place in the HTTP head";
    case WS_ERR_HTTP_LINE:
        return "malformed first line of the HTTP head";
    case WS_ERR_HTTP_VERSION:
        return "HTTP version other than 1.1 and 1.0";
    case WS_ERR_HTTP_HEADER:
        return "malformed HTTP header field";
    case WS_ERR_HTTP_FOLDED:
        return "folded HTTP header field";
    case WS_ERR_HTTP_TOO_LARGE:
        return "HTTP head too large";
    case WS_ERR_HTTP_TOO_MANY:
        return "too many HTTP header fields";
    case WS_ERR_HTTP_INTERIM:
        return "too many interim HTTP responses";
    default:
        return "unknown error";
    }
}

unsigned
ws_err_close_code(int err)
{
    switch (err) {
    case WS_ERR_CLOSE_TEXT:
    case WS_ERR_TEXT:
    /* "data within a message that was not consistent with the type of the
     * message" (7.4.1). */
    case WS_ERR_DEFLATE:
        return WS_CLOSE_INVALID_TEXT;
    case WS_ERR_FRAME_SIZE:
    case WS_ERR_MESSAGE_SIZE:
        return WS_CLOSE_MESSAGE_TOO_BIG;
    default:
        return err <= WS_ERR_RSV && err > WS_ERR_HTTP_SYNTAX
                   ? WS_CLOSE_PROTOCOL_ERROR
                   : WS_CLOSE_INTERNAL_ERROR;
    }
}

unsigned
ws_err_http_status(int err)
{
    switch (err) {
    case WS_ERR_HTTP_TOO_LARGE:
    case WS_ERR_HTTP_TOO_MANY:
        return 431;
    default:
        return 400;
    }
}
