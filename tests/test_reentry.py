"""Calls from inside of calls: what a callback, an SSLObject, a loop or a foreign transport may do.

Most of these were writes to memory that somebody else had; AddressSanitizer (`make asan`) sees
that, and without it what is asserted here shows most of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import os
import socket
import ssl
import struct
import sys
import weakref
from typing import Any, Callable

import pytest
from helpers import EchoListener, Recorder, client_frame, needs_poller, request_bytes
from proxies import scripted
from raw import BINARY, PING, PONG, against, pattern, soon, upgraded
from scripts import run_script
from served import until

from picows_c import WSMsgType, _core, listening
from picows_c.poller import Poller, poller_of
from picows_c.stream import Stream, connect_stream


class OnFrame(Recorder):
    """Calls something for the first frame."""

    def __init__(self, call: Callable[[Any], object]) -> None:
        super().__init__()
        self.call: Any = call

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        call, self.call = self.call, None
        if call is not None:
            call(transport)


# ---- the reader and its protocol ----


async def test_the_protocol_is_let_go_of_while_it_parses(net):
    """Nobody holds the reader but the call that parses; it goes when that returns."""
    readers = []

    def leave(transport):
        underlying = transport.underlying_transport
        protocol = underlying.get_protocol()
        readers.append(weakref.ref(protocol))
        underlying.set_protocol(asyncio.Protocol())
        protocol.connection_lost(None)
        underlying.abort()

    listener = OnFrame(leave)
    async with against(net, "server", listener) as peer:
        peer.write(*(peer.frame(BINARY, pattern(200, n)) for n in range(3)))
        await soon(listener.disconnected.wait())
    assert listener.events == ["connected", "BINARY", "disconnected"]
    await settle()
    gc.collect()
    if net.way == "auto":  # (the loops' own TLS keeps methods of it)
        assert readers[0]() is None


@needs_poller
async def test_a_protocol_that_goes_pauses_its_transport(ours):
    """What the old protocol does when it is dropped meets the new one."""
    seen = []

    class Last(asyncio.Protocol):
        def __init__(self, stream):
            self.stream = stream

        def __del__(self):
            self.stream.pause_reading()
            seen.append(self.stream.is_reading())

    listener = Recorder()
    async with against(ours, "server", listener) as peer:
        stream = listener.transport.underlying_transport
        protocol = stream.get_protocol()
        stream.set_protocol(Last(stream))
        stream.set_protocol(protocol)
        assert seen == [False]
        stream.resume_reading()
        peer.send(BINARY, b"goes on")
        assert (await soon(listener.frames.get())).get_payload_as_bytes() == b"goes on"


# ---- room that get_buffer() lends ----


@needs_poller
async def test_buffer_updated_with_room_that_was_taken_back(ours):
    """Bytes that came another way lie there: nothing is delivered that never came."""
    listener = Recorder()
    async with against(ours, "server", listener, max_frame_size=1 << 20) as peer:
        reader = listener.transport._owner
        with reader.get_buffer(-1) as room:
            lent = len(room)
        # A frame that is not complete: its bytes stay in the ring.
        frame = peer.frame(BINARY, pattern(100_000), mask=bytes(4))
        # (A ping in front of it, and its answer: all that was sent with it has been read.)
        peer.write(peer.frame(PING), frame[:40_000])
        await peer.expect(PONG)
        with pytest.raises(RuntimeError, match="other input has come"):
            reader.buffer_updated(lent)
        peer.write(frame[40_000:])
        got = await soon(listener.frames.get())
        assert got.get_payload_as_bytes() == pattern(100_000)


async def settle(turns=20):
    for _ in range(turns):
        await asyncio.sleep(0)


async def test_room_is_lent_once(net):
    listener = Recorder()
    async with against(net, "server", listener) as peer:
        reader = listener.transport._owner
        data = client_frame(BINARY, b"by hand", mask=b"1234")
        first = reader.get_buffer(-1)
        second = reader.get_buffer(-1)
        first[: len(data)] = bytes(len(data))
        second[: len(data)] = data
        reader.buffer_updated(len(data))
        assert (await soon(listener.frames.get())).get_payload_as_bytes() == b"by hand"
        with pytest.raises(RuntimeError, match="buffer_updated"):
            reader.buffer_updated(len(data))
        # What is lent and goes nowhere does not get into the way.
        third = reader.get_buffer(-1)
        peer.send(BINARY, b"the usual way")
        assert (await soon(listener.frames.get())).get_payload_as_bytes() == b"the usual way"
        if isinstance(listener.transport.underlying_transport, Stream):
            with pytest.raises(RuntimeError, match="get_buffer"):
                reader.buffer_updated(6)
        del first, second, third


async def test_a_view_that_is_kept_shows_nobody_else(net):
    """The block behind a kept view serves no other connection, for as long as it is kept."""
    mine, others = Recorder(), Recorder()
    async with against(net, "server", mine) as peer, against(net, "server", others) as other:
        view = mine.transport._owner.get_buffer(-1)
        view[:] = bytes(len(view))  # (what lay there is of earlier connections)
        peer.send(BINARY, b"a")
        kept_mine = await soon(mine.frames.get())
        other.send(BINARY, b"secret" * 100)
        kept = await soon(others.frames.get())
        # (On the loop's way the next read of this connection asks for room anew.)
        assert b"secret" not in bytes(view)
        view[:] = b"!" * len(view)
        assert kept.get_payload_as_bytes() == b"secret" * 100
        assert kept_mine.get_payload_as_bytes() == b"a"
        other.send(BINARY, b"more" * 100)
        assert (await soon(others.frames.get())).get_payload_as_bytes() == b"more" * 100
        assert bytes(view) == b"!" * len(view)
        view.release()
        other.send(BINARY, b"after")
        assert (await soon(others.frames.get())).get_payload_as_bytes() == b"after"


async def test_private_calls_at_the_wrong_moment(net):
    """What is parsed cannot be taken away, nor begun with again."""
    raised = []

    def calls(transport):
        reader = transport._owner
        for call in (
            reader._take_rest,
            lambda: reader._start_frames(
                transport, listener, 1 << 20, False, False, 1 << 20, None, False
            ),
        ):
            with pytest.raises(RuntimeError) as caught:
                call()
            raised.append(str(caught.value))

    listener = OnFrame(calls)
    async with against(net, "server", listener) as peer:
        peer.write(peer.frame(BINARY, b"one"), peer.frame(BINARY, b"two"))
        for text in (b"one", b"two"):
            assert (await soon(listener.frames.get())).get_payload_as_bytes() == text
    assert raised == ["the bytes are being parsed", "frames begin once, behind the head"]


# ---- TLS that calls back ----


class Reentrant(ssl.SSLObject):
    """Calls ``hook(self, where)`` before it does what it is asked."""

    hook: Any = None

    def _call(self, where: str) -> None:
        hook = type(self).hook
        if hook is not None:
            hook(self, where)

    def read(self, *args: Any) -> Any:
        result = super().read(*args)
        self._call("read")
        return result

    def write(self, data: Any) -> int:
        self._call("write")
        return super().write(data)

    def pending(self) -> int:
        self._call("pending")
        return super().pending()

    def unwrap(self) -> Any:
        self._call("unwrap")
        return super().unwrap()


def reentrant(hook: Any) -> Any:
    return type("Ours", (Reentrant,), {"hook": staticmethod(hook) if hook else None})


class Once:
    """A hook that acts once, at one place, when it is armed."""

    def __init__(self, where: str, act: Callable[[], object]) -> None:
        self.where, self.act = where, act
        self.is_armed = False
        self.count = 0

    def __call__(self, _: object, where: str) -> None:
        if self.is_armed and where == self.where:
            self.is_armed = False
            self.count += 1
            self.act()


async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An HTTP proxy."""
    head = await reader.readuntil(b"\r\n\r\n")
    host, port = head.split()[1].decode().split(":")
    to_server, from_us = await asyncio.open_connection(host, int(port))
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    async def pipe(source, sink):
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        finally:
            sink.close()

    try:
        await asyncio.gather(pipe(reader, from_us), pipe(to_server, writer))
    finally:
        from_us.transport.abort()


