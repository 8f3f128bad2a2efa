"""Stream has the surface of asyncio.Transport: it does what the loop's own transports do."""

from __future__ import annotations

import array
import asyncio
import contextlib
import contextvars
import gc
import os
import socket
import ssl
import struct
import sys
import threading
import weakref
from collections.abc import AsyncIterator
from typing import Any, Callable, Optional

import pytest
from conftest import new_loop
from helpers import EchoListener, Recorder, frame_bytes, request_bytes

import picows_c
from picows_c import WSMsgType, ws_create_server
from picows_c.poller import poller_of
from picows_c.stream import Stream, connect_stream

pytestmark = pytest.mark.skipif(picows_c._core.POLLER is None, reason="no poller here")

PATIENCE = 20.0
# More than the sockets of wire() and an asyncio.StreamReader hold together.
BACKLOG = 2 << 20


class Log(asyncio.Protocol):
    """A protocol that writes down what happens to it."""

    def __init__(self, keep_open: bool = False) -> None:
        self.events: list[str] = []
        self.data = bytearray()
        self.keep_open = keep_open
        self.exc: Optional[BaseException] = None
        self.transport: Any = None
        self.changed = asyncio.Event()

    def note(self, event: str) -> None:
        self.events.append(event)
        self.changed.set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.note("made")

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        self.data += data
        self.changed.set()

    def eof_received(self) -> bool:
        self.note("eof")
        return self.keep_open

    def connection_lost(self, exc: Optional[BaseException]) -> None:
        self.exc = exc
        self.note("lost")

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")

    async def until(self, condition: Callable[[], Any]) -> None:
        async def wait() -> None:
            while not condition():
                self.changed.clear()
                await self.changed.wait()

        await asyncio.wait_for(wait(), PATIENCE)

    async def lost(self) -> None:
        await self.until(lambda: "lost" in self.events)


async def soon(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE)


async def turns(count: int = 20) -> None:
    """Let the loop go round: what was to happen without the peer has happened."""
    for _ in range(count):
        await asyncio.sleep(0)


def reset(writer: asyncio.StreamWriter) -> None:
    """Drop a connection with a TCP reset."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Wire:
    """A connection: our transport with its protocol, and the peer's asyncio streams."""

    def __init__(self, transport: Any, log: Any, reader: Any, writer: Any) -> None:
        self.transport = transport
        self.log = log
        self.reader = reader
        self.writer = writer


@contextlib.asynccontextmanager
async def wire(
    way: str,
    log: Any = None,
    *,
    certificates: Any = None,
    unix: Any = None,
    peer: Any = None,
) -> AsyncIterator[Wire]:
    """Connect ``log`` to a raw peer: on the poller, or through the loop's own transports."""
    loop = asyncio.get_running_loop()
    peers: asyncio.Queue[Any] = asyncio.Queue()
    server_ssl = client_ssl = None
    if certificates is not None:
        server_ssl, client_ssl = certificates.server(), certificates.client()

    async def accepted(reader: Any, writer: Any) -> None:
        peers.put_nowait((reader, writer))

    if unix is None:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        if peer is None:
            server = await asyncio.start_server(accepted, sock=listening, ssl=server_ssl)
        else:
            # Never pauses: uvloop drops what a paused TLS protocol has not read at the end.
            peers.put_nowait((None, None))
            server = await loop.create_server(lambda: peer, sock=listening, ssl=server_ssl)
    else:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(unix)
        server = await asyncio.start_unix_server(accepted, sock=listening, ssl=server_ssl)
    sock = socket.socket(listening.family)
    sock.setblocking(False)
    await loop.sock_connect(sock, listening.getsockname())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    log = Log() if log is None else log
    name = None if certificates is None else "127.0.0.1"
    if way == "auto":
        poller = poller_of(loop)
        transport, protocol = await connect_stream(
            poller, loop, lambda: log, sock, ssl=client_ssl, server_hostname=name
        )
        assert sock.fileno() == -1
    else:
        transport, protocol = await loop.create_connection(
            lambda: log, sock=sock, ssl=client_ssl, server_hostname=name
        )
    assert protocol is log
    reader, writer = await soon(peers.get())
    try:
        yield Wire(transport, log, reader, writer)
    finally:
        transport.abort()
        if isinstance(log, Log):
            await log.lost()
        if peer is None:
            writer.transport.abort()
        else:
            await peer.lost()
        server.close()
        await soon(server.wait_closed())
        if way == "auto":
            assert poller.count == 0


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest, certificates: Any) -> Any:
    """None, or certificates."""
    return certificates if request.param == "tls" else None


# ---- writing ----


