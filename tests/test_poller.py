"""The rules of one poller a loop, each by what happens where it is broken.

Numbers in the names of sections are those of the project's notes on the poller.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import os
import select
import socket
import subprocess
import sys
import threading
import weakref
from typing import Any

import pytest
from conftest import Net, new_loop
from helpers import EchoListener, Recorder, client_frame, request_bytes
from scripts import run_script
from served import (
    EMPTY_FRAME,
    IDLE,
    Count,
    Served,
    close_later,
    descriptors,
    raw_head,
    raw_open,
    reset,
    share_of_a_core,
    stream_of,
    until,
)

from picows_c import WSListener, WSMsgType, ws_connect, ws_create_server
from picows_c.poller import has_poller, poller_of
from picows_c.stream import connect_stream

NO_POLLER = "there is no poller on this system"
fcntl = pytest.importorskip("fcntl", reason=NO_POLLER)
pytestmark = pytest.mark.skipif(not has_poller(), reason=NO_POLLER)

REQUEST_HEX = request_bytes("/flood").hex()


# ---- 1, 3, 4: a turn has a budget, and nothing is left out of it ----

FLOODER = """
import socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=50)
sock.sendall(bytes.fromhex(sys.argv[3]))
block = bytes.fromhex(sys.argv[4]) * 174763  # 1 MiB, and two bytes
left = int(sys.argv[2])
while left > 0:
    part = block[:left] if left < len(block) else block
    sock.sendall(part)
    left -= len(part)
sock.shutdown(socket.SHUT_WR)
while sock.recv(65536):
    pass
