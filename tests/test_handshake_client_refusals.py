"""Answers that our client refuses: the exception, and the end of the connection."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from http import HTTPStatus

import pytest
from helpers import accept_for
from raw import Never, Peer, RawServer, answer_bytes, lines, row, soon
from served import until

from picows_c import (
    WSInvalidHeaderError,
    WSInvalidMessageError,
    WSInvalidStatusError,
    WSInvalidUpgradeError,
    client,
)


async def refused(net, error, answer, **options):
    """Let ws_connect meet an answer (bytes, or a function of the key); return what it raised."""
    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(net.connect(Never(), **options))
        peer = await server.accept()
        await peer.read_head()
        peer.write(answer if isinstance(answer, bytes) else answer(peer.key))
        with pytest.raises(error) as caught:
            await soon(connecting)
        await peer.gone()
        assert server.count == 1
    assert type(caught.value) is error
    return caught.value


async def test_other_status(net):
    expected = "expected upgrade response with status 101 Switching Protocols, but received "
    for status in (200, 204, 302, 401, 404, 500, 520, 999):
        fields = "Location: /x\r\nContent-Length: 8\r\nX: y"
        answer = f"HTTP/1.1 {status} What\r\n{fields}".encode()
        with row(status):
            error = await refused(
                net, WSInvalidStatusError, answer + b"\r\n\r\nthe body", max_redirects=0
            )
            assert error.response.status == status
            assert type(error.response.status) is (int if status in (520, 999) else HTTPStatus)
            assert error.response.headers["x"] == "y"
            assert error.raw_header == answer
            assert error.raw_body == (b"" if status == 204 else b"the body")
            assert str(error) == expected + str(status)


# ---- the content of a refusal ----

BUSY = "HTTP/1.1 503 Busy"
# head, what comes behind it, raw_body
CONTENTS = [
    (lines("Content-Length: 9", first=BUSY), b"too many!, and more", b"too many!"),
    (
        lines("Transfer-Encoding: chunked", first=BUSY),
        b"3\r\ntoo\r\n5\r\n many\r\n0\r\n\r\n",
        b"too many",
    ),
    (lines("Content-Length: 70000", first=BUSY), b"x" * 70_000, b"x" * 65_536),
    (lines(first=BUSY), b"x" * 70_000, b"x" * 65_536),
    (lines("Content-Length: 3", first="HTTP/1.0 503 Busy"), b"no!", b"no!"),
    (lines("Content-Length: 3", first="HTTP/1.1 304 Same"), b"no!", b""),
    # What would redirect, were it followed.
    (lines("Location: /", "Content-Length: 3", first="HTTP/1.1 302 Go"), b"no!", b"no!"),
]
# The same where nothing says that this was all.
ENDLESS = [
    (lines("Content-Length: 20", first=BUSY), b"too many", b"too many"),
    (lines(first=BUSY), b"", b""),
    (lines(first="HTTP/1.0 503 Busy"), b"too many", b"too many"),
    (lines(first=BUSY), b"too many", b"too many"),
    (lines("Transfer-Encoding: chunked", first=BUSY), b"3\r\ntoo\r\n5\r\n ma", b"too ma"),
]


@contextlib.asynccontextmanager
async def refusing(net, **options):
    """Let ws_connect meet a refusal with content; yield what sends it, and waits for the error."""
    async with RawServer(net) as server:

        async def refuse(head, content, step, end=None):
            connecting = asyncio.ensure_future(net.connect(Never(), max_redirects=0, **options))
            peer = await server.accept()
            await peer.read_head()
            if step is None:
                peer.write(head + content)
            else:
                peer.write(head)
                await peer.writer.drain()
                # (It is gone as soon as the content is there.)
                with contextlib.suppress(ConnectionError):
                    for at in range(0, len(content), step):
                        await asyncio.sleep(0)
                        peer.write(content[at : at + step])
                        await peer.writer.drain()
            if end is not None:
                end(peer)
            with pytest.raises(WSInvalidStatusError) as caught:
                await soon(connecting)
            await peer.gone()
            assert caught.value.raw_header == head[:-4]
            return caught.value.raw_body

        yield refuse


async def test_content_that_comes_later(net, monkeypatch):
    """Its length tells when it is there: nothing else is waited for."""
    monkeypatch.setattr(client, "_BODY_TIMEOUT", 3600.0)
    async with refusing(net, websocket_handshake_timeout=None, open_timeout=None) as refuse:
        for head, content, body in CONTENTS:
            for step in (None, 1 if len(content) < 100 else 10_000):
                with row((head, step)):
                    assert await refuse(head, content, step) == body


async def test_content_that_does_not_say_where_it_ends(net, monkeypatch):
    """It is waited for a while after its last byte."""
    assert client._BODY_TIMEOUT == 1.0
    monkeypatch.setattr(client, "_BODY_TIMEOUT", 0.05)
    async with refusing(net, websocket_handshake_timeout=None, open_timeout=None) as refuse:
        for head, content, body in ENDLESS:
            with row(head):
                assert await refuse(head, content, None) == body


async def test_each_byte_begins_the_wait_again(net, monkeypatch):
    timers = []
    real = client.ClientProtocol._body_received

    def noting(self, data):
        real(self, data)
        timers.append(self._body_timer)

    monkeypatch.setattr(client.ClientProtocol, "_body_received", noting)
    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(net.connect(Never()))
        peer = await server.accept()
        await peer.read_head()
        peer.write(ENDLESS[0][0])
        for count in range(1, 5):
            await until(lambda: len(timers) == count)  # noqa: B023
            assert [timer.cancelled() for timer in timers] == [True] * (count - 1) + [False]
            peer.write(b"x")
        await until(lambda: len(timers) == 5)
        peer.writer.close()
        with pytest.raises(WSInvalidStatusError) as caught:
            await soon(connecting)
    assert caught.value.raw_body == b"xxxx"
    assert all(timer.cancelled() for timer in timers)
    assert len(set(map(id, timers))) == 5


async def test_content_that_ends_with_the_connection(net, monkeypatch):
    monkeypatch.setattr(client, "_BODY_TIMEOUT", 3600.0)
    async with refusing(net, websocket_handshake_timeout=None, open_timeout=None) as refuse:
        for head, content, body in ENDLESS:
            with row(head):
                end = lambda peer: peer.writer.close()  # noqa: E731
                assert await refuse(head, content, None, end) == body


async def test_content_is_no_reason_to_forget_the_status(net, monkeypatch):
    """The handshake's time is over, or the connection: what came is said."""
    monkeypatch.setattr(client, "_BODY_TIMEOUT", 3600.0)
    head, content, body = ENDLESS[0]
    async with refusing(net, websocket_handshake_timeout=0.2) as refuse:
        assert await refuse(head, content, None) == body
    async with refusing(net) as refuse:
        assert body.startswith(await refuse(head, content, None, Peer.reset))