@pytest.mark.parametrize("size", [1, 3 << 20])
async def test_echo(way, tls, size):
    data = bytes(i * 7 & 0xFF for i in range(1000)) * (size // 1000 + 1)
    data = data[:size]
    async with wire(way, certificates=tls) as w:
        w.transport.write(data)
        assert await soon(w.reader.readexactly(size)) == data
        w.writer.write(data)
        await w.log.until(lambda: len(w.log.data) == size)
        assert w.log.data == data
    assert w.log.events[0] == "made"
    assert w.log.events[-1] == "lost"
    assert w.log.exc is None


async def test_unix_socket(way, tmp_path):
    path = str(tmp_path / "s")
    async with wire(way, unix=path) as w:
        w.transport.write(b"hello")
        assert await soon(w.reader.readexactly(5)) == b"hello"
        w.writer.write(b"back")
        await w.log.until(lambda: w.log.data == b"back")
        assert w.transport.get_extra_info("peername") == path
        assert w.transport.get_extra_info("sockname") == ""
        assert w.transport.get_extra_info("socket").family == socket.AF_UNIX


async def test_what_can_be_written(tls):
    async with wire("auto", certificates=tls) as w:
        write = w.transport.write
        write(b"a")
        write(bytearray(b"b"))
        write(memoryview(b"xcx")[1:2])
        write(array.array("B", [100]))
        write(b"")
        write(memoryview(b""))
        for wrong in ("text", None, 1, [b"x"], object()):
            with pytest.raises(TypeError):
                write(wrong)
            with pytest.raises(TypeError):
                w.transport.writelines([wrong])
        with pytest.raises((BufferError, TypeError)):
            write(memoryview(b"abcdef")[::2])
        with pytest.raises(TypeError):
            write()
        write(b"e")
        assert await soon(w.reader.readexactly(5)) == b"abcde"
        assert not w.transport.is_closing()


async def test_a_buffer_is_taken_at_once(tls):
    """The caller may change its bytearray when write() has returned (the loops keep it)."""
    async with wire("auto", certificates=tls) as w:
        data = bytearray(b"x") * BACKLOG
        w.transport.write(data)
        assert w.transport.get_write_buffer_size() > 0
        data[:] = bytes(BACKLOG)
        assert await soon(w.reader.readexactly(BACKLOG)) == b"x" * BACKLOG


async def test_writelines(way, tls):
    async with wire(way, certificates=tls) as w:
        w.transport.writelines([b"one ", bytearray(b"two "), memoryview(b"three ")])
        w.transport.writelines([])
        w.transport.writelines(part for part in (b"four ", b"five"))
        assert await soon(w.reader.readexactly(23)) == b"one two three four five"


async def test_writelines_that_breaks():
    def parts() -> Any:
        yield b"first"
        raise ZeroDivisionError

    async with wire("auto") as w:
        with pytest.raises(ZeroDivisionError):
            w.transport.writelines(parts())
        with pytest.raises(TypeError):
            w.transport.writelines(7)
        w.transport.write(b" last")
        assert await soon(w.reader.readexactly(10)) == b"first last"


async def test_writelines_whose_iterator_closes(tls):
    """Python runs between two parts: the connection may be gone."""
    async with wire("auto", certificates=tls) as w:

        def parts() -> Any:
            yield b"first"
            w.transport.abort()
            yield b"second"

        w.transport.writelines(parts())
        await w.log.lost()


# ---- watermarks ----


async def test_write_buffer_limits(way):
    async with wire(way) as w:
        t = w.transport
        if type(t).__module__.startswith("uvloop"):
            pytest.skip("uvloop's own defaults")
        assert t.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
        t.set_write_buffer_limits(high=1000)
        assert t.get_write_buffer_limits() == (250, 1000)
        t.set_write_buffer_limits(low=100)
        assert t.get_write_buffer_limits() == (100, 400)
        t.set_write_buffer_limits(30, 20)
        assert t.get_write_buffer_limits() == (20, 30)
        t.set_write_buffer_limits(high=0)
        assert t.get_write_buffer_limits() == (0, 0)
        t.set_write_buffer_limits(high=5, low=5)
        assert t.get_write_buffer_limits() == (5, 5)
        for wrong in ({"high": 1, "low": 2}, {"high": -1}, {"low": -1}, {"high": 1, "low": -1}):
            with pytest.raises(ValueError):
                t.set_write_buffer_limits(**wrong)
        with pytest.raises(TypeError):
            t.set_write_buffer_limits(high="many")
        assert t.get_write_buffer_limits() == (5, 5)
        t.set_write_buffer_limits()
        assert t.get_write_buffer_limits() == (16 * 1024, 64 * 1024)


async def test_write_buffer_limits_that_do_not_fit():
    async with wire("auto") as w:
        with pytest.raises(OverflowError):
            w.transport.set_write_buffer_limits(high=1 << 80)
        w.transport.set_write_buffer_limits(low=(1 << 63) - 1)
        low, high = w.transport.get_write_buffer_limits()
        assert low <= high


async def test_pause_and_resume_writing(way, tls):
    async with wire(way, certificates=tls) as w:
        t, log = w.transport, w.log
        t.set_write_buffer_limits(high=100_000, low=50_000)
        total = 0
        while "pause" not in log.events:
            before = t.get_write_buffer_size()
            assert before <= 100_000
            t.write(bytes(10_000))
            total += 10_000
            assert total < 1 << 30
            if way == "loop":
                await asyncio.sleep(0)  # uvloop sends later
        t.write(bytes(BACKLOG))
        total += BACKLOG
        assert t.get_write_buffer_size() > 0
        await turns()
        assert log.events.count("pause") == 1
        assert "resume" not in log.events
        reading = asyncio.ensure_future(w.reader.readexactly(total))
        await log.until(lambda: "resume" in log.events)
        await soon(reading)
        await turns()
        assert t.get_write_buffer_size() == 0
        # Again.
        while log.events.count("pause") < 2:
            t.write(bytes(1 << 20))
            await asyncio.sleep(0)
        assert log.events.count("resume") == 1
    assert [e for e in log.events if e in ("pause", "resume")] == ["pause", "resume", "pause"]


async def test_resumes_at_the_low_watermark_exactly():
    """resume_writing() comes when no more than the low watermark waits, and not before."""
    seen = []

    class Sizes(Log):
        def resume_writing(self) -> None:
            seen.append(self.transport.get_write_buffer_size())
            super().resume_writing()

    async with wire("auto", Sizes()) as w:
        w.transport.set_write_buffer_limits(high=400_000, low=300_000)
        w.transport.write(bytes(BACKLOG))
        assert w.log.events == ["made", "pause"]
        reading = asyncio.ensure_future(w.reader.readexactly(BACKLOG))
        await w.log.until(lambda: "resume" in w.log.events)
        await soon(reading)
    assert len(seen) == 1
    assert 0 < seen[0] <= 300_000


async def test_lower_limits_pause_at_once(way):
    """asyncio looks at the buffer when the limits change."""
    async with wire(way) as w:
        w.transport.set_write_buffer_limits(high=1 << 30)
        w.transport.write(bytes(BACKLOG))
        await turns()
        assert w.transport.get_write_buffer_size() > 1000
        assert "pause" not in w.log.events
        w.transport.set_write_buffer_limits(high=1000)
        assert "pause" in w.log.events
        reading = asyncio.ensure_future(w.reader.readexactly(BACKLOG))
        await w.log.until(lambda: "resume" in w.log.events)
        await soon(reading)
    assert w.log.events.count("pause") == 1


async def test_watermark_callbacks_that_fail():
    """What they raise is reported; the connection goes on."""
    loop = asyncio.get_running_loop()
    reported: list[Any] = []

    class Failing(Log):
        def pause_writing(self) -> None:
            super().pause_writing()
            raise ZeroDivisionError("pause")

        def resume_writing(self) -> None:
            super().resume_writing()
            raise ZeroDivisionError("resume")

    async with wire("auto", Failing()) as w:
        handler = loop.get_exception_handler()
        loop.set_exception_handler(lambda _, context: reported.append(context))
        try:
            w.transport.write(bytes(BACKLOG))
            await soon(w.reader.readexactly(BACKLOG))
            await w.log.until(lambda: "resume" in w.log.events)
            await turns()
        finally:
            loop.set_exception_handler(handler)
        assert [str(context["exception"]) for context in reported] == ["pause", "resume"]
        assert all(context["transport"] is w.transport for context in reported)
        assert not w.transport.is_closing()


# ---- the end ----


async def test_write_eof(way):
    """Our side ends behind what waits; the peer's goes on."""
    async with wire(way, Log(keep_open=True)) as w:
        t = w.transport
        assert t.can_write_eof() is True
        t.write(bytes(BACKLOG))
        t.write_eof()
        t.write_eof()
        with pytest.raises(RuntimeError):
            t.write(b"x")
        with pytest.raises(RuntimeError):
            t.writelines([b"x"])
        assert len(await soon(w.reader.read())) == BACKLOG
        assert not t.is_closing()
        w.writer.write(b"still there")
        await w.log.until(lambda: w.log.data == b"still there")
        w.writer.write_eof()
        await w.log.until(lambda: "eof" in w.log.events)
        t.close()
        await w.log.lost()
    assert w.log.events[-2:] == ["eof", "lost"]
    assert w.log.exc is None


async def test_write_eof_with_nothing_waiting(way):
    async with wire(way) as w:
        w.transport.write_eof()
        assert await soon(w.reader.read()) == b""
        assert "lost" not in w.log.events


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="the other end is asyncio's TLS, which loses data there"
)
async def test_tls_write_eof(certificates):
    """close_notify goes out behind what waits; the peer answers it with its end."""
    peer = Log()
    async with wire("auto", certificates=certificates, peer=peer) as w:
        assert w.transport.can_write_eof() is True
        w.transport.write(bytes(BACKLOG))
        w.transport.write_eof()
        await w.log.lost()
        await peer.lost()
    assert len(peer.data) == BACKLOG
    assert peer.events == ["made", "eof", "lost"]
    assert w.log.exc is None


