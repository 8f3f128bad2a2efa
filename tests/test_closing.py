"""The end of a connection: the closing handshake, in every order, and what it leaves."""

from __future__ import annotations

import asyncio

import pytest
from helpers import EchoListener, Recorder
from raw import BINARY, CLOSE, PING, PONG, ROLES, TEXT, against, close_payload, complaints, soon

from picows_c import WSCloseCode, WSMsgType


def told(handshake):
    """Put a WSCloseHandshake into plain words: (code, reason) received, sent, received first."""
    if handshake is None:
        return None

    def pair(info):
        return None if info is None else (info.code, info.reason)

    return pair(handshake.recv), pair(handshake.sent), handshake.recv_then_sent


# ---- both ends are ours ----


@pytest.mark.parametrize("starts", ["client", "server"])
async def test_closing_handshake_between_ours(net, starts):
    server_side, listeners = Recorder(), {}
    async with net.serve(lambda request: server_side):
        transport, client_side = await net.connect(Recorder)
        await soon(server_side.connected.wait())
        listeners = {"client": client_side, "server": server_side}
        other = listeners["server" if starts == "client" else "client"]
        listeners[starts].transport.send_close(WSCloseCode.GOING_AWAY, "bye")
        await soon(server_side.disconnected.wait())
        await soon(transport.wait_disconnected())
    for listener in listeners.values():
        assert listener.events == ["connected", "CLOSE", "disconnected"]
        assert listener.transport.is_close_frame_sent
        assert listener.transport.is_disconnected
    sent, echoed = (WSCloseCode.GOING_AWAY, "bye"), (WSCloseCode.GOING_AWAY, None)
    assert told(listeners[starts].transport.close_handshake) == (echoed, sent, False)
    assert told(other.transport.close_handshake) == (sent, echoed, True)


# ---- the peer closes ----


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("code", "reason"),
    [(None, b""), (1000, b""), (1000, b"bye"), (3000, b""), (4999, "\xfc".encode() * 61 + b"!")],
)
async def test_close_is_echoed_where_the_listener_does_not_answer(net, role, code, reason):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        transport = listener.transport
        peer.write(peer.close_frame(code, reason))
        await peer.expect_close(code, b"")
        frame = await soon(listener.frames.get())
        assert frame.get_close_code() == (code or WSCloseCode.NO_INFO)
        assert isinstance(frame.get_close_code(), WSCloseCode)
        assert frame.get_close_message() == (reason or None)
        assert frame.get_close_reason() == (reason.decode() or None)
        if role == "server":
            # The server closes TCP first, without waiting for us.
            assert await peer.rest() == b""
            peer.abort()
        else:
            peer.abort()
        await soon(transport.wait_disconnected())
    received = (code or 0, reason.decode() or None)
    assert told(transport.close_handshake) == (received, (code or 0, None), True)
    assert listener.events == ["connected", "CLOSE", "disconnected"]


@pytest.mark.parametrize("role", ROLES)
async def test_answer_of_the_listener(net, role):
    class Answering(Recorder):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            transport.send_close(WSCloseCode(3001), "own")

    listener = Answering()
    async with against(net, role, listener) as peer:
        peer.write(peer.close_frame(1000, b"why"))
        await peer.expect_close(3001, b"own")
        if role == "server":
            assert await peer.rest() == b""
    assert told(listener.transport.close_handshake) == ((1000, "why"), (3001, "own"), True)


@pytest.mark.parametrize("role", ROLES)
async def test_manual_style_of_the_seed(net, role):
    """What picows's examples do by hand: one CLOSE, and the end."""

    class Manual(Recorder):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            if frame.msg_type == WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code(), frame.get_close_message())
                transport.disconnect()

    listener = Manual()
    async with against(net, role, listener) as peer:
        peer.write(peer.close_frame(4000, b"reason"))
        await peer.expect_close(4000, b"reason")
        assert await peer.rest() == b""
    assert listener.events == ["connected", "CLOSE", "disconnected"]


@pytest.mark.parametrize("role", ROLES)
async def test_send_close_and_disconnect_in_a_callback(net, role):
    class Manual(Recorder):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()

    listener = Manual()
    async with against(net, role, listener) as peer:
        peer.write(peer.frame(TEXT, b"1"), peer.frame(TEXT, b"2"), peer.close_frame(1000))
        await peer.expect_close(1000, b"")
        assert await peer.rest() == b""
    assert listener.events == ["connected", "TEXT", "disconnected"]
    assert told(listener.transport.close_handshake) == (None, (1000, None), False)


