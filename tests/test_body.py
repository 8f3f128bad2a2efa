"""The content of a refusal (RFC 9112, 6 and 7): where it ends, however it is cut into pieces."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict
from raw import row

from picows_c.body import MAX_BODY, Body

LENGTH, CODING = "Content-Length", "Transfer-Encoding"
CHUNKED = [(CODING, "chunked")]
BIG = b"x" * MAX_BODY

# fields, what comes, the content, whether it is known to be complete
BODIES = [
    # 6.3, 8: to the end of the connection
    ([], b"", b"", False),
    ([], b"some text", b"some text", False),
    # 6.3, 6
    ([(LENGTH, "0")], b"", b"", True),
    ([(LENGTH, "000")], b"more", b"", True),
    ([(LENGTH, "5")], b"hello", b"hello", True),
    ([(LENGTH, "5")], b"hello, and more", b"hello", True),
    ([(LENGTH, "5")], b"hell", b"hell", False),
    ([(LENGTH, "5, 5")], b"hello!", b"hello", True),
    ([(LENGTH, "5"), (LENGTH, " 5")], b"hello!", b"hello", True),
    # 6.3, 5: no length that could be understood
    *(
        ([(LENGTH, value)], b"hello", b"hello", False)
        for value in ("", "-5", "+5", "5, 6", "five", "0x5", "5_0", "9" * 400)
    ),
    ([(LENGTH, "4"), (LENGTH, "5")], b"hello", b"hello", False),
    # 7.1
    (CHUNKED, b"0\r\n\r\n", b"", True),
    (CHUNKED, b"5\r\nhello\r\n0\r\n\r\n", b"hello", True),
    (CHUNKED, b"0000A\r\n0123456789\r\n1\r\n!\r\n000\r\nA: trailer\r\n\r\n", b"0123456789!", True),
    (CHUNKED, b'5;a=b;c="d" \r\nhello\r\n0;e\r\n\r\n', b"hello", True),
    (CHUNKED, b"2\r\n\r\n\r\n2 \r\n0\r\r\n0\r\n", b"\r\n0\r", True),
    (CHUNKED, b"5\r\nhello\r\n", b"hello", False),
    (CHUNKED, b"5\r\nhel", b"hel", False),
    ([(CODING, "Chunked")], b"1\r\na\r\n0\r\n", b"a", True),
    ([(CODING, "gzip, chunked")], b"1\r\na\r\n0\r\n", b"a", True),
    ([(CODING, "gzip"), (CODING, "chunked")], b"1\r\na\r\n0\r\n", b"a", True),
    # 6.3, 3: "the Transfer-Encoding overrides the Content-Length"
    ([(LENGTH, "3"), *CHUNKED], b"5\r\nhello\r\n0\r\n", b"hello", True),
    # 6.3, 4
    ([(CODING, "chunked, gzip")], b"5\r\nhello", b"5\r\nhello", False),
    ([(CODING, "gzip"), (LENGTH, "3")], b"hello", b"hello", False),
    # chunks that are none: what came before stays
    (CHUNKED, b"5\r\nhello\r\nx\r\nmore", b"hello", True),
    (CHUNKED, b"5\r\nhello!\r\n0\r\n", b"hello", True),
    (CHUNKED, b"0x5\r\nhello\r\n", b"", True),
    (CHUNKED, b"-5\r\nhello\r\n", b"", True),
    (CHUNKED, b"\r\n", b"", True),
    (CHUNKED, b"5\nhello\n0\r\n\r\n", b"", True),
    (CHUNKED, b"5;" + b"a" * 5000, b"", True),
    # no more than so much is kept
    ([(LENGTH, str(MAX_BODY))], BIG + b"more", BIG, True),
    ([(LENGTH, str(MAX_BODY + 1))], BIG, BIG, True),
    ([], BIG + b"more", BIG, True),
    (CHUNKED, b"8000\r\n%b\r\n" % BIG[:0x8000] * 3, BIG, True),
    (CHUNKED, b"f" * 40 + b"\r\n" + BIG + b"more", BIG, True),
]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000, 1 << 20])
def test_where_it_ends(step):
    for fields, data, content, is_complete in BODIES:
        if step < 1000 and len(data) > 10_000:
            continue
        with row((fields, data[:50])):
            body = Body(403, b"HTTP/1.1", CIMultiDict(fields))
            for at in range(0, len(data), step):
                body.feed(data[at : at + step])
            assert bytes(body.content) == content
            assert body.is_complete is is_complete


def test_no_content():
    """6.3, 1: whatever the fields say."""
    for status in (204, 304):
        for fields in ([], [(LENGTH, "5")], CHUNKED):
            body = Body(status, b"HTTP/1.1", CIMultiDict(fields))
            assert body.is_complete
            body.feed(b"hello")
            assert body.content == b""


def test_http_1_0():
    """Without transfer codings (6.1); a length counts."""
    body = Body(403, b"HTTP/1.0", CIMultiDict(CHUNKED))
    body.feed(b"5\r\nhello\r\n0\r\n")
    assert (bytes(body.content), body.is_complete) == (b"5\r\nhello\r\n0\r\n", False)
    body = Body(403, b"HTTP/1.0", CIMultiDict([(LENGTH, "3"), *CHUNKED]))
    body.feed(b"no!")
    assert (bytes(body.content), body.is_complete) == (b"no!", True)