@pytest.mark.parametrize("keep_open", [False, True])
async def test_the_peer_ends_its_side(way, keep_open):
    async with wire(way, Log(keep_open)) as w:
        w.writer.write(b"last words")
        w.writer.write_eof()
        await w.log.until(lambda: "eof" in w.log.events)
        assert w.log.data == b"last words"
        if keep_open:
            await turns()
            assert not w.transport.is_closing()
            w.transport.write(b"answer")
            assert await soon(w.reader.readexactly(6)) == b"answer"
            w.transport.close()
        else:
            await w.log.lost()
        assert await soon(w.reader.read()) == b""
        await w.log.lost()
    assert w.log.events == ["made", "eof", "lost"]
    assert w.log.exc is None


async def test_the_peer_ends_its_side_and_much_waits():
    """eof_received() says False: what waits is sent before the end."""
    async with wire("auto") as w:
        w.transport.write(bytes(BACKLOG))
        w.writer.write_eof()
        await w.log.until(lambda: "eof" in w.log.events)
        await turns()
        assert w.transport.is_closing()
        assert len(await soon(w.reader.read())) == BACKLOG
        await w.log.lost()
    assert w.log.exc is None


async def test_close(tls):
    """What waits is sent; connection_lost(None) runs later, once; nothing is read any more."""
    peer = Log()
    async with wire("auto", certificates=tls, peer=peer) as w:
        w.transport.write(bytes(BACKLOG))
        assert not w.transport.is_closing()
        w.transport.close()
        assert w.transport.is_closing()
        w.transport.close()
        w.transport.write(b"too late")
        assert "lost" not in w.log.events
        await w.log.lost()
        await peer.lost()
        peer.transport.close()  # asyncio's TLS before CPython 3.11 complains where nobody did
    assert peer.data == bytes(BACKLOG)
    # asyncio's TLS answers our close_notify, perhaps when we have gone.
    assert peer.exc is None or (tls and isinstance(peer.exc, ConnectionError))
    assert w.log.events.count("lost") == 1
    assert w.log.exc is None
    assert not w.log.data


