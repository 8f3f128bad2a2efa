"""What callbacks may do: send, close, collect garbage, replace themselves; writing that pauses."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref

import pytest
from helpers import Recorder
from raw import (
    BINARY,
    PING,
    PONG,
    ROLES,
    TEXT,
    RawServer,
    against,
    complaints,
    pattern,
    soon,
    upgraded,
)

from picows_c import WSListener, WSMsgType

MIB = 1 << 20


# ---- reentrance ----


class Doing(Recorder):
    """Does something with the transport at each frame, and sends a reply around it."""

    def __init__(self, what) -> None:
        super().__init__()
        self.what = what

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        transport.send(WSMsgType.TEXT, "before")
        self.what(transport, frame)
        transport.send(WSMsgType.TEXT, "after")


ENDS = {
    "send_close": lambda transport, frame: transport.send_close(1000, "end"),
    "disconnect": lambda transport, frame: transport.disconnect(),
    "disconnect(False)": lambda transport, frame: transport.disconnect(False),
    "close and disconnect": lambda transport, frame: (
        transport.send_close(1000, "end"),
        transport.disconnect(),
        transport.disconnect(False),
    ),
    "underlying close": lambda transport, frame: (
        transport.underlying_transport.is_closing() or transport.underlying_transport.close()
    ),
    "underlying abort": lambda transport, frame: transport.underlying_transport.abort(),
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("end", ENDS)
async def test_callbacks_that_end_the_connection(net, role, end):
    listener = Doing(ENDS[end])
    async with against(net, role, listener) as peer:
        peer.write(peer.frame(BINARY, pattern(300)), peer.close_frame(1000))
        if "close" in end and "underlying" not in end:
            await peer.expect(TEXT, b"before")
            await peer.expect_close(1000, b"end")
            peer.abort()
        await peer.gone()
        await soon(listener.disconnected.wait())
    assert listener.events[:2] == ["connected", "BINARY"]
    assert listener.events.count("disconnected") == 1
    assert bytes(listener.frames.get_nowait()) == pattern(300)


def collect(transport, frame):
    gc.collect()


def replies(transport, frame):
    for i in range(100):
        transport.send(WSMsgType.BINARY, bytes(i))
        transport.send_ping(bytes(i))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("what", "between"), [(collect, 0), (replies, 200)])
async def test_callbacks_that_go_on(net, role, what, between):
    listener = Doing(what)
    async with against(net, role, listener) as peer:
        peer.write(*(peer.frame(BINARY, pattern(size)) for size in (0, 128, 129, 5000)))
        for _ in range(4):
            await peer.expect(TEXT, b"before")
            for i in range(between):
                await peer.expect(PING if i % 2 else BINARY, bytes(i // 2))
            await peer.expect(TEXT, b"after")
    assert listener.events == ["connected"] + ["BINARY"] * 4 + ["disconnected"]


@pytest.mark.parametrize("role", ROLES)
async def test_a_callback_that_is_replaced_takes_effect_at_once(net, role):
    class Changing(Recorder):
        def on_ws_frame(self, transport, frame):
            self.events.append(f"class {bytes(frame).decode()}")
            self.on_ws_frame = self.second

        def second(self, transport, frame):
            self.events.append(f"second {bytes(frame).decode()}")
            del self.on_ws_frame
            type(self).on_ws_frame = Changing.third

        def third(self, transport, frame):
            self.events.append(f"third {bytes(frame).decode()}")
            self.frames.put_nowait(frame)

    listener = Changing()
    async with against(net, role, listener) as peer:
        peer.write(*(peer.frame(TEXT, b"%d" % i) for i in range(4)))
        await soon(listener.frames.get())
        await soon(listener.frames.get())
    assert listener.events == [
        "connected",
        "class 0",
        "second 1",
        "third 2",
        "third 3",
        "disconnected",
    ]


async def test_nobody_else_holds_the_listener(net):
    """The connection keeps its listener and transport alive, and lets them go at its end."""
    alive = []

    class Lonely(WSListener):
        def on_ws_connected(self, transport):
            alive.extend([weakref.ref(self), weakref.ref(transport)])

        def on_ws_frame(self, transport, frame):
            del self
            gc.collect()
            transport.send(frame.msg_type, frame)

    async with net.serve(lambda request: Lonely()):
        peer = await upgraded(net)
        for text in (b"one", b"two"):
            gc.collect()
            peer.send(TEXT, text)
            await peer.expect(TEXT, text)
        assert all(ref() is not None for ref in alive)
        peer.write(peer.close_frame(1000))
        await peer.expect_close(1000)
        assert await peer.rest() == b""

        async def until_gone() -> None:
            while any(ref() is not None for ref in alive):
                await asyncio.sleep(0)
                gc.collect()

        await soon(until_gone())


async def test_client_whose_user_keeps_nothing(net):
    heard = asyncio.Queue()

    class Client(WSListener):
        def on_ws_frame(self, transport, frame):
            heard.put_nowait(bytes(frame))

    async with RawServer(net) as server:

        async def connect() -> None:
            await net.connect(Client)

        connecting = asyncio.ensure_future(connect())
        peer = await server.upgrade()
        await soon(connecting)
        for text in (b"one", b"two"):
            gc.collect()
            peer.send(TEXT, text)
            assert await soon(heard.get()) == text
        peer.write(peer.close_frame(1000))
        await peer.expect_close(1000)
        peer.abort()


# ---- writing that pauses ----


class Watermarks(Recorder):
    """Hears of both watermarks, and does something at the high one."""

    def __init__(self, what=None) -> None:
        super().__init__()
        self.what = what
        self.resumed = asyncio.Event()
        self.waiting = None

    def pause_writing(self):
        self.events.append("pause")
        self.waiting = self.transport.underlying_transport.get_write_buffer_size()
        if self.what is not None:
            self.what(self.transport)

    def resume_writing(self):
        self.events.append("resume")
        self.resumed.set()


@pytest.mark.parametrize("role", ROLES)
async def test_pause_and_resume(net, role, caplog):
    listener = Watermarks()
    async with against(net, role, listener) as peer:
        transport, sent = listener.transport, 0
        low, high = transport.underlying_transport.get_write_buffer_limits()
        for _ in range(2):
            listener.resumed.clear()
            already = listener.events.count("pause")
            while listener.events.count("pause") == already:
                transport.send(WSMsgType.BINARY, bytes(MIB))
                sent += 1
            assert listener.waiting > high
            # It is called inside send(), and only once; one may go on sending.
            transport.send(WSMsgType.BINARY, bytes(MIB))
            sent += 1
            while sent:
                assert len((await peer.next()).payload) == MIB
                sent -= 1
            await soon(listener.resumed.wait())
            assert transport.underlying_transport.get_write_buffer_size() <= low
    assert listener.events == ["connected", *["pause", "resume"] * 2, "disconnected"]
    assert complaints(caplog) == []


async def test_default_watermark_callbacks_warn(plain, caplog):
    listener = Recorder()
    async with against(plain, "server", listener) as peer:
        for _ in range(16):
            listener.transport.send(WSMsgType.BINARY, bytes(MIB))
        for _ in range(16):
            await peer.next()
        listener.transport.send(WSMsgType.TEXT, "x")
        await peer.expect(TEXT, b"x")
    warnings = [r.message for r in complaints(caplog) if r.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert "pause_writing" in warnings[0]
    assert "resume_writing" in warnings[1]


@pytest.mark.parametrize("role", ROLES)
async def test_what_is_sent_in_pause_writing_comes_behind(net, role):
    net.skip_lossy_peer()

    def more(transport):
        transport.send(WSMsgType.TEXT, "paused")
        transport.send(WSMsgType.BINARY, bytes(MIB))

    listener = Watermarks(more)
    async with against(net, role, listener) as peer:
        count = 0
        while "pause" not in listener.events:
            listener.transport.send(WSMsgType.BINARY, pattern(MIB, count))
            count += 1
        listener.transport.send(WSMsgType.TEXT, "last")
        for i in range(count):
            await peer.expect(BINARY, pattern(MIB, i))
        await peer.expect(TEXT, b"paused")
        await peer.expect(BINARY, bytes(MIB))
        await peer.expect(TEXT, b"last")


@pytest.mark.parametrize("size", [40_000, 70_000])
@pytest.mark.parametrize("role", ROLES)
async def test_what_is_sent_in_pause_writing_comes_behind_a_cork(net, role, size):
    """Also behind the frame that did not fit beside those before it, and made them leave."""
    net.skip_lossy_peer()
    listener = Watermarks(lambda transport: transport.send(WSMsgType.TEXT, "paused"))
    async with against(net, role, listener) as peer:
        frames = []
        with listener.transport.cork():
            while "pause" not in listener.events:
                frames.append(pattern(size if len(frames) % 2 else 30_000, len(frames)))
                listener.transport.send(WSMsgType.BINARY, frames[-1])
            listener.transport.send(WSMsgType.TEXT, "last")
        for frame in frames:
            await peer.expect(BINARY, frame)
        await peer.expect(TEXT, b"paused")
        await peer.expect(TEXT, b"last")


ENDS_OF_TRANSPORT = {
    "disconnect": lambda transport: transport.disconnect(),
    "disconnect(False)": lambda transport: transport.disconnect(False),
    "send_close": lambda transport: transport.send_close(1000),
    "underlying abort": lambda transport: transport.underlying_transport.abort(),
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("end", ENDS_OF_TRANSPORT)
async def test_pause_writing_that_ends_the_connection(net, role, end):
    net.skip_lossy_peer()
    listener = Watermarks(ENDS_OF_TRANSPORT[end])
    async with against(net, role, listener) as peer:
        count = 0
        while "pause" not in listener.events:
            listener.transport.send(WSMsgType.BINARY, pattern(MIB, count))
            count += 1
        for _ in range(3):
            assert listener.transport.send(WSMsgType.BINARY, bytes(MIB)) is None
        if end == "disconnect":
            # The frame that was on its way is whole.
            assert [got.payload for got in await peer.all()] == [
                pattern(MIB, i) for i in range(count)
            ]
        elif end == "send_close":
            for i in range(count):
                await peer.expect(BINARY, pattern(MIB, i))
            await peer.expect_close(1000)
            peer.abort()
        await peer.gone()
        await soon(listener.disconnected.wait())
    assert listener.events.count("disconnected") == 1


@pytest.mark.parametrize("role", ROLES)
async def test_exception_in_pause_writing(net, role, caplog):
    """It is logged and does not end the connection; so wait_disconnected() does not raise it."""

    def fail(transport):
        raise RuntimeError("in pause_writing")

    listener = Watermarks(fail)
    async with against(net, role, listener) as peer:
        count = 0
        while "pause" not in listener.events:
            assert listener.transport.send(WSMsgType.BINARY, bytes(MIB)) is None
            count += 1
        for _ in range(count):
            await peer.next()
        await soon(listener.resumed.wait())
        peer.send(TEXT, b"still")
        assert bytes(await soon(listener.frames.get())) == b"still"
        (record,) = complaints(caplog)
        assert record.levelno == logging.ERROR
        assert "pause_writing" in record.message
        peer.write(peer.close_frame(1000))
        await peer.expect_close(1000)
        peer.abort()
        assert await soon(listener.transport.wait_disconnected()) is None


# ---- ping floods ----


@pytest.mark.parametrize("role", ROLES)
async def test_pongs_that_cannot_leave_collapse_into_the_last(plain, role):
    """RFC 6455, 5.5.3: "the endpoint MAY elect to send a Pong frame for only the most recently
    processed Ping frame"."""
    listener = Watermarks()
    async with against(plain, role, listener) as peer:
        transport = listener.transport
        count = 0
        while "pause" not in listener.events:
            transport.send(WSMsgType.BINARY, bytes(MIB))
            count += 1
        waiting = transport.underlying_transport.get_write_buffer_size()
        for i in range(5000):
            peer.send(PING, b"%d" % i)
        peer.send(TEXT, b"behind the pings")
        await soon(listener.frames.get())
        assert transport.underlying_transport.get_write_buffer_size() == waiting
        for _ in range(count):
            assert (await peer.next()).opcode == BINARY
        await peer.expect(PONG, b"4999")
        peer.send(PING, b"new")
        await peer.expect(PONG, b"new")


