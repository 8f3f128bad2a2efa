"""transport.disconnect_cause: who ended a connection, and why."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import pickle

import pytest
from helpers import Recorder
from raw import PING, ROLES, TEXT, against, soon

from picows_c import (
    WSCloseCode,
    WSDisconnectCause,
    WSDisconnectKind,
    WSListener,
    WSMsgType,
    WSProtocolError,
)

Kind = WSDisconnectKind


class Causes(Recorder):
    """Notes the cause as it is known inside the last callback."""

    seen = None

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        if frame.msg_type == WSMsgType.TEXT:
            self.act(transport, frame.get_payload_as_bytes())

    def act(self, transport, word):
        if word == b"raise":
            raise RuntimeError("secret")
        if word == b"protocol error":
            raise WSProtocolError(3001, "not like this")
        if word == b"close":
            transport.send_close(WSCloseCode.GOING_AWAY, "bye")
        if word == b"disconnect":
            transport.disconnect()
        if word == b"abort":
            transport.disconnect(False)
        if word == b"close and disconnect":
            transport.send_close(3500)
            transport.disconnect()

    def on_ws_disconnected(self, transport):
        self.seen = transport.disconnect_cause
        super().on_ws_disconnected(transport)


async def answer_close(peer, code):
    await peer.expect_close(code)
    peer.write(peer.close_frame(code))


async def peer_close(peer):
    peer.write(peer.close_frame(3003, b"enough"))
    await peer.expect_close(3003)


async def peer_close_without_code(peer):
    peer.write(peer.close_frame(None))
    await peer.expect_close(None)


async def peer_eof(peer):
    peer.writer.close()


async def peer_reset(peer):
    peer.reset()


async def broken_frame(peer):
    peer.send(3, b"")
    await peer.expect_close(1002)


async def tell(peer, word, code=None):
    peer.send(TEXT, word)
    if code is not None:
        await peer.expect_close(code)


async def told_to_close(peer):
    peer.send(TEXT, b"close")
    await answer_close(peer, 1001)


async def told_to_close_but_gone(peer):
    peer.send(TEXT, b"close")
    await peer.expect_close(1001)
    peer.writer.close()


CASES = {
    "peer's CLOSE": (peer_close, Kind.PEER_CLOSE, "peer", 3003, "enough", None),
    "peer's empty CLOSE": (peer_close_without_code, Kind.PEER_CLOSE, "peer", 0, None, None),
    "EOF": (peer_eof, Kind.EOF, "peer", None, None, None),
    "protocol error": (
        broken_frame, Kind.PROTOCOL_ERROR, "local", 1002, ..., WSProtocolError,
    ),
    "our CLOSE": (told_to_close, Kind.LOCAL_CLOSE, "local", 1001, "bye", None),
    "our CLOSE, then EOF": (
        told_to_close_but_gone, Kind.LOCAL_CLOSE, "local", 1001, "bye", None,
    ),
    "disconnect()": (
        lambda p: tell(p, b"disconnect"), Kind.LOCAL_DISCONNECT, "local", None, None, None,
    ),
    "disconnect(False)": (
        lambda p: tell(p, b"abort"), Kind.LOCAL_DISCONNECT, "local", None, None, None,
    ),
    "CLOSE, then disconnect()": (
        lambda p: tell(p, b"close and disconnect", 3500),
        Kind.LOCAL_CLOSE, "local", 3500, None, None,
    ),
    "exception": (
        lambda p: tell(p, b"raise", 1011), Kind.LOCAL_ERROR, "local", 1011, None, RuntimeError,
    ),
    "WSProtocolError": (
        lambda p: tell(p, b"protocol error", 3001),
        Kind.LOCAL_ERROR, "local", 3001, "not like this", WSProtocolError,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("role", ROLES)
async def test_cause(net, role, name, caplog):
    act, kind, initiator, code, reason, error = CASES[name]
    listener = Causes()
    async with against(net, role, listener) as peer:
        await act(peer)
        if role == "client" and kind in (Kind.PEER_CLOSE, Kind.LOCAL_CLOSE):
            peer.writer.close()  # a client waits for the server to do that
        elif kind is not Kind.EOF:
            await peer.gone()
        await soon(listener.disconnected.wait())
        cause = listener.seen
        assert cause is listener.transport.disconnect_cause
        assert (cause.kind, cause.initiator, cause.code) == (kind, initiator, code)
        assert code is None or isinstance(cause.code, WSCloseCode)
        assert reason is ... or cause.reason == reason
        assert cause.exception is None if error is None else type(cause.exception) is error
    caplog.clear()


@pytest.mark.parametrize("role", ROLES)
async def test_cause_of_a_reset(plain, role):
    listener = Causes()
    async with against(plain, role, listener) as peer:
        peer.reset()
        await soon(listener.disconnected.wait())
        cause = listener.seen
        assert (cause.kind, cause.initiator) == (Kind.RESET, "peer")
        assert isinstance(cause.exception, ConnectionError)


@pytest.mark.parametrize("role", ROLES)
async def test_cause_of_a_close_timeout(net, role):
    listener = Causes()
    async with against(net, role, listener, close_timeout=0.1) as peer:
        listener.transport.send_close(WSCloseCode.OK, "and wait")
        await peer.expect_close(1000)
        await soon(listener.disconnected.wait())
        cause = listener.seen
        assert (cause.kind, cause.initiator) == (Kind.CLOSE_TIMEOUT, "local")
        assert (cause.code, cause.reason) == (1000, "and wait")


async def test_cause_of_a_server_that_drops_its_clients(net):
    for graceful in (True, False):
        listener = Causes()
        async with net.serve(lambda request, it=listener: it) as server:
            await net.connect(WSListener)
            await soon(listener.connected.wait())
            assert listener.transport.disconnect_cause is None
            if graceful:
                server.close_clients()
            else:
                server.abort_clients()
            await soon(listener.disconnected.wait())
        assert listener.seen == WSDisconnectCause(Kind.LOCAL_DISCONNECT, "local")


async def test_the_first_cause_wins(plain):
    """A peer that has sent its CLOSE and vanishes is one that closed."""
    listener = Causes()
    async with against(plain, "server", listener) as peer:
        peer.write(peer.close_frame(1000), peer.frame(PING))
        peer.reset()
        await soon(listener.disconnected.wait())
        # The reset may have destroyed the CLOSE on its way.
        assert listener.seen.kind in (Kind.PEER_CLOSE, Kind.RESET)
        first = listener.seen
        listener.transport.disconnect()
        listener.transport.send_close(3000)
        assert listener.transport.disconnect_cause is first


def test_a_cause_is_frozen():
    cause = WSDisconnectCause(Kind.EOF, "peer")
    with pytest.raises(dataclasses.FrozenInstanceError):
        cause.kind = Kind.RESET
    assert cause == WSDisconnectCause(Kind.EOF, "peer", None, None, None)
    assert pickle.loads(pickle.dumps(cause)) == cause
    assert isinstance(Kind.EOF, int)


# ---- on_ws_error ----


class Hooked(Recorder):
    """Raises where it is told to, and notes what on_ws_error() hears."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where
        self.heard: list[tuple[str, str]] = []
        self.alive: list[bool] = []

    def _fail(self, where):
        if self.where == where:
            raise ValueError(where)

    def on_ws_connected(self, transport):
        super().on_ws_connected(transport)
        self._fail("on_ws_connected")

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        self._fail("on_ws_frame")

    def on_ws_disconnected(self, transport):
        super().on_ws_disconnected(transport)
        self._fail("on_ws_disconnected")

    def pause_writing(self):
        self._fail("pause_writing")

    def resume_writing(self):
        self._fail("resume_writing")

    def on_ws_error(self, transport, exc, where):
        assert transport is self.transport
        self.heard.append((str(exc), where))
        self.alive.append(transport.disconnect_cause is None)