async def test_close_with_nothing_waiting(way):
    async with wire(way) as w:
        w.transport.close()
        assert w.log.events == ["made"]
        await w.log.lost()
        assert await soon(w.reader.read()) == b""
    assert w.log.events == ["made", "lost"]


async def test_abort(way, tls):
    async with wire(way, certificates=tls) as w:
        w.transport.write(bytes(BACKLOG))
        w.transport.abort()
        assert w.transport.is_closing()
        w.transport.abort()
        w.transport.close()
        assert "lost" not in w.log.events
        await w.log.lost()
        with contextlib.suppress(ConnectionError):
            assert len(await soon(w.reader.read())) < BACKLOG
    assert w.log.events.count("lost") == 1
    assert w.log.exc is None


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_ending_inside_data_received(tls, end):
    """Nothing of the same read comes afterwards."""

    class Ending(Log):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            getattr(self.transport, end)()

    async with wire("auto", Ending(), certificates=tls) as w:
        for _ in range(5):
            w.writer.write(bytes(16384))
        await w.log.lost()
        await turns()
    assert w.log.events == ["made", "lost"]
    assert 0 < len(w.log.data) <= (5 * 16384 if tls is None else 16384)


async def test_a_reset_after_data(way):
    """What the peer sent before its reset is delivered; the loss says what it was."""
    async with wire(way) as w:
        w.writer.write(b"x" * 1000)
        await w.log.until(lambda: len(w.log.data) == 1000)
        reset(w.writer)
        await w.log.lost()
    assert isinstance(w.log.exc, ConnectionResetError)
    assert w.log.events == ["made", "lost"]


@pytest.mark.parametrize("state", ["paused", "writing", "closing", "half-closed"])
async def test_a_reset_in_each_state(state):
    async with wire("auto", Log(keep_open=True)) as w:
        t = w.transport
        if state == "paused":
            t.pause_reading()
        elif state == "writing":
            t.write(bytes(BACKLOG))
        elif state == "closing":
            t.write(bytes(BACKLOG))
            t.close()
        else:
            t.write_eof()
            assert await soon(w.reader.read()) == b""
        reset(w.writer)
        await w.log.lost()
        assert isinstance(w.log.exc, ConnectionError)
        if state != "half-closed":
            t.write(b"nobody hears")
        t.close()
    assert w.log.events.count("lost") == 1