async def test_ping_flood_keeps_memory_bounded(plain):
    """26 MB of PINGs from a peer that does not read."""
    count, listener = 200_000, Watermarks()
    async with against(plain, "server", listener) as peer:
        peer.write(peer.frame(PING, b"x" * 125) * count)
        peer.write(peer.frame(PING, b"the last one"), peer.frame(TEXT, b"behind"))
        await soon(listener.frames.get())
        _, high = listener.transport.underlying_transport.get_write_buffer_limits()
        # The answers of one read leave together: a block of them may come on top.
        waiting = listener.transport.underlying_transport.get_write_buffer_size()
        assert waiting < high + 65536 + 1000
        got = bytearray()
        while not got.endswith(b"\x8a\x0cthe last one"):
            got += await soon(peer.reader.read(MIB))
        assert len(got) - 14 < 127 * count
        assert (len(got) - 14) % 127 == 0
        assert "pause" in listener.events


@pytest.mark.parametrize("role", ROLES)
async def test_pong_that_waits_goes_before_our_close_and_not_after_the_peers(plain, role):
    listener = Watermarks()
    async with against(plain, role, listener) as peer:
        transport, count = listener.transport, 0
        while "pause" not in listener.events:
            transport.send(WSMsgType.BINARY, bytes(MIB))
            count += 1
        peer.write(peer.frame(PING, b"unanswered"), peer.close_frame(1000))
        assert (await soon(listener.frames.get())).msg_type == WSMsgType.CLOSE
        for _ in range(count):
            assert (await peer.next()).opcode == BINARY
        await peer.expect_close(1000)
        peer.writer.write_eof()
        assert await peer.rest() == b""
