"""What is no Exception and leaves a callback: the same becomes of it as of one that is."""

from __future__ import annotations

import asyncio
import logging

import pytest
from helpers import Recorder
from raw import PING, PONG, ROLES, TEXT, RawServer, against, complaints, exchange, row, soon
from wire import request_bytes

from picows_c import WSDisconnectKind, WSMsgType


class Own(BaseException):
    """As test frameworks have them: pytest's fail() and skip() raise such."""


ERRORS = [asyncio.CancelledError, GeneratorExit, Own, pytest.fail.Exception]
CALLBACKS = [
    "on_ws_connected",
    "on_ws_frame",
    "on_ws_disconnected",
    "pause_writing",
    "resume_writing",
    "send_user_specific_ping",
    "is_user_specific_pong",
]
WATERMARKS = ["pause_writing", "resume_writing"]
ENDING = ["on_ws_connected", "on_ws_frame", "is_user_specific_pong", "send_user_specific_ping"]
# What the client's wait_disconnected() raises.
RAISED = ["on_ws_connected", "on_ws_frame", "is_user_specific_pong", "on_ws_disconnected"]


class Raising(Recorder):
    """Raises in one callback, and notes what on_ws_error() hears."""

    def __init__(self, where: str, error: BaseException) -> None:
        super().__init__()
        self.where, self.error = where, error
        self.heard: list = []

    def fail(self, where: str) -> None:
        if where == self.where:
            raise self.error

    def on_ws_connected(self, transport):
        super().on_ws_connected(transport)
        self.fail("on_ws_connected")

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        self.fail("on_ws_frame")

    def on_ws_disconnected(self, transport):
        super().on_ws_disconnected(transport)
        self.fail("on_ws_disconnected")

    def pause_writing(self):
        self.fail("pause_writing")

    def resume_writing(self):
        self.fail("resume_writing")

    def send_user_specific_ping(self, transport):
        self.fail("send_user_specific_ping")
        transport.send(WSMsgType.TEXT, "ping?")

    def is_user_specific_pong(self, frame):
        self.fail("is_user_specific_pong")
        return False

    def on_ws_error(self, transport, exc, where):
        self.heard.append((where, exc))
        if self.where == "on_ws_error":
            raise self.error


def options_for(where: str) -> dict:
    if where not in ("send_user_specific_ping", "is_user_specific_pong"):
        return {}
    reply = 0.01 if where == "send_user_specific_ping" else 60
    return {
        "enable_auto_ping": True,
        "auto_ping_idle_timeout": 0.01 if reply < 1 else reply,
        "auto_ping_reply_timeout": reply,
    }


async def provoke(peer, listener, where: str) -> None:
    """Have the callback called."""
    if where in WATERMARKS:
        for _ in range(16):
            listener.transport.send(WSMsgType.BINARY, bytes(1 << 20))
        for _ in range(16):
            await peer.next()
    elif where == "is_user_specific_pong":
        measuring = asyncio.ensure_future(listener.transport.measure_roundtrip_time(1))
        await peer.expect(TEXT, b"ping?")
        peer.send(TEXT, b"x")
        await asyncio.wait([measuring])
        assert isinstance(measuring.exception(), ConnectionResetError)
    elif where == "on_ws_frame":
        peer.write(peer.frame(TEXT, b"x"), peer.frame(TEXT, b"not delivered"))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("where", CALLBACKS)
async def test_from_each_callback(net, role, where):
    # (Whatever is sent to reach the watermarks takes its time.)
    for kind in ERRORS[:1] if where in WATERMARKS else ERRORS:
        with row(kind.__name__):
            await check_callback(net, role, where, kind("told"))