@pytest.mark.parametrize("said", [b"", b"last words"])
async def test_writing_after_a_reset_that_nobody_saw_yet(said):
    """send() fails first: no exception; what had come is delivered; then the loss is told."""
    loop = asyncio.get_running_loop()
    sock, peer = tcp_pair()
    stream, log = await connect_stream(poller_of(loop), loop, Log, sock)
    peer.sendall(said)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    for _ in range(3):
        stream.write(b"x")
    assert log.events == ["made"]
    assert stream.get_write_buffer_size() == 0
    await log.lost()
    assert log.data == said
    assert isinstance(log.exc, ConnectionError)
    assert log.events == ["made", "lost"]


# ---- reading ----


async def test_pause_and_resume_reading(way, tls):
    if way == "loop" and tls is not None:
        pytest.skip("there is_reading() means something else")
    async with wire(way, certificates=tls) as w:
        t = w.transport
        assert t.is_reading() is True
        t.pause_reading()
        assert t.is_reading() is False
        t.pause_reading()
        w.writer.write(b"waits")
        await w.writer.drain()
        await asyncio.sleep(0.05)
        assert not w.log.data
        t.write(b"out")
        assert await soon(w.reader.readexactly(3)) == b"out"
        t.resume_reading()
        assert t.is_reading() is True
        t.resume_reading()
        await w.log.until(lambda: w.log.data == b"waits")
        t.close()
        assert t.is_reading() is False
        t.pause_reading()
        t.resume_reading()
        assert t.is_reading() is False


async def test_pausing_inside_data_received(tls):
    """With TLS one read has many records: the rest of them waits, too."""

    class OneByOne(Log):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.calls = getattr(self, "calls", 0) + 1
            self.transport.pause_reading()

    async with wire("auto", OneByOne(), certificates=tls) as w:
        for i in range(30):
            w.writer.write(bytes([i]) * 1000)
        await w.log.until(lambda: w.log.data)
        while len(w.log.data) < 30_000:
            had, calls = len(w.log.data), w.log.calls
            await turns(5)
            assert (len(w.log.data), w.log.calls) == (had, calls)
            w.transport.resume_reading()
            await w.log.until(lambda had=had: len(w.log.data) > had)
            assert w.log.calls == calls + 1
        if tls is not None:
            assert w.log.calls >= 30
        assert w.log.data == b"".join(bytes([i]) * 1000 for i in range(30))


async def test_the_end_waits_for_who_pauses(tls):
    """A FIN behind unread input is no reason to drop the input."""
    async with wire("auto", certificates=tls) as w:
        w.transport.pause_reading()
        w.writer.write(bytes(300_000))
        await w.writer.drain()
        w.writer.close()
        await asyncio.sleep(0.05)
        assert w.log.events == ["made"]
        w.transport.resume_reading()
        await w.log.lost()
        assert len(w.log.data) == 300_000
    assert w.log.events == ["made", "eof", "lost"]


async def test_pausing_inside_on_ws_frame(net):
    """Frames already read wait; each resume lets one more through, in order."""
    count = 50

    class OneByOne(Recorder):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            if frame.msg_type is WSMsgType.BINARY:
                transport.underlying_transport.pause_reading()

    class Flood(EchoListener):
        def on_ws_connected(self, transport):
            for i in range(count):
                transport.send(WSMsgType.BINARY, bytes([i]) * (i * 10))
            transport.send_close(1000)

    if net.way == "loop":
        pytest.skip("a loop's transport knows nothing of what our reader has")
    async with net.serve(lambda r: Flood()):
        transport, listener = await net.connect(OneByOne)
        for i in range(count):
            frame = await soon(listener.frames.get())
            assert bytes(frame) == bytes([i]) * (i * 10)
            await turns(3)
            assert listener.frames.empty()
            transport.underlying_transport.resume_reading()
        await soon(transport.wait_disconnected())
    assert listener.events[-2:] == ["CLOSE", "disconnected"]


async def test_resuming_inside_on_ws_frame(plain):
    """Pause and resume in one callback: nothing is lost, nothing comes twice, no recursion."""
    count = 2000

    class Blinking(Recorder):
        depth = 0

        def on_ws_frame(self, transport, frame):
            assert self.depth == 0
            self.depth = 1
            transport.underlying_transport.pause_reading()
            super().on_ws_frame(transport, frame)
            transport.underlying_transport.resume_reading()
            self.depth = 0

    class Flood(EchoListener):
        def on_ws_connected(self, transport):
            for i in range(count):
                transport.send(WSMsgType.BINARY, i.to_bytes(4, "big"))

    async with plain.serve(lambda r: Flood()):
        transport, listener = await plain.connect(Blinking)
        for i in range(count):
            assert bytes(await soon(listener.frames.get())) == i.to_bytes(4, "big")
        transport.disconnect(False)
        await soon(transport.wait_disconnected())


