"""Exceptions of callbacks: what the peer is told, what is logged, what wait_disconnected() says."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest
from conftest import new_loop
from helpers import Recorder, client_frame, request_bytes
from raw import BINARY, CONTINUATION, PING, PONG, ROLES, TEXT, against, complaints, row, soon

from picows_c import (
    WSListener,
    WSMsgType,
    WSProtocolError,
    ws_create_server,
)


class Failing(Recorder):
    """Raises in one callback what it was given."""

    def __init__(self, where: str, error: BaseException) -> None:
        super().__init__()
        self.where = where
        self.error = error

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


LONG = "\u20ac" * 300
# What is raised, and what the peer is told.
ERRORS = {
    "RuntimeError": (lambda: RuntimeError("secret"), 1011, b""),
    "OSError": (lambda: ConnectionResetError("secret"), 1011, b""),
    "TimeoutError": (asyncio.TimeoutError, 1011, b""),
    "decoding": (lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "secret"), 1011, b""),
    "own code": (lambda: WSProtocolError(3005, "own reason"), 3005, b"own reason"),
    "no reason": (lambda: WSProtocolError(1008, ""), 1008, b""),
    "long reason": (lambda: WSProtocolError(1008, LONG), 1008, LONG.encode()[:123]),
    "odd reason": (lambda: WSProtocolError(4999, "x" + LONG), 4999, b"x" + LONG.encode()[:120]),
    "surrogate": (lambda: WSProtocolError(1008, "a\ud800b"), 1008, b"a?b"),
    "code 1005": (lambda: WSProtocolError(1005, "x"), 1011, b""),
    "code 999": (lambda: WSProtocolError(999, "x"), 1011, b""),
    "code 0 with a reason": (lambda: WSProtocolError(0, "x"), 1011, b""),
    "huge code": (lambda: WSProtocolError(1 << 70, "x"), 1011, b""),
    "negative code": (lambda: WSProtocolError(-1, "x"), 1011, b""),
    "code that is no number": (lambda: WSProtocolError("1008", "x"), 1011, b""),
    "code None": (lambda: WSProtocolError(None, "x"), 1011, b""),
}


async def fails_with(net, role, caplog, where, name, **options):
    """Let a callback raise; check the end of the connection, and where the error can be seen."""
    make, code, reason = ERRORS[name]
    error = make()
    listener = Failing(where, error)
    async with against(net, role, listener, **options) as peer:
        peer.write(*(peer.frame(TEXT, b"x") for _ in range(3)))
        await peer.expect_close(code, reason)
        assert await peer.rest() == b""
        await soon(listener.disconnected.wait())
        wait = soon(listener.transport.wait_disconnected())
        if role == "server":
            assert await wait is None
        else:
            with pytest.raises(type(error)) as caught:
                await wait
            assert caught.value is error
    frames = ["TEXT"] if where == "on_ws_frame" else []
    assert listener.events == ["connected", *frames, "disconnected"]
    records = complaints(caplog)
    assert {record.levelno for record in records} == {logging.ERROR}
    assert where in records[0].message
    if role == "server":
        assert records[0].exc_info[1] is error


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("where", ["on_ws_connected", "on_ws_frame"])
async def test_exceptions(net, role, caplog, where):
    for name in ERRORS:
        caplog.clear()
        with row(name):
            await fails_with(net, role, caplog, where, name)


@pytest.mark.parametrize("role", ROLES)
async def test_what_ends_the_connection_all_the_same(net, role, caplog):
    """disconnect_on_exception is for on_ws_frame, and not for WSProtocolError."""
    option = {"disconnect_on_exception": False}
    await fails_with(net, role, caplog, "on_ws_connected", "RuntimeError", **option)
    caplog.clear()
    await fails_with(net, role, caplog, "on_ws_frame", "own code", **option)


@pytest.mark.parametrize("role", ROLES)
async def test_without_disconnect_on_exception(net, role, caplog):
    error = RuntimeError("only logged")
    listener = Failing("on_ws_frame", error)
    async with against(net, role, listener, disconnect_on_exception=False) as peer:
        for count in (1, 2, 3):
            peer.write(*(peer.frame(TEXT, b"x") for _ in range(count)), peer.frame(PING, b"p"))
            await peer.expect(PONG, b"p")
        assert listener.events == ["connected"] + ["TEXT"] * 6
        records = complaints(caplog)
        assert [(r.levelno, r.exc_info[1]) for r in records] == [(logging.ERROR, error)] * 6
        peer.write(peer.close_frame(1000))
        await peer.expect_close(1000)
        peer.abort()
        # What did not end the connection is not what ended it.
        assert await soon(listener.transport.wait_disconnected()) is None


@pytest.mark.parametrize("role", ROLES)
async def test_exception_on_close(net, role, caplog):
    """The CLOSE is answered with 1011 then, and the end is the same."""
    listener = Failing("on_ws_frame", RuntimeError("in CLOSE"))
    async with against(net, role, listener) as peer:
        peer.write(peer.close_frame(1000, b"bye"))
        await peer.expect_close(1011, b"")
        assert await peer.rest() == b""
    assert listener.events == ["connected", "CLOSE", "disconnected"]
    handshake = listener.transport.close_handshake
    assert (handshake.recv.code, handshake.sent.code) == (1000, 1011)


@pytest.mark.parametrize("role", ROLES)
async def test_exception_after_disconnect_in_the_same_callback(net, role, caplog):
    class Leaving(Failing):
        def on_ws_frame(self, transport, frame):
            transport.send(WSMsgType.TEXT, "last")
            transport.disconnect()
            super().on_ws_frame(transport, frame)

    listener = Leaving("on_ws_frame", RuntimeError("too late"))
    async with against(net, role, listener) as peer:
        peer.write(peer.frame(TEXT, b"x"), peer.frame(TEXT, b"x"))
        await peer.expect(TEXT, b"last")
        assert await peer.rest() == b""
        await soon(listener.disconnected.wait())
    assert listener.events == ["connected", "TEXT", "disconnected"]
    assert len(complaints(caplog)) == 1


@pytest.mark.parametrize("role", ROLES)
async def test_exception_in_on_ws_disconnected(net, role, caplog):
    error = RuntimeError("at the end")
    listener = Failing("on_ws_disconnected", error)
    async with against(net, role, listener) as peer:
        waiting = asyncio.ensure_future(listener.transport.wait_disconnected())
        peer.abort()
        await soon(listener.disconnected.wait())
        if role == "server":
            assert await soon(waiting) is None
        else:
            with pytest.raises(RuntimeError, match="at the end"):
                await soon(waiting)
    (record,) = complaints(caplog)
    assert "on_ws_disconnected" in record.message
    if role == "server":
        assert record.exc_info[1] is error


async def test_first_exception_is_kept_and_the_second_is_logged(net, caplog):
    class Both(Failing):
        def on_ws_disconnected(self, transport):
            super().on_ws_disconnected(transport)
            raise ValueError("second")

    listener = Both("on_ws_frame", RuntimeError("first"))
    async with against(net, "client", listener) as peer:
        peer.send(TEXT, b"x")
        await peer.expect_close(1011)
        peer.abort()
        with pytest.raises(RuntimeError, match="first"):
            await soon(listener.transport.wait_disconnected())
    assert any(r.exc_info and "second" in str(r.exc_info[1]) for r in complaints(caplog))


# ---- what is no text ----


def by_getter(transport, frame):
    frame.get_payload_as_utf8_text()


def by_ascii_getter(transport, frame):
    frame.get_payload_as_ascii_text()


def by_hand(transport, frame):
    frame.get_payload_as_bytes().decode()


def caught(transport, frame):
    with pytest.raises(UnicodeDecodeError):
        frame.get_payload_as_utf8_text()
    raise RuntimeError("something else")


NO_TEXT = [
    (TEXT, by_getter, 1007),
    (TEXT, by_hand, 1011),
    (TEXT, by_ascii_getter, 1011),
    (TEXT, caught, 1011),
    (BINARY, by_getter, 1011),
    (CONTINUATION, by_getter, 1011),
]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("size", [2, 200])
async def test_close_code_for_what_is_no_text(plain, role, size):
    for opcode, read, code in NO_TEXT:
        with row((opcode, read.__name__)):
            await check_no_text(plain, role, size, opcode, read, code)


async def check_no_text(plain, role, size, opcode, read, code):
    class Reading(Recorder):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            read(transport, frame)

    listener = Reading()
    async with against(plain, role, listener) as peer:
        if opcode == CONTINUATION:
            listener.on_ws_frame = lambda transport, frame: listener.__dict__.pop("on_ws_frame")
            peer.send(TEXT, b"good", fin=False)
        peer.write(peer.frame(opcode, b"a" * size + b"\xff"), peer.frame(TEXT, b"good"))
        await peer.expect_close(code)
        assert await peer.rest() == b""
    assert len(listener.events) == 3
    if role == "client":
        error = UnicodeDecodeError if read is not caught else RuntimeError
        with pytest.raises(error):
            await listener.transport.wait_disconnected()


async def test_a_frame_is_not_blamed_for_another_one(plain):
    """The first text was bad, and forgiven; a decoding error in the next callback is another."""

    class Forgiving(Recorder):
        def on_ws_frame(self, transport, frame):
            self.events.append(frame.msg_type.name)
            if len(self.events) == 2:
                with pytest.raises(UnicodeDecodeError):
                    frame.get_payload_as_utf8_text()
            else:
                b"\xff".decode()

    listener = Forgiving()
    async with against(plain, "server", listener) as peer:
        peer.write(peer.frame(TEXT, b"\xff"), peer.frame(TEXT, b"good"))
        await peer.expect_close(1011)


async def test_kept_text_that_is_read_too_late(plain):
    class Late(Recorder):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            if self.frames.qsize() == 2:
                self.frames.get_nowait().get_payload_as_utf8_text()

    listener = Late()
    async with against(plain, "server", listener) as peer:
        peer.write(peer.frame(TEXT, b"\xff"), peer.frame(TEXT, b"good"))
        await peer.expect_close(1011)


# ---- what is no Exception ----


@pytest.mark.parametrize("where", ["on_ws_connected", "on_ws_frame", "on_ws_disconnected"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_base_exceptions_are_not_swallowed(loop_kind, caplog, where, error):
    """asyncio lets them out of run_until_complete; uvloop tells its exception handler of some."""
    loop = new_loop(loop_kind)
    handled = []
    loop.set_exception_handler(lambda _, context: handled.append(context.get("exception")))
    listener = Failing(where, error("stop"))

    async def main() -> None:
        server = await ws_create_server(lambda request: listener, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            writer.write(request_bytes() + client_frame(TEXT, b"x") + client_frame(TEXT, b"y"))
            await reader.readuntil(b"\r\n\r\n")
            if where == "on_ws_disconnected":
                writer.transport.abort()
            await soon(listener.disconnected.wait())
        finally:
            writer.transport.abort()
            server.close()

    async def after() -> None:
        await soon(listener.disconnected.wait())
        await asyncio.sleep(0)

    raised = None
    task = loop.create_task(main())
    try:
        try:
            loop.run_until_complete(task)
        except error as exception:
            raised = exception
            # The loop was only stopped, perhaps twice (uvloop); let it go on to the end.
            task.cancel()
            for _ in range(10):
                with contextlib.suppress(RuntimeError, asyncio.CancelledError):
                    loop.run_until_complete(task)
                if task.done():
                    break
        loop.run_until_complete(after())
    finally:
        loop.close()
    assert listener.error in [raised, *handled]
    if loop_kind == "asyncio":
        assert raised is listener.error
    if where == "on_ws_frame":
        assert listener.events.count("TEXT") == 1
    assert listener.events[-1] == "disconnected"
    assert complaints(caplog) == []


# ---- callbacks that cannot be called ----


@pytest.mark.parametrize("value", [None, 5, lambda: None, lambda transport: None])
async def test_on_ws_frame_that_cannot_be_called(plain, value):
    listener = Recorder()
    listener.on_ws_frame = value
    async with against(plain, "client", listener) as peer:
        peer.send(TEXT, b"x")
        await peer.expect_close(1011)
        peer.abort()
        with pytest.raises(TypeError):
            await soon(listener.transport.wait_disconnected())


async def test_default_listener_does_nothing(net):
    async with net.serve(lambda request: WSListener()):
        transport, listener = await net.connect(WSListener)
        for message in (b"", b"x" * 1000):
            transport.send(WSMsgType.BINARY, message)
            transport.send_ping(message[:10])
        transport.send_close(1000)
        assert await soon(transport.wait_disconnected()) is None
        assert type(listener) is WSListener
        assert transport.close_handshake.recv.code == 1000