LAYERS = ["only", "outer", "inner"]


class Layered:
    """A client over wss whose SSLObject of one layer calls back; "outer" is that of a proxy."""

    def __init__(self, net, layer: str, where: str, act: Callable[[Any], object]) -> None:
        self.net, self.layer = net, layer
        self.transport: Any = None
        self.hook = Once(where, lambda: act(self.transport))

    async def connect(self, stack, listener: Any) -> None:
        client, outer = self.net.certificates.client(), self.net.certificates.client()
        (outer if self.layer == "outer" else client).sslobject_class = reentrant(self.hook)
        options: dict[str, Any] = {"ssl_context": client}
        if self.layer != "only":
            port = await stack.enter_async_context(scripted(tunnel, self.net.certificates.server()))
            options.update(proxy=f"https://127.0.0.1:{port}", proxy_ssl_context=outer)
        self.transport, _ = await self.net.connect(lambda: listener, **options)


@pytest.fixture
def stack():
    return contextlib.AsyncExitStack()


@needs_poller
@pytest.mark.parametrize("where", ["read", "write", "pending"])
@pytest.mark.parametrize("layer", LAYERS)
async def test_a_message_from_inside_of_tls(secure, stack, layer, where):
    """It goes out whole, behind what was on its way."""
    large, small = pattern(300_000, 7), pattern(20_000)
    layered = Layered(secure, layer, where, lambda t: t.send(WSMsgType.BINARY, large))
    listener = Recorder()
    async with secure.serve(lambda r: EchoListener(), max_frame_size=1 << 20), stack:
        await layered.connect(stack, listener)
        layered.hook.is_armed = True
        layered.transport.send(WSMsgType.BINARY, small)
        got = [(await soon(listener.frames.get())).get_payload_as_bytes() for _ in range(2)]
        assert sorted(map(len, got)) == [20_000, 300_000]
        assert {bytes(payload) for payload in got} == {small, large}
        assert layered.hook.count == 1
        # And all goes on.
        layered.transport.send(WSMsgType.BINARY, b"after")
        assert (await soon(listener.frames.get())).get_payload_as_bytes() == b"after"
        layered.transport.disconnect()
        await soon(layered.transport.wait_disconnected())