async def test_cancelled_while_content_is_awaited(net):
    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(net.connect(Never()))
        peer = await server.accept()
        await peer.read_head()
        peer.write(ENDLESS[0][0] + b"too")
        await peer.writer.drain()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(connecting), 0.05)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(connecting)
        peer.write(b"many")
        await peer.gone()


# ---- what is no answer ----

MALFORMED = {
    "garbage": b"SSH-2.0-OpenSSH_9.6\r\n",
    "empty line": b"\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 101 Switching Protocols\r\n",
    "HTTP/2": b"HTTP/2 101\r\n",
    "lower case": b"http/1.1 101 Switching Protocols\r\n",
    "no status": b"HTTP/1.1 \r\n",
    "two digits": b"HTTP/1.1 99 x\r\n",
    "four digits": b"HTTP/1.1 1010 x\r\n",
    "status 000": b"HTTP/1.1 000 x\r\n",
    "not a number": b"HTTP/1.1 1O1 x\r\n",
    "NUL in phrase": b"HTTP/1.1 101 a\0b\r\n",
    "LF only": b"HTTP/1.1 101 x\nUpgrade: websocket\n\n",
    "folded before the first": b"HTTP/1.1 101 x\r\n b\r\n\r\n",
    "no colon": b"HTTP/1.1 101 x\r\nnonsense\r\n\r\n",
    "space before colon": b"HTTP/1.1 101 x\r\nUpgrade : websocket\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\n\r\n",
    "a frame": b"\x81\x05hello",
    "nine interim answers": b"HTTP/1.1 103 x\r\n\r\n" * 9,
    "too large with the interim one": (
        b"HTTP/1.1 103 x\r\nX: " + b"y" * 8192 + b"\r\n\r\nHTTP/1.1 101 x\r\nX: " + b"y" * 8192
    ),
    "too large": b"HTTP/1.1 101 x\r\nX: " + b"y" * 16384,
    "too many": b"HTTP/1.1 101 x\r\n" + b"X: y\r\n" * 129,
}