@pytest.mark.parametrize(
    "where",
    ["on_ws_connected", "on_ws_frame", "on_ws_disconnected", "pause_writing", "resume_writing"],
)
@pytest.mark.parametrize("role", ROLES)
async def test_each_exception_reaches_the_hook(plain, role, where, caplog):
    caplog.set_level(logging.ERROR)
    listener = Hooked(where)
    async with against(plain, role, listener) as peer:
        if where in ("pause_writing", "resume_writing"):
            for _ in range(20):
                listener.transport.send(WSMsgType.BINARY, bytes(1 << 20))
            for _ in range(20):
                await peer.next()
        elif where == "on_ws_frame":
            peer.send(TEXT, b"x")
            await peer.expect_close(1011)
    assert set(listener.heard) == {(where, where)}
    # Before the end where it ends the connection, as the last thing otherwise.
    assert all(listener.alive) or where == "on_ws_disconnected"
    # Whoever overrides it decides what is logged.
    assert not caplog.records


@pytest.mark.parametrize("role", ROLES)
async def test_an_exception_that_does_not_end_the_connection(plain, role):
    listener = Hooked("on_ws_frame")
    async with against(plain, role, listener, disconnect_on_exception=False) as peer:
        peer.send(TEXT, b"1")
        peer.send(TEXT, b"2")
        peer.send(PING, b"still there")
        await peer.next()
        assert listener.heard == [("on_ws_frame", "on_ws_frame")] * 2
        assert listener.transport.disconnect_cause is None


@pytest.mark.parametrize("role", ROLES)
async def test_a_hook_that_raises(plain, role, caplog):
    class Worse(Hooked):
        def on_ws_error(self, transport, exc, where):
            raise RuntimeError("worse")

    listener = Worse("on_ws_frame")
    async with against(plain, role, listener) as peer:
        peer.send(TEXT, b"x")
        await peer.expect_close(1011)
        peer.abort()
        await soon(listener.disconnected.wait())
    texts = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert texts == ["worse"]
    caplog.clear()


async def test_the_default_hook_can_be_called_from_ones_own(plain, caplog):
    class Both(Hooked):
        def on_ws_error(self, transport, exc, where):
            super().on_ws_error(transport, exc, where)
            WSListener.on_ws_error(self, transport, exc, where)

    listener = Both("on_ws_frame")
    async with against(plain, "server", listener) as peer:
        peer.send(TEXT, b"x")
        await peer.expect_close(1011)
        peer.abort()
        await soon(listener.disconnected.wait())
    assert len([record for record in caplog.records if record.exc_info]) == 1
    assert listener.heard == [("on_ws_frame", "on_ws_frame")]
    caplog.clear()
    # Nothing to say once the connection has gone.
    WSListener.on_ws_error(listener, listener.transport, ValueError(), "later")
    assert not caplog.records
    await asyncio.sleep(0)