@needs_poller
@pytest.mark.parametrize("graceful", [True, False])
@pytest.mark.parametrize("where", ["read", "write", "pending", "unwrap"])
@pytest.mark.parametrize("layer", LAYERS)
async def test_the_end_from_inside_of_tls(secure, stack, layer, where, graceful):
    layered = Layered(secure, layer, where, lambda t: t.disconnect(graceful))
    listener = Recorder()
    async with secure.serve(lambda r: EchoListener()), stack:
        await layered.connect(stack, listener)
        layered.hook.is_armed = True
        layered.transport.send(WSMsgType.BINARY, pattern(40_000))
        if where == "unwrap":
            layered.transport.disconnect()
        await soon(listener.disconnected.wait())
        assert layered.hook.count == 1
        assert listener.events[-1] == "disconnected"


@needs_poller
async def test_the_end_from_inside_of_tls_behind_the_peers(secure, stack):
    """The peer's end waits behind frames, reading is paused, and ours is owed: all is over then."""
    poller = poller_of(asyncio.get_running_loop())
    server, listener = Recorder(), Recorder()

    def pauses(transport, frame):
        Recorder.on_ws_frame(listener, transport, frame)
        transport.pause_reading()

    listener.on_ws_frame = pauses  # type: ignore[method-assign]
    layered = Layered(secure, "only", "write", lambda t: t.underlying_transport.close())
    async with secure.serve(lambda r: server), stack:
        await layered.connect(stack, listener)
        await soon(server.connected.wait())
        client = layered.transport.underlying_transport
        client.pause_reading()
        for text in (b"1", b"2"):
            server.transport.send(WSMsgType.BINARY, text)
        server.transport.underlying_transport.write_eof()
        await settle()
        client.resume_reading()
        await soon(listener.frames.get())
        await settle()
        assert not listener.disconnected.is_set()
        turns = poller.turns
        layered.hook.is_armed = True
        layered.transport.send(WSMsgType.BINARY, b"x")
        await soon(listener.disconnected.wait())
        assert poller.turns - turns < 100  # (not until the time for the end is up)


@needs_poller
@pytest.mark.parametrize("layer", LAYERS)
async def test_messages_for_each_write_are_no_endless_loop(secure, stack, layer):
    """A write() that writes: each goes out in a turn of its own, and the loop has its turn."""
    left = [50]

    def again(transport):
        if left[0]:
            left[0] -= 1
            layered.hook.is_armed = True
            transport.send(WSMsgType.BINARY, b"again")

    layered = Layered(secure, layer, "write", again)
    listener = Recorder()
    async with secure.serve(lambda r: EchoListener()), stack:
        await layered.connect(stack, listener)
        layered.hook.is_armed = True
        layered.transport.send(WSMsgType.BINARY, b"first")
        got = [(await soon(listener.frames.get())).get_payload_as_bytes() for _ in range(51)]
        assert got == [b"first", *[b"again"] * 50]
        layered.transport.disconnect()
        await soon(layered.transport.wait_disconnected())


