/* ws_err.h - every error that the core can report.
 *
 * 0 is success, a negative number an error, spaced by kind: the caller's
 * (-1xx), the peer's frames (-2xx), the peer's HTTP (-4xx).
 */
#ifndef WS_ERR_H
#define WS_ERR_H

enum ws_err {
    WS_OK = 0,

    /* Ours. */
    WS_ERR_NOMEM = -1,

    /* The caller's: a frame that may not be sent. */
    WS_ERR_SEND_CLOSED = -100,      /* after CLOSE, or the connection is gone */
    WS_ERR_SEND_OPCODE = -101,      /* reserved opcode */
    WS_ERR_SEND_RSV = -102,         /* RSV bit without a negotiated extension */
    WS_ERR_SEND_CONTROL = -103,     /* control frame over 125 bytes */
    WS_ERR_SEND_FRAGMENT = -104,    /* control frame with fin=0 */
    WS_ERR_SEND_CONT = -105,        /* CONTINUATION without a start */
    WS_ERR_SEND_ORDER = -106,       /* new message inside a fragmented one */
    WS_ERR_SEND_CODE = -107,        /* close code that may not be sent */
    WS_ERR_SEND_REASON = -108,      /* close reason over 123 bytes */
    WS_ERR_SEND_REASON_TEXT = -109, /* close reason is not UTF-8 */
    WS_ERR_SEND_NO_CODE = -110,     /* close reason without a code */

    /* The peer's frames (RFC 6455, 5.2, 5.4, 5.5). */
    WS_ERR_RSV = -200,             /* RSV bit without a negotiated extension */
    WS_ERR_OPCODE = -201,          /* reserved opcode */
    WS_ERR_CONTROL_FIN = -202,     /* fragmented control frame */
    WS_ERR_CONTROL_LEN = -203,     /* control frame over 125 bytes */
    WS_ERR_MASK_MISSING = -204,    /* unmasked frame from a client */
    WS_ERR_MASK_PRESENT = -205,    /* masked frame from a server */
    WS_ERR_LEN_NOT_MINIMAL = -206, /* a shorter length encoding exists */
    WS_ERR_LEN_SIGN = -207, /* most significant bit of the 64-bit length */
    WS_ERR_CONT_UNSTARTED = -208, /* CONTINUATION without a start */
    WS_ERR_CONT_EXPECTED = -209,  /* new message inside a fragmented one */
    WS_ERR_CLOSE_LEN = -210,      /* CLOSE payload of one byte */
    WS_ERR_CLOSE_CODE = -211,     /* close code that a peer may not send */
    WS_ERR_CLOSE_TEXT = -212,     /* close reason is not UTF-8 */
    WS_ERR_TEXT = -213,           /* text is not UTF-8 */
    WS_ERR_FRAME_SIZE = -214,     /* frame over max_frame_size */
    WS_ERR_MESSAGE_SIZE = -215,   /* message over max_message_size */
    WS_ERR_DEFLATE = -216,        /* compressed data that is broken */

    /* The peer's HTTP (RFC 9112). */
    WS_ERR_HTTP_SYNTAX = -400,    /* a byte that has no place where it stands */
    WS_ERR_HTTP_LINE = -401,      /* malformed request line or status line */
    WS_ERR_HTTP_VERSION = -402,   /* not HTTP/1.1 or 1.0 */
    WS_ERR_HTTP_HEADER = -403,    /* malformed header field */
    WS_ERR_HTTP_FOLDED = -404,    /* obsolete line folding */
    WS_ERR_HTTP_TOO_LARGE = -405, /* head over the limit of bytes */
    WS_ERR_HTTP_TOO_MANY = -406,  /* more header fields than the limit */
    WS_ERR_HTTP_INTERIM = -407,   /* more interim responses than the limit */
};

/* ws_err_text returns a short English sentence for |err|, in static storage;
 * "unknown error" where |err| is none of the above. */
const char *ws_err_text(int err);

/* ws_err_close_code returns the close code (RFC 6455, 7.4.1) that tells the
 * peer about |err|: 1002, 1007 or 1009 for the peer's frames, 1011 otherwise.
 */
unsigned ws_err_close_code(int err);

/* ws_err_http_status returns the status code that answers a request which
 * failed with |err|: 431 for an oversized head, 400 otherwise (RFC 6455, 4.2.1
 * wants "an appropriate HTTP error code (such as 400 Bad Request)" for whatever
 * is no opening handshake, another HTTP version included). */
unsigned ws_err_http_status(int err);

#endif /* WS_ERR_H */