"""


def flooder(port, size):
    """Start a process that sends so many bytes of 6-byte frames."""
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            FLOODER,
            str(port),
            str(size),
            request_bytes("/flood").hex(),
            EMPTY_FRAME.hex(),
        ]
    )


class Gaps:
    """How many frames of a flood pass between two steps of whatever is watched."""

    def __init__(self) -> None:
        self.flood = 0
        self.last: dict[Any, int] = {}
        self.worst: dict[Any, int] = {}
        self.over = asyncio.Event()

    def step(self, who):
        self.worst[who] = max(self.worst.get(who, 0), self.flood - self.last.get(who, self.flood))
        self.last[who] = self.flood

    def finish(self):
        for who in list(self.last):
            self.step(who)


@pytest.mark.parametrize("scheme", ["ws"])
async def test_a_flood_leaves_turns_to_everybody(ours, scheme):
    size = 64 * 1024 * 1024 // 6 * 6
    gaps = Gaps()

    class Flood(WSListener):
        def on_ws_connected(self, transport):
            gaps.over.clear()

        def on_ws_frame(self, transport, frame):
            gaps.flood += 1

        def on_ws_disconnected(self, transport):
            gaps.finish()
            gaps.over.set()

    class Echoer(WSListener):
        def on_ws_frame(self, transport, frame):
            gaps.step(("server", id(self)))
            transport.send(frame.msg_type, frame.get_payload_as_bytes())

    class Client(WSListener):
        def on_ws_connected(self, transport):
            transport.send(WSMsgType.TEXT, b"x")

        def on_ws_frame(self, transport, frame):
            gaps.step(("client", id(self)))
            if not gaps.over.is_set():
                transport.send(WSMsgType.TEXT, b"x")

    def chain():
        gaps.step("call_soon")
        if not gaps.over.is_set():
            loop.call_soon(chain)

    loop = asyncio.get_running_loop()
    async with ours.serve(lambda r: Flood() if r.path == b"/flood" else Echoer()):
        for _ in range(50):
            await ours.connect(Client)
        process = flooder(ours.port, size)
        try:
            chain()
            await gaps.over.wait()
        finally:
            process.kill()
            process.wait()
    assert gaps.flood == size // 6  # not one was lost
    assert len(gaps.worst) == 101
    assert max(gaps.worst.values()) <= 2000, sorted(gaps.worst.values())[-5:]


async def test_a_slow_callback_does_not_stretch_the_turn_by_a_whole_buffer(ours):
    served = Served(Count)
    turns = 0

    def chain():
        nonlocal turns
        turns += 1
        handle[0] = loop.call_soon(chain)

    loop = asyncio.get_running_loop()
    async with ours.serve(served):
        sock, listener = await served.raw(ours)
        handle = [loop.call_soon(chain)]
        sock.sendall(EMPTY_FRAME * 10_000)
        await until(lambda: listener.frames == 10_000)
        handle[0].cancel()
        assert turns >= 10  # 10,000 frames are more than one turn's worth
        sock.close()


async def test_many_floods_take_turns(ours):
    # More than fit into the budget of a turn: whoever got nothing comes first the next time.
    frames, floods = 8000, 24
    served = Served(Count)
    async with ours.serve(served):
        pairs = [await served.raw(ours) for _ in range(floods)]
        for sock, _ in pairs:
            sock.sendall(EMPTY_FRAME * frames)
        counts = [listener for _, listener in pairs]
        for _ in range(10 * floods):
            if min(c.frames for c in counts) >= 128:
                break
            await asyncio.sleep(0)
        got = [c.frames for c in counts]
        assert min(got) >= 128, got
        assert max(got) <= 4 * 128 + min(got), got
        await until(lambda: all(c.frames == frames for c in counts))
        for sock, _ in pairs:
            sock.close()


async def test_an_echo_is_heard_among_many_floods(ours):
    frames, floods = 10_000, 20
    served = Served(Count)
    async with ours.serve(served):
        pairs = [await served.raw(ours) for _ in range(floods)]
        served.make = EchoListener
        client, recorder = await ours.connect(Recorder)
        for sock, _ in pairs:
            sock.sendall(EMPTY_FRAME * frames)
        before, most = 0, 0
        counts = [listener for _, listener in pairs]
        while sum(c.frames for c in counts) < frames * floods:
            client.send(WSMsgType.TEXT, b"x")
            await recorder.frames.get()
            now = sum(c.frames for c in counts)
            most, before = max(most, now - before), now
        # Two rounds of 128 frames for each flood: to the server, and back.
        assert most <= 3 * 128 * floods, most
        for sock, _ in pairs:
            sock.close()


async def test_more_sockets_than_one_batch_are_all_served(ours):
    # 300 at once, and every one of them always ready: one batch has 128.
    served = Served(Count)
    async with ours.serve(served):
        pairs = [await served.raw(ours) for _ in range(300)]
        message = client_frame(2, b"x" * 60_000)
        for sock, _ in pairs:
            sock.setblocking(False)
        loop = asyncio.get_running_loop()
        turns = 0

        def feed():
            nonlocal turns, handle
            turns += 1
            for sock, listener in pairs:
                if listener.frames < 1:
                    with contextlib.suppress(BlockingIOError):
                        sock.send(message[:1000])
            handle = loop.call_soon(feed)

        for sock, _ in pairs:
            sock.send(EMPTY_FRAME)
        handle = loop.call_soon(feed)
        await until(lambda: all(c.frames >= 1 for _, c in pairs), 20)
        handle.cancel()
        for sock, _ in pairs:
            reset(sock)


# ---- 2: exceptions ----


class Raises(Recorder):
    def __init__(self, error=None):
        super().__init__()
        self.error = error

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        if self.error is not None:
            raise self.error


async def test_an_exception_ends_one_connection_and_not_the_batch(ours):
    served = Served(Raises)
    async with ours.serve(served):
        pairs = [await served.raw(ours) for _ in range(20)]
        for _, listener in pairs[::2]:
            listener.error = RuntimeError("callback")
        for sock, _ in pairs:
            sock.sendall(client_frame(1, b"x"))
        for i, (_, listener) in enumerate(pairs):
            await listener.frames.get()
            if i % 2 == 0:
                assert stream_of(listener.transport) is not None
        for sock, listener in pairs[::2]:
            sock.close()
            await listener.disconnected.wait()
        for sock, listener in pairs[1::2]:
            assert "disconnected" not in listener.events
            sock.sendall(client_frame(1, b"y"))
            frame = await listener.frames.get()
            assert bytes(frame) == b"y"
            sock.close()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_keyboard_interrupt_leaves_the_loop_and_loses_nobody(loop_kind, error, certificates):
    loop = new_loop(loop_kind)
    net = Net("ws", "auto", certificates)
    served = Served(Raises)

    async def begin():
        server = await ws_create_server(served, "127.0.0.1", 0)
        net.port = server.sockets[0].getsockname()[1]
        return server, [await served.raw(net) for _ in range(30)]

    async def end(pairs):
        for _, listener in pairs:
            if listener.error is None:
                frame = await listener.frames.get()
                assert bytes(frame) == b"x"
        server.close()
        for sock, _ in pairs:
            sock.close()
        await server.wait_closed()

    try:
        server, pairs = loop.run_until_complete(asyncio.wait_for(begin(), 30))
        for sock, _ in pairs:
            sock.sendall(client_frame(1, b"x"))
        for i in (29, 7, 0):
            # One at a time: while uvloop stops, a second one would hide the first.
            pairs[i][1].error = error()
            pairs[i][0].sendall(client_frame(1, b"y"))
            with pytest.raises(error):
                loop.run_until_complete(asyncio.sleep(5))
        loop.run_until_complete(asyncio.wait_for(end(pairs), 30))
    finally:
        loop.close()


def test_a_keyboard_interrupt_loses_no_edge(loop_kind, certificates):
    """Whoever does not read is watched by edges; one that was fetched must not be dropped."""
    loop = new_loop(loop_kind)
    net = Net("ws", "auto", certificates)
    served = Served(Raises)
    big = bytes(16_000_000)  # far more than the system takes

    async def begin():
        server = await ws_create_server(served, "127.0.0.1", 0)
        net.port = server.sockets[0].getsockname()[1]
        first = [await served.raw(net)]
        slow = [await served.raw(net) for _ in range(4)]
        for _, listener in slow:
            stream_of(listener.transport).pause_reading()
            listener.transport.send(WSMsgType.BINARY, big)
            assert stream_of(listener.transport).get_write_buffer_size() > 0
        return server, first + slow

    def drain(sock):
        sock.setblocking(False)
        got = 0
        try:
            while True:
                got += len(sock.recv(1 << 20))
        except BlockingIOError:
            return got

    async def end(pairs):
        for sock, listener in pairs[1:]:
            stream = stream_of(listener.transport)
            for _ in range(1000):
                drain(sock)
                if stream.get_write_buffer_size() == 0:
                    break
                await asyncio.sleep(0.002)
            assert stream.get_write_buffer_size() == 0
        server.close()
        server.abort_clients()
        await server.wait_closed()

    try:
        server, pairs = loop.run_until_complete(asyncio.wait_for(begin(), 30))
        pairs[0][1].error = KeyboardInterrupt()
        pairs[0][0].sendall(client_frame(1, b"x"))
        for sock, _ in pairs[1:]:
            drain(sock)
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(asyncio.sleep(5))
        loop.run_until_complete(asyncio.wait_for(end(pairs), 30))
        for sock, _ in pairs:
            sock.close()
    finally:
        loop.close()


# ---- 4: what the kernel cannot see ----


async def test_frames_glued_to_the_request_need_no_further_event(ours):
    served = Served(Count)
    async with ours.serve(served):
        sock, listener = await served.raw(ours, EMPTY_FRAME * 3000)
        await until(lambda: listener.frames == 3000)
        sock.close()


async def test_frames_that_came_while_paused_need_no_further_event(ours):
    class Pauses(Count):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            if self.frames == 10:
                stream_of(transport).pause_reading()

    served = Served(Pauses)
    async with ours.serve(served):
        sock, listener = await served.raw(ours)
        sock.sendall(EMPTY_FRAME * 3000)
        await until(lambda: listener.frames == 10)
        for _ in range(5):
            await asyncio.sleep(0)
        assert listener.frames == 10
        assert await share_of_a_core(0.2) < IDLE
        assert listener.frames == 10
        stream_of(listener.transport).resume_reading()
        await until(lambda: listener.frames == 3000)
        sock.close()


async def test_decrypted_frames_need_no_further_event(secure):
    # 16 KiB records of 6-byte frames: more than the budget of a turn, and then silence.
    count = 20_000
    served = Served(Count)
    async with secure.serve(served):
        reader, writer = await secure.open()
        writer.write(request_bytes() + EMPTY_FRAME * count)
        await reader.readuntil(b"\r\n\r\n")
        (listener,) = served.listeners
        await until(lambda: listener.frames == count)
        writer.transport.abort()
        await listener.disconnected.wait()


# ---- 5, 6, 7: states in which nothing is to be done ----


async def idle(served, net):
    return [await served.raw(net) for _ in range(10)]


async def paused_with_input(served, net):
    pair = await served.raw(net)
    stream_of(pair[1].transport).pause_reading()
    pair[0].sendall(client_frame(1, b"x") * 100)
    return [pair]


async def paused_at_the_end(served, net):
    (pair,) = await paused_with_input(served, net)
    pair[0].shutdown(socket.SHUT_WR)
    return [pair]


async def paused_and_gone(served, net):
    (pair,) = await paused_with_input(served, net)
    reset(pair[0])
    return [pair]


async def unread_output(served, net):
    pair = await served.raw(net)
    for _ in range(4):
        pair[1].transport.send(WSMsgType.BINARY, bytes(4_000_000))
    assert stream_of(pair[1].transport).get_write_buffer_size() > 0
    return [pair]


async def unread_output_and_paused(served, net):
    (pair,) = await unread_output(served, net)
    stream_of(pair[1].transport).pause_reading()
    pair[0].sendall(client_frame(1, b"x") * 100)
    return [pair]


async def unread_output_at_the_end(served, net):
    (pair,) = await unread_output(served, net)
    pair[1].transport.disconnect()
    return [pair]


async def unread_output_and_the_peers_end(served, net):
    (pair,) = await unread_output(served, net)
    pair[0].shutdown(socket.SHUT_WR)
    return [pair]


async def our_half_closed(served, net):
    pair = await served.raw(net)
    stream_of(pair[1].transport).write_eof()
    return [pair]


async def closed(served, net):
    pair = await served.raw(net)
    pair[0].close()
    await pair[1].disconnected.wait()
    return []


async def dropped(served, net):
    pair = await served.raw(net)
    pair[1].transport.disconnect(False)
    await pair[1].disconnected.wait()
    return [pair]


STATES = [
    idle,
    paused_with_input,
    paused_at_the_end,
    paused_and_gone,
    unread_output,
    unread_output_and_paused,
    unread_output_at_the_end,
    unread_output_and_the_peers_end,
    our_half_closed,
    closed,
    dropped,
]


@pytest.mark.parametrize("state", STATES, ids=lambda s: s.__name__)
async def test_waiting_costs_nothing(ours, state):
    served = Served()
    async with ours.serve(served):
        pairs = await state(served, ours)
        assert await share_of_a_core() < IDLE
        for sock, _ in pairs:
            sock.close()


class Taking(asyncio.Protocol):
    """A protocol that is not ours, on a stream of ours."""

    def __init__(self, keeps_open=False) -> None:
        self.keeps_open = keeps_open
        self.data = b""
        self.events: list[Any] = []
        self.lost = asyncio.Event()

    def data_received(self, data):
        self.data += data

    def eof_received(self):
        self.events.append("eof")
        return self.keeps_open

    def connection_lost(self, exc):
        self.events.append(exc)
        self.lost.set()


async def tcp_stream(protocol):
    """Return a stream, and the socket at its other end."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    close_later(far)
    stream, _ = await connect_stream(poller_of(loop), loop, lambda: protocol, near)
    return stream, far