@needs_poller
@pytest.mark.parametrize("act", ["send", "disconnect", "drop"])
async def test_a_message_callback_of_openssl(secure, act):
    """SSLContext._msg_callback is called from inside of SSL_read() and SSL_write()."""
    if not hasattr(ssl.SSLContext, "_msg_callback"):
        pytest.skip("no _msg_callback here")
    state: dict[str, Any] = {"left": 0}

    def called(*_: Any) -> None:
        if state["left"] > 0:
            state["left"] -= 1
            if act == "send":
                state["transport"].send(WSMsgType.BINARY, pattern(50_000))
            else:
                state["transport"].disconnect(act == "disconnect")

    context = secure.certificates.client()
    context._msg_callback = called
    listener = Recorder()
    async with secure.serve(lambda r: EchoListener()):
        transport, _ = await secure.connect(lambda: listener, ssl_context=context)
        state.update(transport=transport, left=1)
        transport.send(WSMsgType.BINARY, pattern(20_000))
        if act == "send":
            sizes = [(await soon(listener.frames.get())).payload_size for _ in range(2)]
            assert sorted(sizes) == [20_000, 50_000]
            transport.disconnect()
        await soon(transport.wait_disconnected())
        context._msg_callback = None
    assert state["left"] == 0


class Proxy:
    """Looks like the object inside of an SSLObject, and counts."""

    def __init__(self, real: Any, calls: list[str]) -> None:
        self._real, self._calls = real, calls

    def __getattr__(self, name: str) -> Any:
        self._calls.append(name)
        return getattr(self._real, name)


@needs_poller
async def test_an_sslobject_with_another_object_inside(secure):
    """Its methods are the ones that are called, and nothing past them."""
    calls: list[str] = []

    class Wrapping(ssl.SSLObject):
        @property
        def _sslobj(self) -> Any:
            return self.__dict__["inner"]

        @_sslobj.setter
        def _sslobj(self, real: Any) -> None:
            self.__dict__["inner"] = Proxy(real, calls)

    context = secure.certificates.client()
    context.sslobject_class = Wrapping
    listener = Recorder()
    async with secure.serve(lambda r: EchoListener()):
        transport, _ = await secure.connect(lambda: listener, ssl_context=context)
        assert transport.underlying_transport._tls_is_direct() is False
        calls.clear()
        transport.send(WSMsgType.BINARY, pattern(1000))
        assert (await soon(listener.frames.get())).get_payload_as_bytes() == pattern(1000)
        assert {"read", "write"} <= set(calls)
        transport.disconnect()
        await soon(transport.wait_disconnected())


@needs_poller
async def test_an_sslobject_of_another_connection(secure):
    """The SSL that was made for us belongs to an object that has gone: it is not used."""
    context = secure.certificates.client()

    class Borrowed(ssl.SSLObject):
        @classmethod
        def _create(cls, *args: Any, **options: Any) -> Any:
            made = super()._create(*args, **options)
            made._sslobj = elsewhere._sslobj
            return made

    plain = secure.certificates.client()
    elsewhere = plain.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="127.0.0.1")
    context.sslobject_class = Borrowed
    async with secure.serve(lambda r: EchoListener()):
        with pytest.raises((RuntimeError, OSError, asyncio.TimeoutError)):
            await secure.connect(Recorder, ssl_context=context, open_timeout=1)


