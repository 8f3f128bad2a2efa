"""What C holds over a call: what is called, or collected, meanwhile finds nothing half done.

As in test_reentry.py, AddressSanitizer (`make asan`) sees what is not asserted here.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import socket
import ssl
import struct
import threading
from typing import Any

import pytest
from helpers import EchoListener, Recorder, client_frame, needs_poller
from proxies import scripted
from raw import BINARY, CONTINUATION, TEXT, pattern, soon, upgraded
from served import until
from test_reentry import OnFrame, reentrant, run_some, stack, tunnel

from picows_c import WSFrame, WSMsgType, _core
from picows_c.poller import poller_of
from picows_c.stream import Stream

__all__ = ["stack"]


class Reader(_core.WSReader):
    """A reader without a connection; it notes what it calls."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def _head_received(self, *args: Any) -> None:
        self.calls.append(("head", args))

    def _head_failed(self, *args: Any) -> None:
        self.calls.append(("failed", args))

    def _callback_failed(self, *args: Any) -> None:
        self.calls.append(("callback", args))

    def feed(self, data: bytes) -> None:
        with self.get_buffer(-1) as room:
            room[: len(data)] = data
        self.buffer_updated(len(data))


class Target:
    """What carries the bytes of a WSTransport, to nowhere."""

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        pass

    def abort(self) -> None:
        pass


def new_transport(owner: Any, target: Any, traced: bool = False) -> _core.WSTransport:
    return _core.WSTransport(owner, target, -1, False, False, traced, 0, False)


def start(reader: Reader, transport: Any, listener: Any) -> None:
    reader._start_frames(transport, listener, 1 << 20, False, True, 1 << 20, None, False)


def framing(listener: Any) -> Reader:
    """Return a server's reader that is behind its head, and gives whole messages."""
    reader = Reader(False, 65536)
    reader._stop_frames()
    start(reader, new_transport(reader, Target()), listener)
    return reader


# ---- the reader ----


@pytest.mark.parametrize("young", range(3))
@pytest.mark.parametrize("kind", ["good", "bad"])
def test_the_collector_frees_a_reader_that_reads_a_head(kind, young):
    """Before CPython 3.12 each new object can run it, and it runs anything.

    young: how many objects there are that it has not looked at.
    """
    fields = [(f"X-{i}", "v" * 50) for i in range(60)]
    head = b"HTTP/1.1 101 X\r\n" + b"".join(f"{n}: {v}\r\n".encode() for n, v in fields) + b"\r\n"
    if kind == "bad":
        head = head.replace(b"X-59:", b"X 59 ")
    reader = Reader(True, 65536)
    with reader.get_buffer(-1) as room:
        room[: len(head)] = head
    thresholds = gc.get_threshold()

    def collected(phase: str, info: Any) -> None:
        reader._free()
        reader.get_buffer(-1).release()

    gc.disable()
    gc.collect()
    gc.callbacks.append(collected)
    gc.set_threshold(1, 1, 1)
    objects: list[list[int]] = [[] for _ in range(young)]
    gc.enable()
    try:
        reader.buffer_updated(len(head))
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(collected)
    assert len(objects) == young
    ((what, args),) = reader.calls
    if kind == "good":
        assert (what, args) == ("head", (101, b"HTTP/1.1", fields, head))
    else:
        assert (what, args[0], args[2]) == ("failed", 400, head)


def test_a_reader_begins_once():
    """A frame that is not complete is forgotten with its reader: none begins behind it."""
    listener = Recorder()
    reader = framing(listener)
    reader.feed(client_frame(TEXT, b"a" * 1000)[:900])
    reader._free()
    with pytest.raises(RuntimeError, match="begin once"):
        start(reader, new_transport(reader, Target()), listener)
    with pytest.raises(TypeError, match="once"):
        reader.__init__(False, 65536)


def test_objects_that_were_not_initialized():
    """Frames for a bare WSTransport; a bare Stream that loses its connection."""
    listener = Recorder()
    reader = Reader(False, 65536)
    reader._stop_frames()
    start(reader, _core.WSTransport.__new__(_core.WSTransport), listener)
    reader.feed(client_frame(BINARY, pattern(300)))
    assert listener.frames.get_nowait().get_payload_as_bytes() == pattern(300)
    stream = _core.Stream.__new__(_core.Stream)
    protocol = asyncio.Protocol()
    stream.set_protocol(protocol)
    assert stream._lost(None) is None
    assert stream.get_protocol() is protocol