@pytest.mark.parametrize("paused", [False, True])
async def test_waiting_costs_nothing_at_a_half_closed_stream(paused):
    protocol = Taking(keeps_open=True)
    stream, far = await tcp_stream(protocol)
    far.sendall(b"x")
    far.shutdown(socket.SHUT_WR)
    await until(lambda: protocol.events == ["eof"])
    if paused:
        stream.pause_reading()
    assert protocol.data == b"x"
    assert await share_of_a_core() < IDLE
    stream.write(b"still open")
    assert far.recv(100) == b"still open"
    stream.close()
    await protocol.lost.wait()
    assert protocol.events == ["eof", None]


async def test_waiting_costs_nothing_in_a_tls_handshake(secure):
    async with secure.serve(Served()) as server:
        sock = close_later(socket.create_connection(("127.0.0.1", secure.port)))
        poller = poller_of(asyncio.get_running_loop())
        await until(lambda: poller.count == 2)
        sock.sendall(b"\x16\x03\x01")  # the beginning of a record
        assert await share_of_a_core() < IDLE
        sock.close()
        await until(lambda: poller.count == 1)
        assert server.is_serving()


async def test_the_poller_watches_for_output_only_while_some_waits(ours):
    served = Served()
    async with ours.serve(served):
        sock, listener = await served.raw(ours)
        stream = stream_of(listener.transport)
        listener.transport.send(WSMsgType.BINARY, bytes(8_000_000))
        assert stream.get_write_buffer_size() > 0
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        for _ in range(1000):
            try:
                while len(await asyncio.wait_for(loop.sock_recv(sock, 1 << 20), 0.05)):
                    pass
            except asyncio.TimeoutError:
                break
        assert stream.get_write_buffer_size() == 0
        assert await share_of_a_core() < IDLE


