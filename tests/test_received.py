"""What has been received together: what frames say of each other, and what comes after them."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import ssl
import time
from typing import Any

import pytest
from conftest import Net
from helpers import Recorder, client_frame, needs_poller, request_bytes
from raw import BINARY, PING, ROLES, TEXT, against, pattern, soon
from served import Served, until

from picows_c import WSDisconnectKind, WSMsgType
from picows_c.poller import poller_of


async def sent(peer) -> None:
    """Wait until all that the peer wrote lies in our system's buffers."""
    transport = peer.writer.transport
    await until(lambda: transport.get_write_buffer_size() == 0)
    # (asyncio's TLS says so when its own queue is empty.)
    for _ in range(50):
        await asyncio.sleep(0)


async def frames_of(listener, count) -> list[Any]:
    return [await soon(listener.frames.get()) for _ in range(count)]


@pytest.mark.parametrize("role", ROLES)
async def test_frames_that_came_in_many_records(net, role):
    """Each is a TLS record of its own: what they say is said of all that has been received."""
    listener = Recorder()
    async with against(net, role, listener) as peer:
        listener.transport.pause_reading()
        for n in range(50):
            peer.send(BINARY, pattern(100, n))
        await sent(peer)
        listener.transport.resume_reading()
        frames = await frames_of(listener, 50)
        # (One read takes as much as there is room for: two at most for so little.)
        last = [n for n, frame in enumerate(frames) if frame.last_in_buffer]
        assert last[-1] == 49
        assert len(last) <= 2
        assert frames[-1].tail_size == 0
        assert all(frame.tail_size > 0 for frame in frames[:-1] if not frame.last_in_buffer)
        assert all(
            frame.get_payload_as_bytes() == pattern(100, n) for n, frame in enumerate(frames)
        )


@pytest.mark.parametrize("large", [30_000, 70_000, 300_000])
async def test_a_large_frame_and_what_is_behind_it(net, large):
    """Pieces of what follows are no reason to move the large one, and are told of."""
    listener = Recorder()
    async with against(net, "server", listener) as peer:
        for n in range(3):
            peer.write(
                peer.frame(BINARY, pattern(large, n)),
                *(peer.frame(BINARY, pattern(10, n)) for n in range(20)),
            )
            frames = await frames_of(listener, 21)
            assert frames[0].get_payload_as_bytes() == pattern(large, n)
            assert [frame.get_payload_as_bytes() for frame in frames[1:]] == [
                pattern(10, n) for n in range(20)
            ]
            assert frames[-1].last_in_buffer
            assert frames[-1].tail_size == 0
            # What says to be the last in its buffer has no tail, and the other way round.
            assert all(frame.last_in_buffer or frame.tail_size > 0 for frame in frames)


async def test_an_end_behind_more_frames_than_a_turn_takes(net):
    """Every frame is delivered before the end is heard, though close_notify was read long ago."""
    net.skip_lossy_peer()
    listener = Recorder()
    async with against(net, "server", listener) as peer:
        listener.transport.pause_reading()
        for n in range(1500):
            peer.send(BINARY, pattern(20, n))
        await sent(peer)
        peer.writer.close()
        await asyncio.sleep(0)
        listener.transport.resume_reading()
        await soon(listener.disconnected.wait())
        assert listener.events == ["connected", *["BINARY"] * 1500, "disconnected"]
        assert listener.transport.disconnect_cause.kind == WSDisconnectKind.EOF