# ---- who closes TCP ----


async def test_client_waits_for_the_server_to_close_tcp(plain):
    listener = Recorder()
    async with plain.serve(lambda request: EchoListener()):
        other, echo = await plain.connect(Recorder)
        async with against(plain, "client", listener) as peer:
            peer.write(peer.close_frame(1000))
            await peer.expect_close(1000)
            # The loop has turned more than often enough once these are answered.
            for _ in range(20):
                other.send(TEXT, "x")
                await soon(echo.frames.get())
            assert listener.events == ["connected", "CLOSE"]
            assert not peer.reader.at_eof()
            peer.writer.write_eof()
            assert await peer.rest() == b""
            await soon(listener.disconnected.wait())
        other.disconnect()
        await soon(other.wait_disconnected())


async def test_server_does_not_close_before_the_answer(plain):
    listener = Recorder()
    async with against(plain, "server", listener) as peer:
        listener.transport.send_close(1001, "later")
        await peer.expect_close(1001, b"later")
        for i in range(20):
            peer.send(PING, bytes([i]))
            await peer.expect(PONG, bytes([i]))
        peer.write(peer.close_frame(1001))
        assert await peer.rest() == b""
    assert listener.events == ["connected", "CLOSE", "disconnected"]


# ---- we close ----


@pytest.mark.parametrize("role", ROLES)
async def test_frames_are_delivered_until_the_answer(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        transport = listener.transport
        transport.send_close(1000, "done")
        assert told(transport.close_handshake) == (None, (1000, "done"), False)
        assert transport.is_close_frame_sent
        assert not transport.is_disconnected
        await peer.expect_close(1000, b"done")
        peer.write(peer.frame(TEXT, b"still"), peer.close_frame(1000, b"ok"))
        assert bytes(await soon(listener.frames.get())) == b"still"
        if role == "server":
            assert await peer.rest() == b""
        else:
            peer.writer.close()
        await soon(transport.wait_disconnected())
    assert listener.events == ["connected", "TEXT", "CLOSE", "disconnected"]
    assert told(transport.close_handshake) == ((1000, "ok"), (1000, "done"), False)


@pytest.mark.parametrize("role", ROLES)
async def test_both_close_at_once(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        peer.write(peer.close_frame(3001, b"mine"))
        listener.transport.send_close(3002, "yours")
        await peer.expect_close(3002, b"yours")
        if role == "server":
            assert await peer.rest() == b""
    assert told(listener.transport.close_handshake) == ((3001, "mine"), (3002, "yours"), False)
    assert listener.events == ["connected", "CLOSE", "disconnected"]


@pytest.mark.parametrize("role", ROLES)
async def test_pings_are_answered_until_the_peer_has_closed(plain, role):
    listener = Recorder()
    async with against(plain, role, listener) as peer:
        listener.transport.send_close(1000)
        await peer.expect_close(1000)
        peer.send(PING, b"before")
        await peer.expect(PONG, b"before")
        peer.write(peer.close_frame(1000), peer.frame(PING, b"after"))
        await soon(listener.frames.get())
        peer.writer.write_eof()
        assert await peer.rest() == b""
        await soon(listener.disconnected.wait())
    assert listener.events == ["connected", "CLOSE", "disconnected"]


@pytest.mark.parametrize("role", ROLES)
async def test_nothing_is_sent_after_close(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        transport = listener.transport
        transport.send_close(1000, "one")
        for call in (
            lambda: transport.send(WSMsgType.TEXT, "late"),
            lambda: transport.send(WSMsgType.BINARY, bytes(100_000)),
            lambda: transport.send(WSMsgType.CLOSE, close_payload(1001)),
            transport.send_ping,
            lambda: transport.send_pong(b"late"),
            lambda: transport.send_close(1001, "two"),
        ):
            assert call() is None
        assert told(transport.close_handshake) == (None, (1000, "one"), False)
        await peer.expect_close(1000, b"one")
        peer.write(peer.close_frame(1000))
        if role == "server":
            assert await peer.rest() == b""


@pytest.mark.parametrize("role", ROLES)
async def test_peer_that_never_answers_our_close(net, role):
    listener = Recorder()
    async with against(net, role, listener, close_timeout=0.05) as peer:
        listener.transport.send_close(1000)
        await soon(listener.disconnected.wait())
        assert await soon(listener.transport.wait_disconnected()) is None
        await peer.expect_close(1000)
        await peer.gone()
    assert listener.events == ["connected", "disconnected"]
    assert told(listener.transport.close_handshake) == (None, (1000, None), False)


async def test_server_that_never_closes_tcp(net):
    listener = Recorder()
    async with against(net, "client", listener, close_timeout=0.05) as peer:
        peer.write(peer.close_frame(1000))
        await peer.expect_close(1000)
        await soon(listener.disconnected.wait())
        assert await soon(listener.transport.wait_disconnected()) is None
        await peer.gone()
    assert listener.events == ["connected", "CLOSE", "disconnected"]


# ---- nothing is delivered any more ----


@pytest.mark.parametrize("role", ROLES)
async def test_nothing_is_delivered_after_close(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        peer.write(
            peer.frame(TEXT, b"before"),
            peer.close_frame(1000),
            peer.frame(TEXT, b"after"),
            peer.close_frame(1001),
            b"\xff\xff",
        )
        await peer.expect_close(1000)
        peer.send(BINARY, bytes(1000))
        if role == "server":
            assert await peer.rest() == b""
        else:
            peer.writer.close()
            await peer.gone()
        await soon(listener.disconnected.wait())
    assert listener.events == ["connected", "TEXT", "CLOSE", "disconnected"]
    assert told(listener.transport.close_handshake)[0] == (1000, None)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("graceful", [True, False])
async def test_nothing_is_delivered_after_disconnect(net, role, graceful):
    class Leaving(Recorder):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            transport.disconnect(graceful)
            transport.disconnect(graceful)

    listener = Leaving()
    async with against(net, role, listener) as peer:
        peer.write(*(peer.frame(TEXT, b"x") for _ in range(3)), peer.close_frame(1000))
        peer.send(PING, b"x")
        await peer.gone()
        await soon(listener.disconnected.wait())
    assert listener.events == ["connected", "TEXT", "disconnected"]
    assert listener.transport.close_handshake is None


@pytest.mark.parametrize("role", ROLES)
async def test_disconnect_outside_a_callback(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        peer.write(*(peer.frame(TEXT, b"x") for _ in range(3)))
        listener.transport.send(TEXT, "last")
        listener.transport.disconnect()
        assert not listener.transport.is_disconnected
        await peer.expect(TEXT, b"last")
        assert await peer.rest() == b""
        peer.writer.close()
        await soon(listener.disconnected.wait())
    assert listener.events == ["connected", "disconnected"]


@pytest.mark.parametrize("role", ROLES)
async def test_orderly_and_disorderly_ends_of_the_peer(net, role, caplog):
    for end in ("abort", "reset"):
        listener = Recorder()
        async with against(net, role, listener) as peer:
            peer.send(TEXT, b"x")
            await soon(listener.frames.get())
            getattr(peer, end)()
            await soon(listener.disconnected.wait())
            assert await soon(listener.transport.wait_disconnected()) is None
        assert listener.events == ["connected", "TEXT", "disconnected"]
        assert listener.transport.close_handshake is None
        assert listener.transport.is_close_frame_sent is False
    assert complaints(caplog) == []


async def test_end_of_stream_within_a_frame(net):
    listener = Recorder()
    async with against(net, "server", listener) as peer:
        peer.write(peer.frame(TEXT, b"whole"), peer.frame(TEXT, b"cut off")[:-3])
        peer.writer.close()
        await soon(listener.disconnected.wait())
    assert listener.events == ["connected", "TEXT", "disconnected"]


async def test_half_closed_peer_still_gets_what_waits(plain):
    """A WebSocket is never half-closed: the end of the peer's stream ends ours, behind our data."""
    listener = Recorder()
    async with against(plain, "server", listener) as peer:
        listener.transport.send(BINARY, bytes(16 << 20))
        peer.writer.write_eof()
        await asyncio.sleep(0)
        got = await peer.next()
        assert len(got.payload) == 16 << 20
        assert await peer.rest() == b""
        await soon(listener.disconnected.wait())


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("payload", [b"", close_payload(1001), close_payload(3000, b"why")])
async def test_send_of_a_packed_close(net, role, payload):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        listener.transport.send(WSMsgType.CLOSE, payload)
        got = await peer.next()
        assert (got.opcode, got.payload) == (CLOSE, payload)
        peer.write(peer.frame(CLOSE, payload))
        await soon(listener.frames.get())
    code = int.from_bytes(payload[:2], "big")
    sent = listener.transport.close_handshake.sent
    assert (sent.code, sent.reason) == (code, payload[2:].decode() or None)