# ---- 8: a reset is no clean end, and what came before it counts ----


async def test_what_came_before_a_reset_is_delivered(ours, caplog):
    served = Served(Count)
    caplog.set_level("INFO", logger="picows_c.server")
    async with ours.serve(served, read_buffer_init_size=4096):
        sock, listener = await served.raw(ours)
        sock.sendall(EMPTY_FRAME * 8_000)  # many reads, and more than the budget of a turn
        reset(sock)
        await listener.disconnected.wait()
        assert listener.frames == 8_000
    assert "Disconnected: ConnectionResetError" in caplog.text


async def test_a_reset_reaches_any_protocol_as_an_error():
    protocol = Taking()
    _, far = await tcp_stream(protocol)
    far.sendall(bytes(50_000))
    reset(far)
    await protocol.lost.wait()
    assert len(protocol.data) == 50_000
    (error,) = protocol.events
    assert isinstance(error, ConnectionResetError)


async def test_a_reset_is_seen_while_paused():
    protocol = Taking()
    stream, far = await tcp_stream(protocol)
    stream.pause_reading()
    reset(far)
    await asyncio.wait_for(protocol.lost.wait(), 10)
    (error,) = protocol.events
    assert isinstance(error, ConnectionResetError)


@pytest.mark.parametrize("sends", [False, True])
async def test_what_came_before_a_reset_waits_while_paused(sends):
    protocol = Taking()
    stream, far = await tcp_stream(protocol)
    stream.pause_reading()
    far.sendall(bytes(50_000))
    reset(far)
    await asyncio.sleep(0.05)
    if sends:
        stream.write(b"x")  # fails
        await asyncio.sleep(0.05)
    assert not protocol.lost.is_set()
    stream.resume_reading()
    await asyncio.wait_for(protocol.lost.wait(), 10)
    assert len(protocol.data) == 50_000
    (error,) = protocol.events
    assert isinstance(error, OSError)