def test_a_text_that_its_sender_changes_is_looked_at_again():
    """Whoever has the room of get_buffer() can write to it behind the check for ASCII."""
    errors = []

    class Changing(Recorder):
        def on_ws_frame(self, transport: Any, frame: WSFrame) -> None:
            room[:] = b"\xff" * len(room)
            with pytest.raises(UnicodeDecodeError) as caught:
                frame.get_payload_as_utf8_text()
            errors.append(caught.value)

    reader = framing(Changing())
    data = client_frame(TEXT, b"a" * 5000, mask=bytes(4))
    room = reader.get_buffer(-1)
    room[: len(data)] = data
    reader.buffer_updated(len(data))
    assert [error.start for error in errors] == [0]


def test_broadcast_to_what_the_collector_finds():
    """What a connection's transport does cannot change whom else the message goes to."""

    class Owner:
        def _trace(self, *args: Any) -> None:
            pass

    class Clearing(Target):
        def write(self, data: bytes) -> None:
            for found in gc.get_referrers(transports[-1]) if transports else []:
                if type(found) is list:
                    found.clear()
            sent.append(data)

    sent: list[bytes] = []
    transports = [new_transport(Owner(), Clearing(), traced=True) for _ in range(3)]
    assert _core.broadcast(iter(transports), WSMsgType.TEXT, b"x") == []
    assert sent == [b"\x81\x01x"] * 3
    assert not transports


# ---- TLS ----


@needs_poller
async def test_other_room_than_what_was_filled(secure):
    """read() has the reader lend other room: what lies there is nobody's."""
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    protocols: list[Any] = []
    rest: list[bytes] = []

    def hook(sslobj: Any, where: str) -> None:
        if where == "read" and protocols:
            protocol = protocols.pop()
            protocol._free()
            protocol.get_buffer(-1).release()
            rest.append(protocol)
        elif where == "pending" and rest:
            rest[0] = rest[0]._take_rest()

    client = secure.certificates.client()
    client.sslobject_class = reentrant(hook)
    listener = Recorder()
    async with secure.serve(lambda r: EchoListener()):
        transport, _ = await secure.connect(lambda: listener, ssl_context=client)
        protocols.append(transport.underlying_transport.get_protocol())
        transport.send(WSMsgType.BINARY, pattern(40_000))
        await soon(transport.wait_disconnected())
    assert not isinstance(rest[0], bytes)
    assert "other input has come" in str(problems[0]["exception"])


@needs_poller
@pytest.mark.parametrize("way_in", ["write", "message"])
async def test_ciphertext_that_comes_while_the_layer_below_encrypts(secure, stack, way_in):
    """The upper SSLObject is the user's to write to, also from inside of the lower one's call."""
    frames = [client_frame(BINARY, pattern(20_000, n)) for n in range(3)]
    left = list(frames)
    upper: list[Any] = []

    def add() -> None:
        if upper and left:
            upper[0].write(left.pop(0))

    class Little(ssl.SSLObject):
        def write(self, data: Any) -> int:
            add()
            return super().write(data[:1000])

    client, outer = secure.certificates.client(), secure.certificates.client()
    if way_in == "write":
        outer.sslobject_class = Little
    else:
        outer._msg_callback = lambda *args: add() if args[1] == "write" else None
    listener, served = Recorder(), Recorder()
    async with secure.serve(lambda r: served), stack:
        port = await stack.enter_async_context(scripted(tunnel, secure.certificates.server()))
        options = {"proxy": f"https://127.0.0.1:{port}", "proxy_ssl_context": outer}
        transport, _ = await secure.connect(lambda: listener, ssl_context=client, **options)
        upper.append(transport.underlying_transport.get_extra_info("ssl_object"))
        transport.send(WSMsgType.BINARY, pattern(40_000))
        while left:
            transport.send(WSMsgType.BINARY, b"more")
        transport.send(WSMsgType.BINARY, b"last")
        got = []
        while not got or got[-1] != b"last":
            got.append((await soon(served.frames.get())).get_payload_as_bytes())
        upper.clear()
        assert [p for p in got if len(p) > 10] == [
            pattern(40_000),
            *(pattern(20_000, n) for n in range(3)),
        ]
        transport.disconnect(False)