async def test_closing_while_frames_wait(plain):
    """disconnect() while paused inside a callback: nothing more is delivered, ever."""
    if plain.way == "loop":
        pytest.skip("see above")

    class First(Recorder):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            transport.underlying_transport.pause_reading()

    class Flood(EchoListener):
        def on_ws_connected(self, transport):
            for _ in range(10):
                transport.send(WSMsgType.BINARY, b"x")

    async with plain.serve(lambda r: Flood()):
        transport, listener = await plain.connect(First)
        await soon(listener.frames.get())
        transport.disconnect(False)
        transport.underlying_transport.resume_reading()
        await soon(listener.disconnected.wait())
    assert listener.events == ["connected", "BINARY", "disconnected"]


# ---- protocols ----


async def test_set_protocol(way):
    async with wire(way) as w:
        assert w.transport.get_protocol() is w.log
        other = Log()
        w.transport.set_protocol(other)
        assert w.transport.get_protocol() is other
        w.writer.write(b"for the other")
        await other.until(lambda: other.data)
        assert other.data == b"for the other"
        assert not w.log.data
        w.transport.close()
        await other.lost()
        assert w.log.events == ["made"]
        w.log.note("lost")  # for wire()
    assert other.events == ["lost"]


async def test_set_protocol_inside_data_received(tls):
    """The next bytes are the next protocol's."""
    other = Log()

    class Leaving(Log):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.set_protocol(other)

    async with wire("auto", Leaving(), certificates=tls) as w:
        w.writer.write(b"one")
        await w.log.until(lambda: w.log.data == b"one")
        w.writer.write(b"two")
        await other.until(lambda: other.data == b"two")
        w.transport.close()
        await other.lost()
        w.log.note("lost")


async def test_an_exception_of_data_received(tls):
    """It ends the connection, and is reported as asyncio does."""
    loop = asyncio.get_running_loop()
    reported: list[Any] = []

    class Failing(Log):
        def data_received(self, data: bytes) -> None:
            raise ZeroDivisionError("in data_received")

    async with wire("auto", Failing(), certificates=tls) as w:
        handler = loop.get_exception_handler()
        loop.set_exception_handler(lambda _, context: reported.append(context))
        try:
            w.writer.write(b"x")
            await w.log.lost()
        finally:
            loop.set_exception_handler(handler)
    assert [type(context["exception"]) for context in reported] == [ZeroDivisionError]
    assert isinstance(w.log.exc, ZeroDivisionError)


@pytest.mark.parametrize("where", ["eof_received", "connection_lost"])
async def test_an_exception_of_the_other_callbacks(where):
    loop = asyncio.get_running_loop()
    reported: list[Any] = []

    class Failing(Log):
        pass

    def fail(self: Any, *_: Any) -> None:
        self.note("failing")
        raise ZeroDivisionError(where)

    setattr(Failing, where, fail)
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    try:
        async with wire("auto", Failing()) as w:
            w.writer.write_eof()
            await w.log.until(lambda: "failing" in w.log.events)
            await turns()
            if "lost" not in w.log.events:
                w.log.note("lost")
    finally:
        loop.set_exception_handler(handler)
    assert [type(context["exception"]) for context in reported] == [ZeroDivisionError]
    assert w.log.events.count("failing") == 1


async def test_an_exception_of_connection_made():
    """The connection must not stay behind."""
    loop = asyncio.get_running_loop()
    poller = poller_of(loop)

    class Failing(Log):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            raise ZeroDivisionError

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE)
        sock = socket.create_connection(listening.getsockname())
        peer = listening.accept()[0]
        with peer:
            peer.settimeout(PATIENCE)
            with pytest.raises(ZeroDivisionError):
                await connect_stream(poller, loop, Failing, sock)
            assert poller.count == 0
            assert peer.recv(1) == b""
    await turns()


async def test_a_stream_goes_with_its_connection(tls):
    """Nothing holds protocol or stream when it is over."""
    async with wire("auto", certificates=tls) as w:
        stream, log = w.transport, w.log
        w.transport.close()
        await w.log.lost()
        assert stream.get_protocol() is None
    alive = weakref.ref(stream), weakref.ref(log)
    w.transport = w.log = None
    del stream, log
    await turns(5)
    gc.collect()
    assert [ref() for ref in alive] == [None, None]


# ---- get_extra_info ----


async def test_extra_info(way):
    async with wire(way) as w:
        info = w.transport.get_extra_info
        sock = info("socket")
        assert sock.family == socket.AF_INET
        assert sock.type == socket.SOCK_STREAM
        assert sock.fileno() >= 0
        peer = w.writer.get_extra_info("socket")
        assert info("peername") == peer.getsockname() == sock.getpeername()
        assert info("sockname") == peer.getpeername() == sock.getsockname()
        if way == "auto":  # asyncio: not where the socket was given
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
        for name in ("sslcontext", "ssl_object", "peercert", "cipher", "compression", "nonsense"):
            assert info(name) is None
            assert info(name, "default") == "default"
        names = info("peername"), info("sockname")
        w.transport.abort()
        await w.log.lost()
        assert (info("peername"), info("sockname")) == names