async def test_closing_waits_for_nobody_who_pauses():
    protocol = Taking()
    stream, far = await tcp_stream(protocol)
    stream.pause_reading()
    stream.write(bytes(8_000_000))
    stream.close()
    far.sendall(bytes(50_000))
    reset(far)
    await asyncio.wait_for(protocol.lost.wait(), 10)


async def test_none_of_many_resets_is_missed(ours):
    served = Served()
    async with ours.serve(served):
        pairs = [await served.raw(ours) for _ in range(300)]
        for sock, _ in pairs:
            reset(sock)
        for _, listener in pairs:
            await asyncio.wait_for(listener.disconnected.wait(), 10)
            assert listener.events == ["connected", "disconnected"]


# ---- 11, 12, 13: descriptors ----


@pytest.mark.parametrize("paused", [False, True])
async def test_a_duplicate_of_the_descriptor_makes_no_ghosts(ours, paused):
    served = Served()
    async with ours.serve(served):
        sock, listener = await served.raw(ours)
        stream = stream_of(listener.transport)
        copy = os.dup(stream._fileno())
        try:
            if paused:
                stream.pause_reading()
            sock.sendall(client_frame(1, b"unread"))
            listener.transport.disconnect(False)
            await listener.disconnected.wait()
            assert sock.recv(10) == b""  # the copy does not keep the peer waiting
            assert await share_of_a_core(0.2) < IDLE
            assert listener.events == ["connected", "disconnected"]
        finally:
            os.close(copy)


async def test_an_event_never_reaches_the_next_owner_of_the_number(ours):
    """One callback closes a connection that has an event in the same batch, and the number, and
    the slot, go to a new one, which would be told of the old one's reset."""
    loop = asyncio.get_running_loop()
    victims: list[Any] = []
    new: list[Any] = []

    class Replaces(Recorder):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            stream = stream_of(victims[-1].transport) if victims else None
            if stream is None or stream._fileno() < 0 or new:
                return
            number = stream._fileno()
            near, far = socket.socketpair()
            stream.abort()
            same = fcntl.fcntl(near.fileno(), fcntl.F_DUPFD_CLOEXEC, number)
            near.close()
            assert same == number
            protocol = Taking()
            making = connect_stream(
                poller_of(loop), loop, lambda: protocol, socket.socket(fileno=same)
            )
            with pytest.raises(StopIteration) as done:  # it has nothing to wait for
                making.send(None)
            made = done.value.value[0]
            made.pause_reading()
            new.append((made, protocol, far))

    served = Served(Replaces)
    rounds = 0
    async with ours.serve(served):
        for _ in range(20):
            pairs = [await served.raw(ours) for _ in range(6)]
            victims.append(pairs[3][1])
            for i, (sock, _) in enumerate(pairs):
                if i == 3:
                    reset(sock)
                elif i < 5:  # the last one is hot, and would be served outside the batch
                    sock.sendall(client_frame(1, b"x"))
            for i, (_, listener) in enumerate(pairs):
                if i not in (3, 5):
                    await listener.frames.get()
            await victims[-1].disconnected.wait()
            for _, listener in pairs:
                listener.transport.disconnect(False)
                await listener.disconnected.wait()
            if not new:
                continue
            rounds += 1
            stream, protocol, far = new.pop()
            assert protocol.events == []
            far.sendall(b"hello")
            stream.resume_reading()
            await until(lambda p=protocol: p.data == b"hello")
            stream.abort()
            await protocol.lost.wait()
            far.close()
    assert rounds >= 10  # else the reset was served first


async def test_the_socket_of_a_connection_cannot_be_closed(ours):
    served = Served()
    async with ours.serve(served):
        _, listener = await served.raw(ours)
        stream = stream_of(listener.transport)
        sock = stream.get_extra_info("socket")
        for name in ("close", "detach", "shutdown", "__exit__"):
            assert not hasattr(sock, name)
        number = stream._fileno()
        assert sock.fileno() == number
        del sock
        gc.collect()
        os.fstat(number)
        sock = stream.get_extra_info("socket")
        assert sock.getsockname()[1] == ours.port
        stream.abort()
        assert sock.fileno() == -1
        with pytest.raises(OSError):
            sock.getsockname()
        await listener.disconnected.wait()