@needs_poller
async def test_what_is_sent_inside_of_tls_goes_before_what_is_sent_behind(secure):
    """A message begins in a callback of OpenSSL, and ends in one of the listener."""
    armed: list[Any] = []
    listener = OnFrame(lambda transport: transport.send(WSMsgType.CONTINUATION, b"end"))
    client = secure.certificates.client()

    def message(conn: Any, direction: str, *args: Any) -> None:
        if direction == "read" and armed:
            armed.pop().send(WSMsgType.TEXT, b"begin", False)

    client._msg_callback = message
    served = Recorder()
    async with secure.serve(lambda r: served):
        transport, _ = await secure.connect(lambda: listener, ssl_context=client)
        await soon(served.connected.wait())
        armed.append(transport)
        served.transport.send(WSMsgType.BINARY, b"go")
        got = [await soon(served.frames.get()) for _ in range(2)]
        assert [(f.msg_type, bytes(f)) for f in got] == [(TEXT, b"begin"), (CONTINUATION, b"end")]
        transport.disconnect(False)


@needs_poller
async def test_two_sslobjects_over_the_same_bios(secure):
    """One is made in another thread, and is what is used; the other one goes."""
    kept: list[Any] = []

    class Twice(ssl.SSLObject):
        @classmethod
        def _create(cls, *args: Any, **kwargs: Any) -> Any:
            make = super()._create
            made: list[Any] = []
            thread = threading.Thread(target=lambda: made.append(make(*args, **kwargs)))
            thread.start()
            thread.join()
            kept.append(make(*args, **kwargs))
            return made[0]

    client = secure.certificates.client()
    client.sslobject_class = Twice
    client._msg_callback = lambda *args: kept.clear()
    listener = Recorder()
    async with secure.serve(lambda r: EchoListener()):
        transport, _ = await secure.connect(lambda: listener, ssl_context=client)
        assert not transport.underlying_transport._tls_is_direct()
        transport.send(WSMsgType.BINARY, pattern(20_000))
        got = await soon(listener.frames.get())
        assert got.get_payload_as_bytes() == pattern(20_000)
        transport.disconnect(False)


# ---- loops ----


@needs_poller
async def test_a_reset_inside_of_a_nested_loop_is_heard(ours):
    """It is reported once, while the connection, which reads no more, is on the stack."""
    loop = asyncio.get_running_loop()
    if not hasattr(loop, "_run_once"):
        pytest.skip("uvloop cannot be nested")

    def reset(transport: Any) -> None:
        transport.underlying_transport.pause_reading()
        sock = peer.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.writer.transport.abort()
        run_some(loop, 10)

    listener = OnFrame(reset)
    async with ours.serve(lambda r: listener):
        peer = await upgraded(ours)
        peer.send(BINARY, b"x")
        await soon(listener.disconnected.wait())


@needs_poller
async def test_a_turn_inside_of_add_reader(ours):
    """A socket that the loop begins to watch itself is taken back, once the loop has it."""
    loop = asyncio.get_running_loop()
    if not hasattr(loop, "_selector"):
        pytest.skip("uvloop has no add_reader() of one's own")
    poller = poller_of(loop)
    assert poller is not None
    add_reader = loop.add_reader
    turns = []

    def adding(fd: int, callback: Any, *args: Any) -> Any:
        if getattr(callback, "__name__", "") == "_turn_direct" and not turns:
            turns.append(fd)
            far.send(b"more")
            stream.write(b"x" * (1 << 22))  # it waits: not only input is watched for
            poller._turn()
        return add_reader(fd, callback, *args)

    class Echo(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            if not turns:
                far.send(b"again")

    near, far = socket.socketpair()
    with far:
        near.setblocking(False)
        far.setblocking(False)
        fd = near.detach()
        stream = Stream(poller, loop, fd, Echo(), contextvars.copy_context(), {})
        stream._start()
        loop.add_reader = adding  # type: ignore
        far.send(b"x")
        try:
            await until(lambda: turns)
        finally:
            del loop.add_reader
        stream.abort()
        await until(lambda: fd not in loop._selector.get_map())