async def test_extra_info_of_tls(way, certificates):
    async with wire(way, certificates=certificates) as w:
        info = w.transport.get_extra_info
        assert isinstance(info("sslcontext"), ssl.SSLContext)
        assert isinstance(info("ssl_object"), ssl.SSLObject)
        assert info("ssl_object").version() == "TLSv1.3"
        assert info("peercert") == info("ssl_object").getpeercert()
        assert ("IP Address", "127.0.0.1") in info("peercert")["subjectAltName"]
        assert info("cipher") == info("ssl_object").cipher()
        assert info("compression") is None
        assert info("compression", 1) in (1, None)
        names = info("peername"), info("sockname"), info("cipher"), info("peercert")
        w.transport.close()
        await w.log.lost()
        if way == "auto":  # the loops' own forget
            assert (info("peername"), info("sockname"), info("cipher"), info("peercert")) == names


async def test_the_socket_view_cannot_hurt():
    """After the end it says so, and touches no descriptor that may be somebody else's."""
    async with wire("auto") as w:
        sock = w.transport.get_extra_info("socket")
        assert w.transport.get_extra_info("socket") is sock
        assert not hasattr(sock, "close")
        w.transport.abort()
        assert sock.fileno() == -1
        for call in (
            sock.getsockname,
            sock.getpeername,
            lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
            lambda: sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        ):
            with pytest.raises(OSError):
                call()
        assert "fd=-1" in repr(sock)
        await w.log.lost()
        assert w.transport.get_extra_info("socket") is sock


async def test_no_socket_view_after_the_end():
    async with wire("auto") as w:
        w.transport.abort()
        await w.log.lost()
        assert w.transport.get_extra_info("socket") is None
        assert w.transport.get_extra_info("socket", 5) == 5


async def test_repr():
    async with wire("auto") as w:
        assert repr(w.transport).startswith("<picows_c.Stream open fd=")
        w.transport.abort()
        assert repr(w.transport) == "<picows_c.Stream closing fd=-1>"


# ---- at any time, from anywhere ----


def ask_everything(t: Any) -> None:
    """Call everything on a stream whose connection has gone: nothing raises."""
    t.write(b"x")
    t.writelines([b"x", b"y"])
    t.write_eof()
    assert t.can_write_eof() is True
    t.close()
    t.abort()
    assert t.is_closing() is True
    assert t.is_reading() is False
    t.pause_reading()
    assert t.is_reading() is False
    t.resume_reading()
    assert t.is_reading() is False
    assert t.get_write_buffer_size() == 0
    low, high = t.get_write_buffer_limits()
    t.set_write_buffer_limits(high=high, low=low)
    assert t.get_protocol() is None
    assert t.get_extra_info("peername") is not None
    assert t.get_extra_info("nonsense") is None
    assert "closing" in repr(t)
    with pytest.raises(TypeError):
        t.write("text")


async def test_everything_after_the_connection(tls):
    async with wire("auto", certificates=tls) as w:
        w.transport.abort()
        await w.log.lost()
        ask_everything(w.transport)
        await turns()
        ask_everything(w.transport)
    assert w.log.events == ["made", "lost"]