class ByHand:
    """A TLS client whose records the test writes to the socket as it likes."""

    def __init__(self, net) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = net.certificates.client().wrap_bio(
            self.incoming, self.outgoing, server_hostname="127.0.0.1"
        )
        self.sock = socket.create_connection(("127.0.0.1", net.port))
        self.sock.setblocking(False)
        self.loop = asyncio.get_running_loop()

    async def _move(self) -> None:
        data = self.outgoing.read()
        if data:
            await self.loop.sock_sendall(self.sock, data)
        else:
            self.incoming.write(await soon(self.loop.sock_recv(self.sock, 65536)))

    async def open(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._move()
        self.tls.write(request_bytes())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            try:
                head += self.tls.read(1)
            except ssl.SSLWantReadError:
                await self._move()

    def records(self, *frames: bytes) -> bytes:
        for frame in frames:
            self.tls.write(frame)
        return self.outgoing.read()


@needs_poller
@pytest.mark.parametrize("answers", [False, True])
@pytest.mark.parametrize("objects", [False, True])
async def test_a_broken_record_behind_frames(secure, objects, answers):
    """Frames before it are delivered first; what is sent from their callbacks goes nowhere."""

    class Answering(Recorder):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            if answers:
                transport.send(WSMsgType.BINARY, frame)

    served = Served(Answering)
    context = secure.certificates.server()
    if objects:
        context.sslobject_class = type("Own", (ssl.SSLObject,), {"read": own_read})
    async with secure.serve(served, ssl=context):
        peer = ByHand(secure)
        await peer.open()
        await until(lambda: bool(served.listeners))
        listener = served.listeners[0]
        await soon(listener.connected.wait())
        good = peer.records(*(client_frame(TEXT, b"%d" % n) for n in range(300)))
        bad = bytearray(peer.records(client_frame(TEXT, b"bad")))
        bad[-1] ^= 1
        listener.transport.pause_reading()
        await asyncio.get_running_loop().sock_sendall(peer.sock, good + bytes(bad))
        listener.transport.resume_reading()
        await soon(listener.disconnected.wait())
        got = [bytes(await listener.frames.get()) for _ in range(300)]
        assert got == [b"%d" % n for n in range(300)]
        assert listener.events == ["connected", *["TEXT"] * 300, "disconnected"]
        assert listener.transport.disconnect_cause.kind == WSDisconnectKind.NETWORK_ERROR
        peer.sock.close()


def own_read(self: ssl.SSLObject, *args: Any) -> Any:
    return ssl.SSLObject.read(self, *args)


async def test_a_ping_among_records(net):
    """What the listener does not get does not count."""
    listener = Recorder()
    async with against(net, "server", listener) as peer:
        listener.transport.pause_reading()
        for n in range(3):
            peer.send(BINARY, b"%d" % n)
        peer.send(PING, b"?")
        await sent(peer)
        listener.transport.resume_reading()
        frames = await frames_of(listener, 3)
        assert [frame.last_in_buffer for frame in frames] == [False, False, True]
        assert frames[-1].tail_size > 0


# ---- frames that were held back ----


async def test_held_frames_come_in_the_connections_context(net):
    """Whoever resumes reading does not lend its context variables."""
    name = contextvars.ContextVar("name", default="the server's")
    seen = []

    class Looking(Recorder):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            seen.append(name.get())

    listener = Looking()
    async with against(net, "server", listener) as peer:
        listener.transport.pause_reading()
        peer.send(TEXT, b"before")
        await sent(peer)
        # (Some have been read when reading is paused from inside of a callback.)
        listener.transport.resume_reading()
        await frames_of(listener, 1)
        pausing = asyncio.get_running_loop().create_future()

        async def resumes():
            name.set("the resumer's")
            listener.transport.resume_reading()
            await pausing

        listener.transport.pause_reading()
        for n in range(5):
            peer.send(TEXT, b"%d" % n)
        await sent(peer)
        task = asyncio.ensure_future(resumes())
        await frames_of(listener, 5)
        peer.send(TEXT, b"later")
        await frames_of(listener, 1)
        pausing.set_result(None)
        await task
    assert seen == ["the server's"] * 7


@pytest.mark.parametrize("where", ["callback", "task"])
async def test_held_frames_come_in_portions(net, where):
    """3,000 of them do not keep the loop to themselves."""
    if where == "callback" and net.way == "loop":
        pytest.skip("the loop's transports deliver a read as a whole")
    loop = asyncio.get_running_loop()
    turns = [0]
    at: list[int] = []
    count = 3000

    class Held(Recorder):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            if frame.get_payload_as_bytes() == b"pause":
                transport.pause_reading()
                if where == "callback":
                    transport.resume_reading()
            else:
                at.append(turns[0])

    def tick():
        turns[0] += 1
        if len(at) < count:
            loop.call_soon(tick)

    listener = Held()
    async with against(net, "server", listener) as peer:
        listener.transport.pause_reading()
        peer.write(peer.frame(TEXT, b"pause"), *(peer.frame(BINARY, b"", mask=bytes(4)),) * count)
        await sent(peer)
        tick()
        listener.transport.resume_reading()
        await frames_of(listener, 1)
        if where == "task":
            listener.transport.resume_reading()
        await frames_of(listener, count)
        # Without a limit all come in one iteration of the loop.
        most = max(at.count(turn) for turn in set(at))
        assert most <= 640
    assert len(at) == count


async def test_an_error_in_a_held_frame_ends_the_connection(net, monkeypatch):
    """What fails beside the callbacks ends the connection there, too."""
    listener = Recorder()
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, c: problems.append(c))
    async with against(net, "server", listener) as peer:
        protocol = listener.transport._owner

        def pause(transport, frame):
            if frame.get_payload_as_bytes() == b"pause":
                transport.pause_reading()

        monkeypatch.setattr(listener, "on_ws_frame", pause)
        listener.transport.pause_reading()
        peer.write(peer.frame(TEXT, b"pause"), peer.frame(TEXT, b"x"), peer.close_frame(1000))
        await sent(peer)
        listener.transport.resume_reading()
        await until(lambda: protocol._is_reading_paused)

        def fails(self, *args):
            raise MemoryError("no")

        monkeypatch.setattr(type(protocol), "_close_received", fails)
        listener.transport.resume_reading()
        await soon(listener.disconnected.wait())
        peer.abort()
    assert [type(problem["exception"]) for problem in problems] == [MemoryError]