@needs_poller
async def test_a_read_that_makes_its_buffer_smaller(ours):
    """Not a byte behind the buffer's end is given to the protocol."""

    class Shrinks(ssl.SSLObject):
        def read(self, n: int = 1024, buffer: Any = None) -> Any:
            got = super().read(n, buffer)
            into = buffer.obj
            if isinstance(into, bytearray):
                buffer.release()
                del into[:]
            return got

    given = []

    class Plain(asyncio.Protocol):
        def data_received(self, data):
            given.append(data)

        def connection_lost(self, exc):
            given.append(exc)
            lost.set_result(None)

    loop = asyncio.get_running_loop()
    lost = loop.create_future()
    context = ours.certificates.client()
    context.sslobject_class = Shrinks

    async def greets(reader, writer):
        writer.write(b"x" * 5000)
        await writer.drain()
        await reader.read()

    problems = []
    loop.set_exception_handler(lambda _, context: problems.append(context["exception"]))
    async with scripted(greets, ours.certificates.server()) as port:
        sock = socket.create_connection(("127.0.0.1", port))
        await connect_stream(
            poller_of(loop), loop, Plain, sock, ssl=context, server_hostname="127.0.0.1"
        )
        await soon(lost)
    assert [type(what) for what in given] == [ValueError]
    assert [type(problem) for problem in problems] == [ValueError]


@needs_poller
@pytest.mark.parametrize("act", ["abort", "forget", "again"])
async def test_wrap_that_ends_the_stream(ours, act):
    """wrap() is Python's: what was there before it need not be there afterwards."""
    listener = Recorder()
    async with against(ours, "server", listener):
        stream = listener.transport.underlying_transport
        context = ours.certificates.server()
        bios = [ssl.MemoryBIO() for _ in range(4)]

        def inner():
            return context.wrap_bio(bios[2], bios[3], server_side=True)

        def wrap():
            if act == "again":
                stream._start_tls(inner, bios[2], bios[3], lambda error: None)
            else:
                stream.abort()
                if act == "forget":
                    stream._lost(None)
            return context.wrap_bio(bios[0], bios[1], server_side=True)

        protocol = stream.get_protocol()
        with pytest.raises(ConnectionResetError):
            stream._start_tls(wrap, bios[0], bios[1], lambda error: None)
        if act == "again":
            # Who is in a handshake hears of its end; the protocol is not asked.
            stream.abort()
            protocol.connection_lost(None)


@needs_poller
@pytest.mark.parametrize("kind", ["sni", "read", "write"])
def test_a_fork_inside_of_tls(loop_kind, kind, pem_files):
    out = run_script("fork_tls.py", loop_kind, kind, pem_files).stdout
    assert out == "ok\n"


@needs_poller
def test_tls_in_several_threads(loop_kind, pem_files):
    """OpenSSL's handshakes run without the GIL, and take blocks for what they make."""
    out = run_script("tls_threads.py", loop_kind, 4, 30, pem_files).stdout
    assert out == "ok\n"


# ---- loops ----


def run_some(loop, turns=4):
    """Run the loop from inside of one of its callbacks, as nest_asyncio makes it possible."""
    for _ in range(turns):
        loop.call_soon(lambda: None)
        loop._run_once()


async def blocking_client(net, path: str) -> socket.socket:
    """Upgrade a connection over a socket that no loop knows of."""
    sock = socket.create_connection(("127.0.0.1", net.port))
    sock.sendall(request_bytes(path))
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await loop.sock_recv(sock, 4096)
    return sock


def nested(loop, until):
    """Run the loop from inside of one of its callbacks until something is true, or long enough.

    Returns whether it is.
    """
    for _ in range(1000):
        if until():
            break
        run_some(loop, 1)
    # The outer iteration has counted the callbacks that have been run meanwhile.
    for _ in range(100):
        loop.call_soon(lambda: None)
    return until()


@needs_poller
async def test_a_reset_of_another_is_heard_inside_of_a_nested_loop(ours):
    """It came together with the input whose callback waits for it; the kernel reports it once."""
    loop = asyncio.get_running_loop()
    if not hasattr(loop, "_run_once"):
        pytest.skip("uvloop cannot be nested")
    asks, dies = Recorder(), Recorder()
    heard = []

    def waits(transport, frame):
        heard.append(nested(loop, dies.disconnected.is_set))

    asks.on_ws_frame = waits  # type: ignore[method-assign]
    async with ours.serve(lambda request: dies if request.path == b"/dies" else asks):
        near, far = await blocking_client(ours, "/asks"), await blocking_client(ours, "/dies")
        await soon(asks.connected.wait())
        await soon(dies.connected.wait())
        dies.transport.pause_reading()
        await settle()
        near.send(client_frame(BINARY, b"x", mask=b"1234"))
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        await until(lambda: heard)
        near.close()
    assert heard == [True]