async def test_closing_a_listening_socket_that_was_given_away_frees_no_number_of_ours(ours):
    mine = socket.create_server(("127.0.0.1", 0))
    number = mine.fileno()
    ours.port = mine.getsockname()[1]
    served = Served(EchoListener)
    server = await ws_create_server(lambda r: Recorder(), sock=mine)
    mine.close()
    pipe = os.pipe()  # takes the number
    try:
        assert number in pipe
        transport, _ = await ours.connect(Recorder)
        server.close()
        server.abort_clients()
        await transport.wait_disconnected()
        await server.wait_closed()
        for fd in pipe:
            os.fstat(fd)
    finally:
        for fd in pipe:
            os.close(fd)
    assert not served.listeners


# ---- 14 to 17: loops come and go ----


async def talk(count=20, clients=3, transport="auto", close=True):
    """Echo between a server and clients of the running loop."""
    server = await ws_create_server(lambda r: EchoListener(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made = [await ws_connect(Recorder, f"ws://127.0.0.1:{port}/") for _ in range(clients)]
    for i in range(count):
        for client, listener in made:
            client.send(WSMsgType.TEXT, str(i))
            frame = await listener.frames.get()
            assert frame.get_payload_as_utf8_text() == str(i)
    if close:
        for client, _ in made:
            client.disconnect()
            await client.wait_disconnected()
        server.close()
        await server.wait_closed()
    return server, made


def test_many_loops_leave_nothing_behind(loop_kind):
    def one():
        loop = new_loop(loop_kind)
        loop.run_until_complete(asyncio.wait_for(talk(), 30))
        loop.close()
        return weakref.ref(loop), weakref.ref(poller_of_closed(loop))

    def poller_of_closed(loop):
        from picows_c.poller import _pollers

        return _pollers[loop]() or Dead()

    class Dead:
        pass

    one()
    gc.collect()
    before = descriptors()
    for _ in range(15):
        refs = one()
        gc.collect()
        assert [ref() for ref in refs] == [None, None]
    assert descriptors() == before


def test_a_loop_stops_and_runs_again(loop_kind):
    loop = new_loop(loop_kind)
    try:
        server, made = loop.run_until_complete(asyncio.wait_for(talk(close=False), 30))
        for _ in range(20):
            loop.call_soon(loop.stop)
            loop.run_forever()
            for client, _ in made:
                client.send(WSMsgType.TEXT, "again")  # while nothing runs
            for _, listener in made:
                frame = loop.run_until_complete(asyncio.wait_for(listener.frames.get(), 10))
                assert bytes(frame) == b"again"

        async def end():
            server.close()
            server.close_clients()
            await server.wait_closed()
            for client, _ in made:
                await client.wait_disconnected()

        loop.run_until_complete(asyncio.wait_for(end(), 30))
        loop.run_until_complete(asyncio.wait_for(talk(), 30))
    finally:
        loop.close()


def test_asyncio_run_again_and_again():
    for _ in range(5):
        asyncio.run(asyncio.wait_for(talk(), 30))


def test_pollers_in_two_threads(loop_kind):
    results: list[Any] = []

    def run():
        loop = new_loop(loop_kind)
        try:
            loop.run_until_complete(asyncio.wait_for(talk(300), 60))
            results.append(None)
        except BaseException as error:
            results.append(error)
        finally:
            loop.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert results == [None, None]


def test_the_thread_that_runs_the_loop_may_change(loop_kind):
    # A common way: set up in the main thread, then run_forever() in another one.
    loop = new_loop(loop_kind)
    server = loop.run_until_complete(ws_create_server(lambda r: EchoListener(), "127.0.0.1", 0))
    port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def echo():
        client, listener = await ws_connect(Recorder, f"ws://127.0.0.1:{port}/")
        client.send(WSMsgType.TEXT, "x")
        frame = await listener.frames.get()
        client.disconnect()
        await client.wait_disconnected()
        server.close()
        await server.wait_closed()
        return bytes(frame)

    try:
        echoing = asyncio.run_coroutine_threadsafe(asyncio.wait_for(echo(), 10), loop)
        assert echoing.result(20) == b"x"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


def test_closing_a_loop_closes_its_connections_without_a_call(loop_kind):
    def one():
        loop = new_loop(loop_kind)
        server, made = loop.run_until_complete(asyncio.wait_for(talk(close=False), 30))
        listening = server.sockets
        sock = raw_open(listening[0].getsockname()[1])
        loop.run_until_complete(asyncio.sleep(0.01))
        events = [list(listener.events) for _, listener in made]
        with pytest.warns(ResourceWarning, match="open sockets of picows_c"):
            loop.close()
        raw_head(sock)
        assert sock.recv(100) == b""
        sock.close()
        assert [listener.events for _, listener in made] == events
        for client, _ in made:  # they can still be asked
            client.send(WSMsgType.TEXT, "into the void")
            client.disconnect(False)
            assert client.underlying_transport.is_closing()
        for sock in listening:
            sock.close()
        return weakref.ref(loop)

    gc.collect()
    before = descriptors()
    ref = one()
    gc.collect()
    assert ref() is None
    assert descriptors() == before


def test_a_forgotten_loop_is_collected_with_its_connections():
    # Alone: from CPython 3.13 on pytest keeps sockets of a loop that was not closed.
    # On asyncio: uvloop keeps every such loop.
    out = run_script("forgotten.py", "asyncio").stdout
    assert out.split() == ["ok"], out


def test_the_loop_watches_the_poller_once(certificates):
    calls: list[str] = []

    class Loop(asyncio.SelectorEventLoop):
        def add_reader(self, fd, *args):
            calls.append("add")
            super().add_reader(fd, *args)

        def remove_reader(self, fd):
            calls.append("remove")
            return super().remove_reader(fd)

    async def main():
        net = Net("ws", "auto", certificates)
        served = Served()
        async with net.serve(served):
            pairs = [await served.raw(net) for _ in range(30)]
            for sock, listener in pairs:
                sock.close()
                await listener.disconnected.wait()
            assert calls == ["add"]
        for _ in range(4):
            await asyncio.sleep(0)
        assert calls == ["add", "remove"]
        # Anew, with the same poller.
        async with net.serve(served):
            pass
        for _ in range(4):
            await asyncio.sleep(0)
        assert calls == ["add", "remove"] * 2

    loop = Loop()
    try:
        loop.run_until_complete(asyncio.wait_for(main(), 30))
    finally:
        loop.close()


async def test_a_poller_whose_sockets_come_and_go(ours):
    # The last socket goes, the next comes: in the same iteration, one later, some later.
    loop = asyncio.get_running_loop()
    for pause in range(60):
        protocol = Taking()
        stream, far = await tcp_stream(protocol)
        far.sendall(b"x")
        await until(lambda p=protocol: p.data == b"x")
        stream.abort()
        far.close()
        for _ in range(pause % 5):
            await asyncio.sleep(0)
    await protocol.lost.wait()
    for _ in range(4):
        await asyncio.sleep(0)
    assert poller_of(loop).count == 0


# ---- 20: nothing is inherited over exec ----


async def test_every_descriptor_is_closed_by_exec(secure):
    before = set(descriptors())
    served = Served()
    async with secure.serve(served):
        transport, _ = await secure.connect(Recorder)
        fds = set(descriptors()) - before
        flags = {}
        for fd in fds:
            with contextlib.suppress(OSError):  # that of the listing itself
                flags[fd] = fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        assert len(flags) >= 4  # listening twice, server, client; the poller may have been there
        assert all(flags.values())
        transport.disconnect(False)
        await transport.wait_disconnected()


# ---- 21: out of descriptors ----


def test_accepting_goes_on_when_there_are_descriptors_again(loop_kind):
    out = run_script("emfile.py", loop_kind).stdout
    assert out.split() == ["ok"], out


# ---- 18, 19: fork ----


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_fork(loop_kind, scheme, certificates, tmp_path):
    certificates.authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificates._cert.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    out = run_script("fork.py", loop_kind, scheme, tmp_path).stdout
    assert out.split()[-1] == "ok", out


# ---- 23: context ----

here: contextvars.ContextVar[str] = contextvars.ContextVar("here", default="nowhere")


class Contextual(Recorder):
    """Notes the context of each callback, and of a task made there."""

    def __init__(self, *_):
        super().__init__()
        self.seen: list[tuple[str, str]] = []
        self.tasks: list[Any] = []

    def note(self, what):
        self.seen.append((what, here.get()))

        async def inherits():
            self.seen.append(("task of " + what, here.get()))

        self.tasks.append(asyncio.ensure_future(inherits()))

    def on_ws_connected(self, transport):
        self.note("connected")
        super().on_ws_connected(transport)

    def on_ws_frame(self, transport, frame):
        self.note("frame")
        super().on_ws_frame(transport, frame)

    def on_ws_disconnected(self, transport):
        self.note("disconnected")
        super().on_ws_disconnected(transport)

    async def check(self, where):
        await self.disconnected.wait()
        await asyncio.gather(*self.tasks)
        for what in ("connected", "frame", "disconnected"):
            assert (what, where) in self.seen
            assert ("task of " + what, where) in self.seen
        assert {w for _, w in self.seen} == {where}


async def test_callbacks_run_in_the_context_that_made_the_connection(net):
    served = Served(Contextual)
    here.set("the poller's")
    first = await ws_create_server(served, "127.0.0.1", 0)  # the loop watches from here
    here.set("the server's")
    async with net.serve(served):
        made = []
        for name in ("first", "second"):
            here.set(name)
            made.append((name, await net.connect(Contextual)))
        here.set("the test's")
        for _, (transport, _) in made:
            transport.send(WSMsgType.TEXT, b"x")
        for server_side in served.listeners:
            await server_side.frames.get()
            server_side.transport.send(WSMsgType.TEXT, b"y")
        for _, (transport, listener) in made:
            await listener.frames.get()
            transport.disconnect()
        for name, (_, listener) in made:
            await listener.check(name)
        for server_side in served.listeners:
            await server_side.check("the server's")
    first.close()


async def test_each_connection_of_a_server_has_its_own_context(ours):
    class Sets(Recorder):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            self.before = here.get()
            here.set(bytes(frame).decode())

    served = Served(Sets)
    here.set("the server's")
    async with ours.serve(served):
        pairs = [await served.raw(ours) for _ in range(2)]
        for i, (sock, listener) in enumerate(pairs):
            sock.sendall(client_frame(1, b"%d" % i))
            await listener.frames.get()
            assert listener.before == "the server's"
        for i, (sock, listener) in enumerate(pairs):
            sock.sendall(client_frame(1, b"%d" % i))
            await listener.frames.get()
            assert listener.before == str(i)
    assert here.get() == "the server's"


# ---- 25: the hot socket ----

HOT = """
import socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=50)
sock.sendall(bytes.fromhex(sys.argv[3]))
frame = bytes.fromhex(sys.argv[4]) + bytes(30000)
for _ in range(int(sys.argv[2]) // 50):
    sock.sendall(frame * 50)
sock.shutdown(socket.SHUT_WR)
while sock.recv(65536):
    pass
"""


async def test_a_peer_that_never_pauses_leaves_room_for_others(ours):
    count = 5000  # of 30,000 bytes: a read has a few, and there is always more
    hot = Count()
    async with ours.serve(lambda r: hot if r.path == b"/flood" else EchoListener()):
        client, listener = await ours.connect(Recorder)
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                HOT,
                str(ours.port),
                str(count),
                request_bytes("/flood").hex(),
                client_frame(2, bytes(30_000), mask=bytes(4))[:8].hex(),
            ]
        )
        try:
            await hot.connected.wait()
            worst = before = 0
            while not hot.disconnected.is_set():
                client.send(WSMsgType.TEXT, b"x")
                await listener.frames.get()
                worst, before = max(worst, hot.frames - before), hot.frames
        finally:
            process.kill()
            process.wait()
        assert hot.frames == count
        # To the server and back: each waits for 16 reads at most.
        assert worst <= 2 * 17 * 6, worst