# ---- a turn's time ----


@needs_poller
@pytest.mark.parametrize("what", ["accepts", "heads", "hellos"])
async def test_one_step_that_takes_long_ends_the_turn(certificates, what, monkeypatch):
    """Many that arrive at once do not keep the loop busy: each slow step is a turn of its own."""
    net = Net("wss" if what == "hellos" else "ws", "auto", certificates)
    poller = poller_of(asyncio.get_running_loop())
    turns: list[int] = []

    def slow() -> None:
        turns.append(poller.turns)
        time.sleep(0.002)  # twice what a turn has

    class Slow(ssl.SSLObject):
        def do_handshake(self) -> None:
            slow()
            super().do_handshake()

    def factory(request):
        if what == "heads":
            slow()
        return Recorder()

    options: dict[str, Any] = {}
    if what == "hellos":
        context = options["ssl"] = certificates.server()
        context.sslobject_class = Slow
    async with net.serve(factory, **options) as server:
        if what == "accepts":
            real = server._make_protocol

            def make(*args):
                slow()
                return real(*args)

            monkeypatch.setattr(server, "_make_protocol", make)
        peers = []
        for _ in range(10):
            peer = socket.create_connection(("127.0.0.1", net.port))
            peers.append(peer)
            if what == "hellos":
                incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
                tls = certificates.client().wrap_bio(
                    incoming, outgoing, server_hostname="127.0.0.1"
                )
                with pytest.raises(ssl.SSLWantReadError):
                    tls.do_handshake()
                peer.sendall(outgoing.read())
            else:
                peer.sendall(request_bytes())
        await until(lambda: len(turns) >= 10)
        for peer in peers:
            peer.close()
    assert len(set(turns[:10])) == 10