@needs_poller
async def test_a_failed_write_that_ran_the_loop(secure):
    """What came meanwhile is read once the call is over, also where that raises."""
    loop = asyncio.get_running_loop()
    if not hasattr(loop, "_run_once"):
        pytest.skip("uvloop cannot be nested")
    server, listener = Recorder(), Recorder()

    def fails(transport):
        server.transport.send(WSMsgType.BINARY, b"meanwhile")
        run_some(loop, 10)
        raise ValueError("planned")

    layered = Layered(secure, "only", "write", fails)
    async with secure.serve(lambda r: server), contextlib.AsyncExitStack() as stack:
        await layered.connect(stack, listener)
        await soon(server.connected.wait())
        raised = loop.create_future()

        def write() -> None:
            layered.hook.is_armed = True
            try:
                layered.transport.underlying_transport.write(b"x")
            except ValueError as error:
                raised.set_result(str(error))

        loop.call_soon(write)
        assert await soon(raised) == "planned"
        got = await soon(listener.frames.get())
        assert got.get_payload_as_bytes() == b"meanwhile"
        layered.transport.disconnect(False)
        await soon(layered.transport.wait_disconnected())


@needs_poller
async def test_a_context_that_runs_the_loop_when_it_goes(ours):
    """The copy that a callback ran in is dropped behind it, and with it what that had set."""
    loop = asyncio.get_running_loop()
    if not hasattr(loop, "_run_once"):
        pytest.skip("uvloop cannot be nested")
    last = contextvars.ContextVar[Any]("last")
    listener = Recorder()
    gone = []

    class Last:
        def __del__(self) -> None:
            peer.writer.get_extra_info("socket")._sock.send(peer.frame(BINARY, b"2"))
            gone.append(nested(loop, lambda: False))

    async with against(ours, "server", listener) as peer:

        def sets(transport, frame):
            Recorder.on_ws_frame(listener, transport, frame)
            if not gone:
                last.set(Last())

        def inside() -> None:
            peer.send(BINARY, b"1")
            nested(loop, lambda: gone)

        listener.on_ws_frame = sets  # type: ignore[method-assign]
        # The connection's own context is entered meanwhile.
        loop.call_soon(inside, context=listener.transport.underlying_transport._context)
        for text in (b"1", b"2"):
            assert (await soon(listener.frames.get())).get_payload_as_bytes() == text
    assert gone == [False]


async def test_a_loss_is_heard_inside_of_a_nested_loop(net):
    loop = asyncio.get_running_loop()
    if not hasattr(loop, "_run_once"):
        pytest.skip("uvloop cannot be nested")
    seen = []

    def leave(transport):
        transport.disconnect(False)
        run_some(loop, 10)
        seen.append(transport.is_disconnected)

    listener = OnFrame(leave)
    async with against(net, "server", listener) as peer:
        peer.send(BINARY, b"x")
        await soon(listener.disconnected.wait())
        await soon(listener.transport.wait_disconnected())
    assert seen == [True]


@needs_poller
async def test_a_loop_that_adds_others_while_it_is_asked(ours):
    """add_reader() of a custom loop makes connections of its own, or ends the poller."""
    loop = asyncio.get_running_loop()
    made: list[Any] = []

    class Adding(Poller):
        def _first(self) -> None:
            if not made:
                made.append(None)
                for _ in range(40):
                    a, b = socket.socketpair()
                    a.setblocking(False)
                    made.append((b, new_stream(self, loop, a.detach())))

        def _last(self) -> None:
            pass

    poller = Adding(loop)
    a, b = socket.socketpair()
    stream = new_stream(poller, loop, a.detach())
    assert poller.count == 41
    stream.abort()
    for peer, other in made[1:]:
        other.abort()
        peer.close()
    b.close()
    await settle()
    assert poller.count == 0

    class Busy:
        """The same from inside of the loop's own, which has the poller once."""

        def __init__(self) -> None:
            self.others: list[Any] = []
            self.added = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(loop, name)

        def add_reader(self, fd: int, callback: Any) -> None:
            while len(self.others) < 40:
                a, b = socket.socketpair()
                a.setblocking(False)
                self.others.append(b)
                made.append(new_stream(poller, self, a.detach()))
            self.added += 1
            loop.add_reader(fd, callback)

    made.clear()
    busy = Busy()
    poller = Poller(busy)  # type: ignore[arg-type]
    a, b = socket.socketpair()
    a.setblocking(False)
    made.append(new_stream(poller, busy, a.detach()))
    assert (poller.count, busy.added) == (41, 1)
    for stream in made:
        stream.abort()
    for peer in [b, *busy.others]:
        peer.close()
    await settle()
    assert poller.count == 0

    class Ending(Poller):
        def _first(self) -> None:
            self._forked()

    a, b = socket.socketpair()
    with pytest.raises(RuntimeError, match="closed"):
        new_stream(Ending(loop), loop, a.fileno())
    a.close()
    b.close()


