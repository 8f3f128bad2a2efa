"""The opening handshake as our client sees it: a scripted server, byte by byte."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import pytest
from helpers import EchoListener, Recorder
from raw import BINARY, TEXT, Never, RawServer, answer_bytes, row, soon

from picows_c import (
    WSHandshakeError,
    WSListener,
    WSUpgradeRequest,
    WSUpgradeResponse,
)
from picows_c.client import ClientProtocol

# ---- agreed ----

GOOD = {
    "odd phrase": {"first": "HTTP/1.1 101 Ja, \xfcbrigens \t!"},
    "empty phrase": {"first": "HTTP/1.1 101 "},
    "no phrase": {"first": "HTTP/1.1 101"},
    "token lists": {"Connection": "keep-alive,UPGRADE", "Upgrade": "x, WebSocket"},
    "repeated": {"more": ("Connection: keep-alive", "Upgrade: y")},
    "extra": {"more": ("Server: \xfc", "Set-Cookie: a=b", "Set-Cookie: c=d", "X-Empty:")},
    # They mean nothing (RFC 9112, 6.3).
    "no content": {"Content_Length": "0"},
    "a length": {"Content_Length": "5"},
    "no length": {"more": ("Content-Length: -0", "Content-Length: 7")},
    "a coding": {"Transfer_Encoding": "chunked"},
    "empty fields": {"more": ("Sec-WebSocket-Protocol:", "Sec-WebSocket-Extensions: ")},
    # RFC 9112, 5.2
    "folded": {"Connection": "keep-alive,\r\n\tUpgrade", "more": ("X: a \r\n \r\n  b", "Y:\r\n c")},
    "128 headers": {"more": tuple(f"X-{i}: y" for i in range(125))},
}


async def test_good_answers(net):
    async with RawServer(net) as server:
        for name, answer in GOOD.items():
            with row(name):
                connecting = asyncio.ensure_future(net.connect(Recorder))
                peer = await server.upgrade(**answer)
                transport, listener = await soon(connecting)
                if name == "folded":
                    headers = transport.response.headers
                    assert (headers["Connection"], headers["X"]) == ("keep-alive, Upgrade", "a b")
                    assert headers["Y"] == "c"
                assert transport.subprotocol is None
                assert isinstance(listener, Recorder)
                assert listener.events == ["connected"]
                assert listener.transport is transport
                assert transport.response.status is HTTPStatus.SWITCHING_PROTOCOLS
                assert transport.is_client_side is True
                assert transport.is_secure is (net.scheme == "wss")
                transport.send(TEXT, "hello")
                await peer.expect(TEXT, b"hello")
                transport.disconnect(False)
                await soon(transport.wait_disconnected())


EARLY = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
INTERIM = {
    "100": "HTTP/1.1 100 Continue\r\n\r\n",
    "103": EARLY,
    "unknown": "HTTP/1.1 199\r\nX: y\r\n\r\n",
    "with a length": "HTTP/1.1 103 x\r\nContent-Length: 5\r\n\r\n",
    "as many as may be": EARLY * 8,
    "as large as may be": "HTTP/1.1 100 " + "y" * (16384 - 146) + "\r\n\r\n",
}


async def test_interim_answers_are_passed_over(net):
    """RFC 9110, 15.2; whether they come with the final one, or before it."""
    async with RawServer(net) as server:
        for name, interim in INTERIM.items():
            for glued in (True, False):
                with row((name, glued)):
                    connecting = asyncio.ensure_future(net.connect(Recorder))
                    peer = await server.accept()
                    await peer.read_head()
                    answer = answer_bytes(peer.key)
                    assert len(answer) == 129
                    if glued:
                        peer.write(interim.encode(), answer, peer.frame(TEXT, b"hello"))
                    else:
                        peer.write(interim.encode()[:-200])
                        for byte in interim.encode()[-200:]:
                            peer.write(bytes([byte]))
                            await asyncio.sleep(0)
                        peer.write(answer, peer.frame(TEXT, b"hello"))
                    transport, listener = await soon(connecting)
                    assert transport.response.status == 101
                    assert "Link" not in transport.response.headers
                    assert bytes(await soon(listener.frames.get())) == b"hello"
                    transport.disconnect(False)
                    await soon(transport.wait_disconnected())


async def test_answer_in_single_bytes(net):
    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(net.connect(Recorder))
        peer = await server.accept()
        await peer.read_head()
        for byte in answer_bytes(peer.key) + peer.frame(TEXT, b"hello"):
            peer.write(bytes([byte]))
            await asyncio.sleep(0)
        transport, listener = await soon(connecting)
        assert bytes(await soon(listener.frames.get())) == b"hello"
        transport.disconnect(False)
        await soon(transport.wait_disconnected())


async def test_frames_glued_to_the_answer_come_after_on_ws_connected(net):
    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(net.connect(Recorder))
        peer = await server.accept()
        await peer.read_head()
        frames = peer.frame(TEXT, b"one") + peer.frame(BINARY, b"2" * 300) + peer.frame(TEXT, b"3")
        peer.write(answer_bytes(peer.key), frames[:-1])
        transport, listener = await soon(connecting)
        assert bytes(await soon(listener.frames.get())) == b"one"
        assert bytes(await soon(listener.frames.get())) == b"2" * 300
        peer.write(frames[-1:])
        assert bytes(await soon(listener.frames.get())) == b"3"
        assert listener.events == ["connected", "TEXT", "BINARY", "TEXT"]
        transport.disconnect(False)
        await soon(transport.wait_disconnected())


async def test_response_reaches_the_user(net):
    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(net.connect(Recorder))
        await server.upgrade(more=("X-Thing: one", "x-thing: \xe9"))
        transport, _ = await soon(connecting)
        assert transport.response.headers.getall("X-THING") == ["one", "\udce9"]
        assert transport.response.version == b"HTTP/1.1"
        assert transport.response.body is None
        assert transport.request.path == b"/"
        transport.disconnect(False)
        await soon(transport.wait_disconnected())


async def test_what_was_offered_may_be_chosen(net):
    offers = ["x-one; p=1", "x-two"]
    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(
            net.connect(Recorder, subprotocols=["a", "chat"], extensions=offers)
        )
        peer = await server.upgrade(
            Sec_WebSocket_Protocol="chat", Sec_WebSocket_Extensions="x-two; q=2"
        )
        assert peer.head[1]["sec-websocket-protocol"] == "a, chat"
        transport, _ = await soon(connecting)
        assert transport.response.headers["Sec-WebSocket-Protocol"] == "chat"
        transport.disconnect(False)
        await soon(transport.wait_disconnected())


# ---- no answer ----


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 101 Swit", b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n"]
)
async def test_peer_closes_before_the_answer_is_complete(net, answer):
    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(net.connect(Never()))
        peer = await server.accept()
        await peer.read_head()
        peer.write(answer)
        peer.writer.close()
        with pytest.raises(WSHandshakeError) as caught:
            await soon(connecting)
    assert type(caught.value) is WSHandshakeError


async def test_peer_resets(net):
    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(net.connect(Never()))
        peer = await server.accept()
        await peer.read_head()
        peer.reset()
        with pytest.raises(WSHandshakeError):
            await soon(connecting)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 101 Swit"])
async def test_handshake_timeout(net, answer):
    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(net.connect(Never(), websocket_handshake_timeout=0.05))
        peer = await server.accept()
        await peer.read_head()
        peer.write(answer)
        with pytest.raises(asyncio.TimeoutError, match="websocket handshake timeout"):
            await soon(connecting)
        await peer.gone()


async def test_timeout_ends_with_the_handshake(net):
    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(net.connect(Recorder, websocket_handshake_timeout=0.3))
        peer = await server.upgrade()
        transport, _ = await soon(connecting)
        with pytest.raises(asyncio.TimeoutError):
            await soon(net.connect(Never(), websocket_handshake_timeout=0.3))
        transport.send(TEXT, "still here")
        await peer.expect(TEXT, b"still here")
        transport.disconnect(False)
        await soon(transport.wait_disconnected())


async def test_cancel_closes_the_socket_and_nothing_happens_later(net):
    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(net.connect(Never()))
        peer = await server.accept()
        await peer.read_head()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(connecting)
        peer.write(answer_bytes(peer.key), peer.frame(TEXT, b"late"))
        await peer.gone()


async def test_cancel_when_the_answer_is_already_there(net):
    """The task is cancelled after the handshake succeeded, before ws_connect could return."""
    listener = Recorder()

    def factory():
        connecting.cancel()
        return listener

    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(net.connect(factory))
        peer = await server.upgrade()
        with pytest.raises(asyncio.CancelledError):
            await soon(connecting)
        await peer.gone()
        if listener.events:
            await soon(listener.disconnected.wait())


async def test_cancel_within_connection_made(net, monkeypatch):
    """Nothing is left behind where the connection stands, but ws_connect does not know it yet."""
    real = ClientProtocol.connection_made

    def cancels(self, transport):
        real(self, transport)
        connecting.cancel()

    monkeypatch.setattr(ClientProtocol, "connection_made", cancels)
    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(net.connect(Never()))
        with pytest.raises(asyncio.CancelledError):
            await soon(connecting)
        peer = await server.accept()
        await peer.gone()


# ---- the listener factory ----


class FactoryError(Exception):
    pass


async def made_by(net, factory):
    """Run ws_connect with this factory against a server that agrees."""
    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(net.connect(factory))
        peer = await server.upgrade()
        try:
            transport, listener = await soon(connecting)
        except Exception:
            await peer.gone()
            raise
        transport.disconnect(False)
        await soon(transport.wait_disconnected())
        return listener


async def test_factories(plain):
    calls = []

    class WithTwo(WSListener):
        def __init__(self, request, response):
            calls.append((request, response))

    def optional(request=None, response=None):
        calls.append((request, response))
        return WSListener()

    assert type(await made_by(plain, WSListener)) is WSListener
    assert type(await made_by(plain, EchoListener)) is EchoListener
    assert type(await made_by(plain, WithTwo)) is WithTwo
    assert type(await made_by(plain, optional)) is WSListener
    assert len(calls) == 2
    for request, response in calls:
        assert isinstance(request, WSUpgradeRequest)
        assert isinstance(response, WSUpgradeResponse)
        assert response.status == 101


async def test_factory_that_raises(net):
    calls = []

    def type_error(request=None, response=None):
        calls.append(2)
        raise TypeError("inside")

    def other_error():
        calls.append(0)
        raise FactoryError("inside")

    with pytest.raises(TypeError, match="inside"):
        await made_by(net, type_error)
    with pytest.raises(FactoryError, match="inside"):
        await made_by(net, other_error)
    assert calls == [2, 0]


@pytest.mark.parametrize("factory", [lambda: None, lambda: EchoListener, lambda a, b: "str"])
async def test_factory_that_returns_something_else(net, factory):
    with pytest.raises(TypeError, match="not a WSListener"):
        await made_by(net, factory)


@pytest.mark.parametrize("factory", [lambda a: WSListener(), lambda a, b, c: WSListener()])
async def test_factory_with_other_arguments(net, factory):
    with pytest.raises(TypeError, match="argument"):
        await made_by(net, factory)