def loop_ended(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    gc.collect()


@pytest.mark.parametrize("state", ["lost", "open", "writing"])
def test_everything_after_the_loop(loop_kind, state):
    """The loop was closed, with the connection still there or not."""
    if loop_kind == "uvloop":
        pytest.importorskip("uvloop")
    loop = new_loop(loop_kind)
    found: list[Any] = []

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            sock = socket.create_connection(listening.getsockname())
            peer = listening.accept()[0]
        found.append(peer)
        stream, log = await connect_stream(poller_of(loop), loop, Log, sock)
        found.extend([stream, log])
        if state == "lost":
            stream.abort()
            await log.lost()
        elif state == "writing":
            stream.write(bytes(BACKLOG))

    try:
        loop.run_until_complete(asyncio.wait_for(main(), PATIENCE))
    finally:
        if state == "lost":
            loop.close()
        else:
            with pytest.warns(ResourceWarning, match="open sockets"):
                loop_ended(loop)
    peer, stream, log = found
    try:
        ask_everything(stream)
        gc.collect()
        peer.settimeout(PATIENCE)
        while peer.recv(1 << 20):
            pass
        assert log.events.count("lost") == (state == "lost")
    finally:
        peer.close()


async def test_another_thread(tls):
    async with wire("auto", certificates=tls) as w:
        t = w.transport
        calls: dict[str, Callable[[], Any]] = {
            "write": lambda: t.write(b"x"),
            "writelines": lambda: t.writelines([b"x"]),
            "write_eof": t.write_eof,
            "close": t.close,
            "abort": t.abort,
            "pause_reading": t.pause_reading,
            "resume_reading": t.resume_reading,
            "set_protocol": lambda: t.set_protocol(None),
            "set_write_buffer_limits": lambda: t.set_write_buffer_limits(1),
            # These look at what the end of the connection gives back.
            "get_write_buffer_size": t.get_write_buffer_size,
            "get_protocol": t.get_protocol,
        }
        raised = {}

        def elsewhere() -> None:
            for name, call in calls.items():
                try:
                    call()
                except BaseException as exc:
                    raised[name] = exc
            # To look at the rest is no crime.
            assert t.is_closing() is False
            assert t.is_reading() is True
            assert t.get_extra_info("peername")
            raised["end"] = RuntimeError()

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert {name: type(exc) for name, exc in raised.items()} == dict.fromkeys(
            [*calls, "end"], RuntimeError
        )
        assert t.get_protocol() is w.log
        t.write(b"fine")
        assert await soon(w.reader.readexactly(4)) == b"fine"


# ---- bad input ----


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sock = socket.create_connection(listening.getsockname())
        return sock, listening.accept()[0]


async def test_connecting_what_is_no_connection(tmp_path):
    loop = asyncio.get_running_loop()
    poller = poller_of(loop)
    closed, peer = tcp_pair()
    closed.close()
    peer.close()
    unconnected = socket.socket()
    gone = socket.socket()
    with (tmp_path / "file").open("wb") as file:
        # A number that has become something else's behind the socket's back.
        os.dup2(file.fileno(), gone.fileno())
        for sock in (closed, unconnected, gone):
            with pytest.raises((OSError, ValueError)):
                await connect_stream(poller, loop, Log, sock)
            sock.close()
    assert poller.count == 0


@pytest.mark.parametrize("kind", ["closed", "file", "connected", "datagram"])
async def test_listening_on_what_does_not_listen(tmp_path, kind):
    """OSError or ValueError from ws_create_server(), and nothing stays behind."""
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        if kind == "closed":
            sock = socket.socket()
            sock.close()
        elif kind == "file":
            file = stack.enter_context((tmp_path / "file").open("wb"))
            sock = stack.enter_context(socket.socket())
            os.dup2(file.fileno(), sock.fileno())
        elif kind == "connected":
            sock, peer = tcp_pair()
            stack.callback(sock.close)
            stack.callback(peer.close)
        else:
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with pytest.raises((OSError, ValueError)):
            await ws_create_server(lambda r: None, sock=sock)
    assert poller_of(loop).count == 0
    await turns()


async def test_stream_of_a_descriptor_that_is_none(tmp_path):
    """What is no number raises at once; what cannot be watched when the stream starts."""
    loop = asyncio.get_running_loop()
    poller = poller_of(loop)
    context = contextvars.copy_context()
    with (tmp_path / "file").open("wb") as file:
        fd = os.dup(file.fileno())
    stream = Stream(poller, loop, fd, Log(), context, {})
    with pytest.raises(PermissionError):  # epoll takes no files
        stream._start()
    stream.abort()
    with pytest.raises(OSError):
        os.fstat(fd)
    with pytest.raises(ValueError):
        Stream(poller, loop, -1, Log(), context, {})
    with pytest.raises(TypeError):
        Stream(poller, loop, "0", Log(), context, {})
    with pytest.raises(TypeError):
        Stream(object(), loop, 0, Log(), context, {})
    with pytest.raises(TypeError):
        Stream(poller, loop, 0, Log(), {}, {})
    assert poller.count == 0
    await turns()


async def test_stream_is_initialized_once():
    async with wire("auto") as w:
        loop = asyncio.get_running_loop()
        with pytest.raises(TypeError):
            w.transport.__init__(poller_of(loop), loop, 0, Log(), contextvars.copy_context(), {})
        w.transport.write(b"ok")
        assert await soon(w.reader.readexactly(2)) == b"ok"


async def test_a_stream_that_was_never_initialized():
    stream = Stream.__new__(Stream)
    stream._extra = {"peername": ()}
    ask_everything(stream)
    stream._start()
    stream._lost(None)
    stream._tls_failed(None)
    with pytest.raises((OSError, TypeError)):
        stream._start_tls(None, None, None, None)
    with pytest.raises(TypeError):
        stream._bind(object())


async def test_a_frame_flood_reaches_the_end(plain):
    """One read brings hundreds of frames and the FIN: all of them come, then the end."""
    count = 1000
    listener = Recorder()
    async with plain.serve(lambda r: listener):
        reader, writer = await plain.open()
        writer.write(request_bytes())
        await soon(reader.readuntil(b"\r\n\r\n"))
        writer.write(frame_bytes(2, b"abc", mask=b"\0\0\0\0") * count)
        writer.write_eof()
        await soon(listener.disconnected.wait())
        writer.close()
    assert listener.events == ["connected", *["BINARY"] * count, "disconnected"]