def new_stream(poller, loop, fd):
    return Stream(poller, loop, fd, asyncio.Protocol(), contextvars.copy_context(), {})


@pytest.mark.parametrize("size", [-1, -(1 << 40)])
async def test_a_transport_that_has_less_than_nothing(size):
    """A negative get_write_buffer_size() is an error, not a number."""

    class Odd(asyncio.Transport):
        def get_write_buffer_size(self) -> int:
            return size

        def write(self, data: Any) -> None:
            raise AssertionError("not asked")

        def abort(self) -> None:
            pass

    class Owner:
        def _trace(self, *args: Any) -> None:
            pass

    transport = _core.WSTransport(Owner(), Odd(), -1, False, True, False, 100, False)
    with pytest.raises(ValueError, match=f"get_write_buffer_size.*{size}"):
        transport.send(WSMsgType.BINARY, b"x")
    with pytest.raises(ValueError, match="get_write_buffer_size"):
        _ = transport.write_buffer_size


@needs_poller
async def test_a_stream_serves_its_own_transport_only(ours):
    one, two = Recorder(), Recorder()
    async with against(ours, "server", one), against(ours, "server", two) as peer:
        stream = one.transport.underlying_transport
        with pytest.raises(ValueError, match="belongs to another"):
            stream._bind(two.transport, 0.0)
        two.transport.send(WSMsgType.BINARY, b"to two")
        await peer.expect(BINARY, b"to two")


# ---- descriptors ----


@needs_poller
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of the copy
async def test_a_ctrl_c_leaves_the_descriptor_alone(ours):
    """Whatever line of getsockname() is interrupted: the connection's descriptor stays open."""
    listener = Recorder()
    async with against(ours, "server", listener) as peer:
        sock = listener.transport.underlying_transport.get_extra_info("socket")
        name = sock.getsockname()
        left = 0

        def interrupt(frame, event, arg):
            nonlocal left
            left -= 1
            if left == 0:
                sys.setprofile(None)
                raise KeyboardInterrupt

        interrupted = 0
        for place in range(1, 40):
            left = place
            try:
                sys.setprofile(interrupt)
                sock.getsockname()
                sys.setprofile(None)
            except KeyboardInterrupt:
                interrupted += 1
            gc.collect()
        assert interrupted > 3
        assert sock.getsockname() == name
        listener.transport.send(WSMsgType.BINARY, b"still mine")
        await peer.expect(BINARY, b"still mine")


@needs_poller
async def test_a_descriptor_is_closed_once(ours, monkeypatch):
    """A stream that took the descriptor, and raised then, closes it; the acceptor does not."""
    taken = []
    real = listening.Stream

    class Raises(real):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            taken.append(self)
            raise MemoryError("behind the end")

    problems = []
    monkeypatch.setattr("sys.unraisablehook", lambda info: problems.append(info.exc_type))
    async with ours.serve(lambda r: EchoListener()):
        monkeypatch.setattr(listening, "Stream", Raises)
        reader, writer = await ours.open()
        assert await soon(reader.read()) == b""
        writer.close()
        await until(lambda: bool(problems))
        assert [stream._fileno() for stream in taken] == [-1]
        monkeypatch.setattr(listening, "Stream", real)
        peer = await upgraded(ours)
        peer.send(BINARY, b"x")
        await peer.expect(BINARY, b"x")
        peer.abort()
    assert problems == [MemoryError]