async def check_callback(net, role, where, error):
    listener = Raising(where, error)
    async with against(net, role, listener, **options_for(where)) as peer:
        waiting = asyncio.ensure_future(listener.transport.wait_disconnected())
        await provoke(peer, listener, where)
        if where in ENDING:
            await peer.expect_close(1011)
            assert await peer.rest() == b""
        elif where != "on_ws_disconnected":
            peer.send(PING, b"still there")
            await peer.expect(PONG, b"still there")
        peer.abort()
        (ended,) = await asyncio.gather(waiting, return_exceptions=True)
    raised = role == "client" and where in RAISED
    assert type(ended) is (type(error) if raised else type(None))
    assert listener.heard[0] == (where, error)
    assert len(listener.heard) == 1 or where in WATERMARKS
    assert listener.events.count("TEXT") == (where == "on_ws_frame")
    assert listener.events[-1] == "disconnected"
    cause = listener.transport.disconnect_cause
    if where in ENDING:
        assert (cause.kind, cause.initiator) == (WSDisconnectKind.LOCAL_ERROR, "local")
        assert cause.exception is error
    else:
        assert cause.initiator == "peer"


@pytest.mark.parametrize("role", ROLES)
async def test_without_disconnect_on_exception(net, role):
    for kind in ERRORS:
        listener = Raising("on_ws_frame", kind())
        async with against(net, role, listener, disconnect_on_exception=False) as peer:
            peer.write(peer.frame(TEXT, b"1"), peer.frame(TEXT, b"2"), peer.frame(PING, b"p"))
            await peer.expect(PONG, b"p")
        assert listener.heard == [("on_ws_frame", listener.error)] * 2
        assert listener.events == ["connected", "TEXT", "TEXT", "disconnected"]


@pytest.mark.parametrize("role", ROLES)
async def test_from_on_ws_error(net, role, caplog):
    class Worse(Raising):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            raise ValueError("first")

    for kind in ERRORS:
        caplog.clear()
        listener = Worse("on_ws_error", kind())
        async with against(net, role, listener) as peer:
            peer.send(TEXT, b"x")
            await peer.expect_close(1011)
            assert await peer.rest() == b""
            await soon(listener.disconnected.wait())
        assert isinstance(listener.transport.disconnect_cause.exception, ValueError)
        (record,) = complaints(caplog)
        assert record.exc_info[1] is listener.error


async def test_measuring_raises_it(plain):
    for kind in ERRORS:
        listener = Raising("send_user_specific_ping", kind())
        async with against(plain, "client", listener):
            measuring = asyncio.ensure_future(listener.transport.measure_roundtrip_time(1))
            await asyncio.wait([measuring])
            with pytest.raises(kind):
                measuring.result()
        assert listener.heard == []


@pytest.mark.parametrize("hook", ["factory", "chooser"])
async def test_from_what_a_server_asks(net, hook, caplog):
    """The peer gets a bare 500."""

    def fail(*_):
        raise error

    choose = {"subprotocols": fail} if hook == "chooser" else {}
    async with net.serve(fail if hook == "factory" else Recorder, **choose) as server:
        for kind in (*ERRORS, StopIteration):
            error = kind()
            caplog.clear()
            request = request_bytes(Sec_WebSocket_Protocol="a")
            first, _, body = await exchange(net, request)
            assert (first.split()[1], body) == ("500", b"")
            (record,) = complaints(caplog)
            assert (record.levelno, record.exc_info[1]) == (logging.ERROR, error)
            assert server.stats.open == 0


async def test_from_a_clients_factory(net):
    """ws_connect() raises it."""
    async with RawServer(net) as server:

        def fail():
            raise kind("mine")

        for kind in ERRORS:
            connecting = asyncio.ensure_future(net.connect(fail))
            peer = await server.upgrade()
            await peer.gone()
            await asyncio.wait([connecting])
            with pytest.raises(kind):
                connecting.result()


async def test_stop_iteration_of_a_clients_factory(net):
    """A coroutine cannot raise it: RuntimeError has it as its cause, as everywhere."""

    def fail():
        raise StopIteration

    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(net.connect(fail))
        peer = await server.upgrade()
        await peer.gone()
        with pytest.raises(RuntimeError, match="the listener factory raised StopIteration"):
            await soon(connecting)