class Refilled(WSListener):
    """Whenever a frame has been read the next one is there: its peer never pauses."""

    def __init__(self, total):
        self.left = total
        self.frames = 0
        self.sock: Any = None
        self.each: Any = None

    def on_ws_frame(self, transport, frame):
        self.frames += 1
        self.each()
        self.left -= 1
        if self.left > 0:
            self.sock.sendall(EMPTY_FRAME)


@pytest.mark.parametrize("other", ["connection", "accept"])
async def test_the_hot_socket_is_asked_so_often_and_no_more(ours, other):
    hot = Refilled(1000)
    waits: list[int] = []  # frames of the hot socket until somebody else was heard
    since: list[int] = []

    def heard():
        waits.append(hot.frames - since.pop())

    class Other(WSListener):
        def on_ws_frame(self, transport, frame):
            heard()

    def factory(request):
        if request.path == b"/hot":
            return hot
        if request.path == b"/other":
            return Other()
        heard()
        return Recorder()

    async def connect(path):
        sock = raw_open(ours.port, path=path)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await until(lambda: select.select([sock], [], [], 0)[0])
        raw_head(sock)
        return sock

    def each():
        if not since and hot.frames % 50 == 10:
            since.append(hot.frames)
            if other == "connection":
                sock.sendall(EMPTY_FRAME)
            else:
                raw_open(ours.port)

    hot.each = each
    async with ours.serve(factory):
        hot.sock, sock = await connect("/hot"), await connect("/other")
        hot.sock.sendall(EMPTY_FRAME)
        await until(lambda: hot.left == 0)
    assert len(waits) == 20, waits
    # A frame a turn: 16 of the hot socket alone, then one that serves everybody.
    assert max(waits) <= 2 * 17, waits
    # More than a turn: it is asked first.
    assert max(waits) > 3, waits