@needs_poller
@pytest.mark.parametrize("taken", [False, True])
async def test_a_clients_descriptor_is_closed_once(ours, monkeypatch, taken):
    """A stream that raises, before or after it took the descriptor: one of the two closes it."""
    made = []

    class Raises(Stream):
        def __init__(self, *args: Any) -> None:
            made.append(args[2])
            if taken:
                super().__init__(*args)
            raise MemoryError("planned")

    server = Recorder()
    async with against(ours, "server", server):
        monkeypatch.setattr("picows_c.stream.Stream", Raises)
        with pytest.raises(MemoryError, match="planned"):
            await ours.connect(Recorder)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(made[0])
        # The number is another's from now on, and nobody closes it.
        closed = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
        assert made[0] in closed
        monkeypatch.undo()
        gc.collect()
        for fd in closed:
            os.close(fd)


@needs_poller
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_ctrl_c_in_call_soon_loses_no_connection(ours, monkeypatch, when):
    loop = asyncio.get_running_loop()
    if not hasattr(loop, "_run_once"):
        pytest.skip("uvloop's call_soon() is C")
    listener = Recorder()
    real = loop.call_soon

    def interrupted(callback, *args, **options):
        if getattr(callback, "__name__", "") != "_lost":
            return real(callback, *args, **options)
        monkeypatch.setattr(loop, "call_soon", real)
        if when == "after":
            real(callback, *args, **options)
        raise KeyboardInterrupt

    async with against(ours, "server", listener):
        monkeypatch.setattr(loop, "call_soon", interrupted, raising=False)
        with pytest.raises(KeyboardInterrupt):
            listener.transport.disconnect(False)
        await soon(listener.disconnected.wait())
        await soon(listener.transport.wait_disconnected())
        assert listener.events.count("disconnected") == 1


@needs_poller
async def test_a_loss_inside_of_call_soon_is_told_once(monkeypatch):
    """A signal's handler ends the connection while its end is told, and the protocol nests."""
    loop = asyncio.get_running_loop()
    if not hasattr(loop, "_run_once"):
        pytest.skip("uvloop's call_soon() is C")
    told = []
    real = loop.call_soon

    class Nests(asyncio.Protocol):
        def connection_lost(self, exc):
            told.append(exc)
            nested(loop, lambda: False)

    def interrupted(callback, *args, **options):
        if getattr(callback, "__name__", "") == "_lost":
            monkeypatch.setattr(loop, "call_soon", real)
            stream.abort()
        return real(callback, *args, **options)

    near, far = socket.socketpair()
    with far:
        near.setblocking(False)
        stream = Stream(
            poller_of(loop), loop, near.detach(), Nests(), contextvars.copy_context(), {}
        )
        stream._start()
        monkeypatch.setattr(loop, "call_soon", interrupted, raising=False)
        stream.abort()
        await settle()
        assert told == [None]


@needs_poller
async def test_a_nested_loop_inside_of_tls(secure):
    """A send() from a task whose SSLObject runs the loop: the others are served, and it ends."""
    loop = asyncio.get_running_loop()
    if not hasattr(loop, "_run_once"):
        pytest.skip("uvloop cannot be nested")
    listener = Recorder()
    layered: Any = None

    def nests(transport):
        transport.send(WSMsgType.BINARY, b"inside")
        run_some(loop, 10)

    layered = Layered(secure, "only", "write", nests)
    async with secure.serve(lambda r: EchoListener()), contextlib.AsyncExitStack() as stack:
        await layered.connect(stack, listener)
        sent = loop.create_future()

        def send() -> None:
            layered.hook.is_armed = True
            layered.transport.send(WSMsgType.BINARY, b"outside")
            sent.set_result(None)

        # (Not from a task: a nested loop could not run one then.)
        loop.call_soon(send)
        await soon(sent)
        got = [(await soon(listener.frames.get())).get_payload_as_bytes() for _ in range(2)]
        assert got == [b"outside", b"inside"]
        layered.transport.disconnect()
        await soon(layered.transport.wait_disconnected())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_an_exception_after_the_loss_was_told(net, caplog):
    """A callback ends the connection, runs the loop, and raises: the exception is logged."""
    loop = asyncio.get_running_loop()
    if not hasattr(loop, "_run_once"):
        pytest.skip("uvloop cannot be nested")

    def leave(transport):
        transport.disconnect(False)
        run_some(loop, 10)
        raise ValueError("behind the end")

    listener = OnFrame(leave)
    async with against(net, "server", listener) as peer:
        peer.send(BINARY, b"x")
        await soon(listener.disconnected.wait())
        await settle()
    raised = [r.exc_info[1] for r in caplog.records if r.exc_info]
    assert [str(error) for error in raised] == ["behind the end"]