async def test_malformed_answers(net):
    for name, answer in MALFORMED.items():
        with row(name):
            error = await refused(net, WSInvalidMessageError, answer)
            assert error.raw_header is not None
            assert error.raw_header in answer
            assert not error.raw_header.startswith(b"HTTP/1.1 103 x\r\nX")
            assert "malformed upgrade response" in str(error)


async def test_101_in_http_1_0(net):
    make = functools.partial(answer_bytes, first="HTTP/1.0 101 Switching Protocols")
    error = await refused(net, WSInvalidMessageError, make)
    assert error.raw_header.startswith(b"HTTP/1.0 101 ")
    assert error.response.version == b"HTTP/1.0"


UPGRADE = {
    "no Upgrade": ("Upgrade", None, {"drop": ("Upgrade",)}),
    "other Upgrade": ("Upgrade", "websockets", {"Upgrade": "websockets"}),
    "no Connection": ("Connection", None, {"drop": ("Connection",)}),
    "other Connection": ("Connection", "close", {"Connection": "close"}),
}


async def test_upgrade_headers(net):
    for what, (name, value, answer) in UPGRADE.items():
        make = functools.partial(answer_bytes, **answer)
        with row(what):
            error = await refused(net, WSInvalidUpgradeError, make)
            assert (error.name, error.value) == (name, value)
            assert error.response.status == 101
            assert error.raw_header.startswith(b"HTTP/1.1 101 ")


ACCEPT, EXTENSIONS = "Sec-WebSocket-Accept", "Sec-WebSocket-Extensions"
PROTOCOL = "Sec-WebSocket-Protocol"
OFFER = {
    "subprotocols": ["chat", "superchat"],
    "extensions": ["x-one; x-two"],
}
HEADERS = {
    "no accept": (ACCEPT, {"drop": (ACCEPT,)}),
    "wrong accept": (ACCEPT, {"Sec_WebSocket_Accept": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="}),
    "accept in lower case": (
        ACCEPT,
        lambda key: answer_bytes(key, Sec_WebSocket_Accept=accept_for(key).lower()),
    ),
    "accept twice": (ACCEPT, lambda key: answer_bytes(key, more=(f"{ACCEPT}: {accept_for(key)}",))),
    "extension": (EXTENSIONS, {"Sec_WebSocket_Extensions": "permessage-deflate"}),
    "one more extension": (EXTENSIONS, {"Sec_WebSocket_Extensions": "x-one, x-three"}),
    "parameter as extension": (EXTENSIONS, {"Sec_WebSocket_Extensions": "x-two"}),
    "subprotocol": (PROTOCOL, {"Sec_WebSocket_Protocol": "mqtt"}),
    "subprotocol in upper case": (PROTOCOL, {"Sec_WebSocket_Protocol": "CHAT"}),
    "two subprotocols": (PROTOCOL, {"Sec_WebSocket_Protocol": "chat, superchat"}),
    "subprotocol twice": (
        PROTOCOL,
        {"more": ("Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Protocol: superchat")},
    ),
}


async def test_headers_that_break_the_handshake(net):
    for what, (name, answer) in HEADERS.items():
        make = answer if callable(answer) else functools.partial(answer_bytes, **answer)
        with row(what):
            error = await refused(net, WSInvalidHeaderError, make, **OFFER)
            assert error.name == name
            assert error.value == error.response.headers.get(name)


@pytest.mark.parametrize("header", [EXTENSIONS, PROTOCOL])
async def test_what_was_not_offered_cannot_be_chosen(net, header):
    name = header.replace("-", "_")
    error = await refused(
        net, WSInvalidHeaderError, lambda key: answer_bytes(key, **{name: "chat"})
    )
    assert (error.name, error.value) == (header, "chat")