@needs_poller
async def test_events_there_is_no_time_for_come_first(ours):
    """Those of a batch that the turn had no time for are served before they are asked for again."""
    order: list[int] = []

    class Slow(Recorder):
        def on_ws_frame(self, transport, frame):
            order.append(int(frame.get_payload_as_bytes()))

    served = Served(Slow)

    class SlowHead:
        def __call__(self, request):
            if request.path == b"/slow":
                time.sleep(0.005)
            return served(request)

    async with ours.serve(SlowHead()):
        peers = [await served.raw(ours) for _ in range(20)]
        first = socket.create_connection(("127.0.0.1", ours.port))
        # It is the first of its batch, and uses up the turn.
        first.sendall(request_bytes("/slow"))
        for round_ in range(3):
            for n, (sock, _) in enumerate(peers):
                sock.sendall(client_frame(TEXT, b"%d" % (round_ * 20 + n)))
        await until(lambda: len(order) == 60)
        first.close()
    for n in range(20):
        assert [number for number in order if number % 20 == n] == [n, 20 + n, 40 + n]


# ---- nested loops ----


def nest(loop, until):
    """Run the loop from inside of one of its callbacks, as nest_asyncio does."""
    for _ in range(10_000):
        if until():
            return
        loop._run_once()
    raise AssertionError("the nested loop got nothing")


async def test_a_nested_loop_serves_the_others(net):
    """A callback runs the loop until another connection has an answer; its own waits meanwhile."""
    loop = asyncio.get_running_loop()
    if not hasattr(loop, "_run_once"):
        pytest.skip("uvloop cannot be nested")
    mine, other = Recorder(), Recorder()
    async with against(net, "server", mine) as peer, against(net, "server", other) as second:
        order = []

        def ask(transport, frame):
            text = frame.get_payload_as_bytes()
            order.append(text)
            if text == b"ask":
                if net.way == "auto":  # (asyncio's transports raise for their own input then)
                    peer.send(TEXT, b"meanwhile")
                second.send(TEXT, b"answer")
                nest(loop, lambda: not other.frames.empty())
                order.append(other.frames.get_nowait().get_payload_as_bytes())

        mine.on_ws_frame = ask  # type: ignore[method-assign]
        expected = [b"ask", b"answer", *[b"meanwhile"] * (net.way == "auto")]
        for _ in range(3):
            order.clear()
            peer.send(TEXT, b"ask")
            await until(lambda: len(order) == len(expected))
            assert order == expected


async def test_a_nested_loop_opens_a_connection(net):
    loop = asyncio.get_running_loop()
    if not hasattr(loop, "_run_once"):
        pytest.skip("uvloop cannot be nested")
    got: list[bytes] = []

    class Echo(Recorder):
        def on_ws_frame(self, transport, frame):
            transport.send(frame.msg_type, frame)

    async def ask():
        transport, listener = await net.connect(Recorder)
        transport.send(WSMsgType.TEXT, "q")
        got.append((await listener.frames.get()).get_payload_as_bytes())
        transport.disconnect()
        await transport.wait_disconnected()

    class Asking(Recorder):
        def on_ws_frame(self, transport, frame):
            task = loop.create_task(ask())
            nest(loop, task.done)
            super().on_ws_frame(transport, frame)

    async with net.serve(lambda request: Echo()):
        transport, listener = await net.connect(Asking)
        for _ in range(2):
            transport.send(WSMsgType.TEXT, "start")
            await soon(listener.frames.get())
        transport.disconnect()
        await soon(transport.wait_disconnected())
    assert got == [b"q", b"q"]


async def test_a_nested_loop_sends_what_waits(net):
    """Of the connection whose callback runs it, too."""
    loop = asyncio.get_running_loop()
    if not hasattr(loop, "_run_once"):
        pytest.skip("uvloop cannot be nested")
    sizes: list[int] = []
    total = 8_000_000

    class Backlog(Recorder):
        def on_ws_frame(self, transport, frame):
            # Its own input comes first: that has it muted, on the poller.
            if net.way == "auto":  # (asyncio's transports raise for their own input then)
                peer.send(TEXT, b"more")
                for _ in range(10):
                    loop.call_soon(lambda: None)
                    loop._run_once()
            self.on_ws_frame = super().on_ws_frame  # type: ignore[method-assign]
            transport.send(WSMsgType.BINARY, pattern(total))
            sizes.append(transport.write_buffer_size)
            nest(loop, lambda: transport.write_buffer_size == 0)
            sizes.append(transport.write_buffer_size)
            for _ in range(100):  # the outer iteration has counted those that ran meanwhile
                loop.call_soon(lambda: None)

    listener = Backlog()
    async with against(net, "server", listener) as peer:
        peer.send(TEXT, b"x")
        received = asyncio.ensure_future(peer.next())
        await until(lambda: len(sizes) == 2)
        assert sizes[0] > 0 or net.way == "loop"  # (asyncio's TLS does not count all of it)
        assert sizes[1] == 0
        assert (await received).payload == pattern(total)


@needs_poller
async def test_a_nested_loop_does_not_spin(ours):
    """Input of the connection that is on the stack is not reported again and again."""
    loop = asyncio.get_running_loop()
    if not hasattr(loop, "_run_once"):
        pytest.skip("uvloop cannot be nested")
    poller = poller_of(loop)
    listener = Recorder()
    turns: list[int] = []

    async with against(ours, "server", listener) as peer:

        def waits(transport, frame):
            if turns:
                Recorder.on_ws_frame(listener, transport, frame)
                return
            peer.send(TEXT, b"more")
            done: list[bool] = []
            loop.call_later(0.1, done.append, True)
            before = poller.turns
            nest(loop, lambda: bool(done))
            turns.append(poller.turns - before)

        listener.on_ws_frame = waits  # type: ignore[method-assign]
        peer.send(TEXT, b"x")
        await soon(listener.frames.get())
    assert turns[0] < 10


# ---- the end, and pausing ----


async def test_an_end_waits_while_reading_is_paused(net):
    """Whoever pauses in the last callback hears of the end when he goes on, not before."""
    net.skip_lossy_peer()

    class Pausing(Recorder):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            transport.pause_reading()

    listener = Pausing()
    async with against(net, "server", listener) as peer:
        listener.transport.pause_reading()
        peer.send(TEXT, b"last")
        await sent(peer)
        peer.writer.close()
        for _ in range(20):
            await asyncio.sleep(0)
        listener.transport.resume_reading()
        await frames_of(listener, 1)
        for _ in range(50):
            await asyncio.sleep(0)
        if net.way == "auto":
            assert not listener.disconnected.is_set()
        listener.transport.resume_reading()
        await soon(listener.disconnected.wait())


@needs_poller
async def test_a_protocol_comes_back_to_a_paused_stream(ours):
    """It is paused as the stream is."""
    listener = Recorder()
    async with against(ours, "server", listener) as peer:
        stream = listener.transport.underlying_transport
        protocol = stream.get_protocol()
        stream.set_protocol(asyncio.Protocol())
        stream.pause_reading()
        stream.set_protocol(protocol)
        stream.resume_reading()
        stream.set_protocol(asyncio.Protocol())
        stream.set_protocol(protocol)
        peer.send(TEXT, b"x")
        await frames_of(listener, 1)


@needs_poller
@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_frames_wait_in_a_protocol_that_comes_back(certificates, scheme):
    """It was paused when it went; the stream has been resumed meanwhile."""
    listener = Recorder()
    async with against(Net(scheme, "auto", certificates), "server", listener) as peer:
        stream = listener.transport.underlying_transport
        protocol = stream.get_protocol()

        def pauses(transport, frame):
            Recorder.on_ws_frame(listener, transport, frame)
            stream.pause_reading()

        listener.on_ws_frame = pauses  # type: ignore[method-assign]
        peer.write(peer.frame(TEXT, b"1"), peer.frame(TEXT, b"2"))
        await frames_of(listener, 1)
        stream.set_protocol(asyncio.Protocol())
        stream.resume_reading()
        for _ in range(20):
            await asyncio.sleep(0)
        assert listener.frames.empty()
        stream.set_protocol(protocol)
        (second,) = await frames_of(listener, 1)
        assert second.get_payload_as_bytes() == b"2"
        stream.resume_reading()
