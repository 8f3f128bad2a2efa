"""The one socket that the loop watches itself: who always has the input moves there, and back."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import socket
import threading
from typing import Any

import pytest
from conftest import new_loop
from helpers import EchoListener, Recorder, client_frame
from served import (
    EMPTY_FRAME,
    IDLE,
    Count,
    Served,
    descriptors,
    raw_head,
    raw_open,
    reset,
    share_of_a_core,
    stream_of,
    until,
)

from picows_c import WSListener, WSMsgType, ws_create_server
from picows_c.poller import Poller, has_poller, poller_of

# On macOS and the BSDs nobody moves.
WATCHES_DIRECTLY = hasattr(select, "epoll") and has_poller()
pytestmark = pytest.mark.skipif(not WATCHES_DIRECTLY, reason="no epoll on this system")

# An event says who is hot; so often it is asked before all others then.
ROUNDS = 1 + 16
# More than the system takes.
BIG = bytes(16_000_000)


def poller():
    return poller_of(asyncio.get_running_loop())


def number_of(listener):
    return stream_of(listener.transport)._fileno()


async def ping(sock, listener, count=1):
    """Send so many frames, each when the one before has been heard."""
    for _ in range(count):
        heard = listener.frames + 1
        sock.sendall(EMPTY_FRAME)
        await until(lambda n=heard: listener.frames == n)


async def settled(served, net):
    """Open a raw connection that has all of the input until the loop watches it."""
    sock, listener = await served.raw(net)
    await ping(sock, listener, ROUNDS)
    assert poller().direct == number_of(listener)
    return sock, listener


async def serve(factory, net):
    """Serve beyond the end of a coroutine."""
    server = await ws_create_server(factory, "127.0.0.1", 0)
    net.port = server.sockets[0].getsockname()[1]
    return server


# ---- moving ----


async def test_who_always_has_the_input_moves_into_the_loop(ours):
    served = Served(Count)
    async with ours.serve(served):
        sock, listener = await served.raw(ours)
        await ping(sock, listener, ROUNDS - 2)  # the request was the event
        assert poller().direct == -1
        await ping(sock, listener)
        assert poller().direct == number_of(listener)
        await ping(sock, listener, 100)


async def test_others_are_heard_beside_it_and_the_next_one_takes_its_place(ours):
    served = Served(Count)
    async with ours.serve(served):
        first, one = await settled(served, ours)
        second, two = await served.raw(ours)
        for _ in range(50):  # in turns nobody is the only one
            await ping(first, one)
            await ping(second, two)
        assert poller().direct == number_of(one)
        await ping(second, two, ROUNDS)
        assert poller().direct == number_of(two)
        await ping(first, one)
        await ping(second, two)


async def test_busy_polling_asks_the_poller(ours):
    served = Served(Count)
    async with ours.serve(served, busy_poll=0.001):
        sock, listener = await served.raw(ours)
        await ping(sock, listener, 3 * ROUNDS)
        assert poller().direct == -1


@pytest.mark.parametrize(
    ("error", "times"),
    [(NotImplementedError, 1), (RuntimeError, 2), (MemoryError, 2), (OSError, 2)],
)
@pytest.mark.parametrize("begun", [False, True])
async def test_a_loop_that_cannot_do_it_is_not_asked_again(ours, monkeypatch, error, times, begun):
    asked: list[int] = []
    join = Poller._join

    def fails(self, fd):
        asked.append(fd)
        if begun:
            join(self, fd)
        raise error

    monkeypatch.setattr(Poller, "_join", fails)
    served = Served(Count)
    async with ours.serve(served):
        sock, listener = await served.raw(ours)
        await ping(sock, listener, 2 * ROUNDS)
        assert poller().direct == -1
        assert len(asked) == times
        assert await share_of_a_core(0.1) < IDLE
        await ping(sock, listener)


def pause(listener):
    stream_of(listener.transport).pause_reading()


def fill(listener):
    listener.transport.send(WSMsgType.BINARY, BIG)


def abort(listener):
    stream_of(listener.transport).abort()


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("what", [pause, fill, abort])
async def test_what_happens_while_it_moves(ours, monkeypatch, what, first):
    """A destructor or a signal's handler can run in there."""
    served = Served(Count)
    join = Poller._join

    def joins(self, fd):
        if first:
            what(served.listeners[0])
        join(self, fd)
        if not first:
            what(served.listeners[0])
        monkeypatch.setattr(Poller, "_join", join)

    monkeypatch.setattr(Poller, "_join", joins)
    async with ours.serve(served):
        sock, listener = await served.raw(ours)
        await ping(sock, listener, ROUNDS - 1)
        assert poller().direct == -1
        if what is abort:
            await listener.disconnected.wait()
            assert sock.recv(1) == b""
        else:
            sock.sendall(EMPTY_FRAME)
            if what is pause:
                assert await share_of_a_core(0.1) < IDLE
                stream_of(listener.transport).resume_reading()
            await until(lambda: listener.frames == ROUNDS)
        again, other = await settled(served, ours)
        await ping(again, other)


class Refuses:
    """A loop that cannot let go of a descriptor, so often."""

    def __init__(self, monkeypatch, error, times):
        self.error = error
        self.left = times
        self.leave = Poller._leave
        monkeypatch.setattr(Poller, "_leave", self)

    def __call__(self, fd):
        if self.left > 0:
            self.left -= 1
            raise self.error
        self.leave(poller(), fd)


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize("what", [pause, fill, abort])
async def test_a_descriptor_is_kept_until_the_loop_lets_go_of_it(ours, monkeypatch, what, times):
    served = Served(Count)
    async with ours.serve(served):
        sock, listener = await settled(served, ours)
        number = number_of(listener)
        refuses = Refuses(monkeypatch, RecursionError, times)
        what(listener)
        if what is abort:
            os.fstat(number)
            assert sock.recv(1) == b""  # the peer need not wait
            await listener.disconnected.wait()
        elif what is fill:
            await ping(sock, listener, times + 1)
        else:
            sock.sendall(EMPTY_FRAME)
        await until(lambda: refuses.left == 0)
        for _ in range(3):
            await asyncio.sleep(0)
        if what is abort:
            with pytest.raises(OSError):
                os.fstat(number)
        elif what is pause:
            assert await share_of_a_core(0.1) < IDLE
            stream_of(listener.transport).resume_reading()
            await until(lambda: listener.frames == ROUNDS + 1)
        again, other = await settled(served, ours)
        await ping(again, other)


def test_a_loop_is_closed_over_a_descriptor_that_it_keeps(loop_kind, ours, monkeypatch):
    loop = new_loop(loop_kind)
    served = Served(Count)

    async def begin():
        server = await serve(served, ours)
        _, listener = await settled(served, ours)
        number = number_of(listener)
        Refuses(monkeypatch, MemoryError, 1_000_000)
        abort(listener)
        await listener.disconnected.wait()
        server.close()
        await server.wait_closed()
        os.fstat(number)
        return number

    number = loop.run_until_complete(asyncio.wait_for(begin(), 30))
    loop.close()
    served.listeners.clear()  # who keeps a transport keeps its poller
    gc.collect()
    with pytest.raises(OSError):
        os.fstat(number)


# ---- moving back ----


async def test_pausing_holds_the_input_back(ours):
    served = Served(Count)
    async with ours.serve(served):
        for _ in range(3):
            sock, listener = await settled(served, ours)
            stream_of(listener.transport).pause_reading()
            assert poller().direct == -1
            heard = listener.frames
            sock.sendall(EMPTY_FRAME * 10)
            for _ in range(20):
                await asyncio.sleep(0)
            assert listener.frames == heard
            stream_of(listener.transport).resume_reading()
            await until(lambda n=heard + 10: listener.frames == n)  # noqa: B023
            await ping(sock, listener, ROUNDS)
            assert poller().direct == number_of(listener)


async def test_output_that_waits_is_sent(ours):
    served = Served(Count)
    async with ours.serve(served):
        sock, listener = await settled(served, ours)
        listener.transport.send(WSMsgType.BINARY, BIG)
        assert stream_of(listener.transport).get_write_buffer_size() > 0
        assert poller().direct == -1
        sock.setblocking(False)
        left = len(BIG) + 10
        while left > 0:
            await until(lambda: select.select([sock], [], [], 0)[0])
            left -= len(sock.recv(1 << 20))
        await ping(sock, listener, ROUNDS)
        assert poller().direct == number_of(listener)


@pytest.mark.parametrize("how", ["close", "abort", "disconnect"])
async def test_a_number_that_is_given_away_is_watched_for_its_next_owner(ours, how):
    served = Served(Count)
    numbers = set()
    async with ours.serve(served):
        for _ in range(5):
            sock, listener = await settled(served, ours)
            numbers.add(number_of(listener))
            if how == "disconnect":
                listener.transport.disconnect()
            else:
                getattr(stream_of(listener.transport), how)()
            sock.close()  # at once: the next one has both numbers
            await listener.disconnected.wait()
            assert poller().direct == -1
    assert len(numbers) < 5


class Acts(Count):
    """Does what its frames say, from inside the callback."""

    def __init__(self, error=ValueError):
        super().__init__()
        self.error = error

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        what = frame.get_payload_as_bytes()
        if what == b"pause":
            transport.pause_reading()
        elif what == b"raise":
            raise self.error
        elif what == b"end":
            transport.disconnect(False)


async def test_the_end_may_come_from_its_own_callback(ours):
    served = Served(Acts)
    async with ours.serve(served):
        for _ in range(5):
            sock, listener = await settled(served, ours)
            sock.sendall(client_frame(2, b"end") + EMPTY_FRAME)
            await listener.disconnected.wait()
            assert listener.frames == ROUNDS + 1
            assert poller().direct == -1


async def test_the_end_may_come_from_somebody_elses_callback(ours, loop_kind):
    """Both have input in the same iteration: the one that was closed is not served."""
    served = Served(Count)
    victims: list[Any] = []
    served_first: list[int] = []

    class Closes(WSListener):
        def on_ws_frame(self, transport, frame):
            stream_of(victims[-1].transport).abort()

    def factory(request):
        return Closes() if request.path == b"/closes" else served(request)

    async with ours.serve(factory):
        closer = raw_open(ours.port, path="/closes")
        await until(lambda: select.select([closer], [], [], 0)[0])
        raw_head(closer)
        for order in (1, -1) * 5:
            sock, listener = await settled(served, ours)
            victims.append(listener)
            for one in (sock, closer)[::order]:
                one.sendall(EMPTY_FRAME)
            await listener.disconnected.wait()
            served_first.append(listener.frames - ROUNDS)
        assert set(served_first) <= {0, 1}
        assert 0 in served_first or loop_kind == "uvloop"  # which always takes the other first


async def test_its_own_callback_pauses_it(ours):
    served = Served(Acts)
    async with ours.serve(served):
        sock, listener = await settled(served, ours)
        sock.sendall(client_frame(2, b"pause"))
        await until(lambda: listener.frames == ROUNDS + 1)
        sock.sendall(EMPTY_FRAME * 3)
        assert await share_of_a_core(0.1) < IDLE
        assert listener.frames == ROUNDS + 1
        listener.transport.resume_reading()
        await until(lambda: listener.frames == ROUNDS + 4)


async def test_its_own_callback_raises(ours):
    served = Served(Acts)
    async with ours.serve(served):
        sock, listener = await settled(served, ours)
        sock.sendall(client_frame(2, b"raise") + EMPTY_FRAME)
        await listener.disconnected.wait()
        assert listener.frames == ROUNDS + 1
        assert sock.recv(2)[0] == 0x88
        again, other = await settled(served, ours)
        await ping(again, other)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_a_client_alone_on_its_loop(ours, secure, scheme, loop_kind):
    """The server has a loop of its own, as it has in another process."""
    net = {"ws": ours, "wss": secure}[scheme]
    loop = new_loop(loop_kind)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def serve():
        options = {"ssl": net.certificates.server()} if scheme == "wss" else {}
        server = await ws_create_server(lambda r: EchoListener(), "127.0.0.1", 0, **options)
        return server, server.sockets[0].getsockname()[1]

    async def end(server):
        server.close()
        await server.wait_closed()

    def run(coroutine):
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))

    server, net.port = await run(serve())
    try:
        client, listener = await net.connect(Recorder)
        for i in range(50):
            client.send(WSMsgType.TEXT, str(i))
            assert bytes(await listener.frames.get()) == str(i).encode()
        assert poller().direct == stream_of(client)._fileno()
        client.send(WSMsgType.BINARY, BIG[:4_000_000])  # more than the system takes
        client.send(WSMsgType.TEXT, "behind")
        assert len(bytes(await listener.frames.get())) == 4_000_000
        assert bytes(await listener.frames.get()) == b"behind"
        client.disconnect()
        await client.wait_disconnected()
        assert poller().direct == -1
        await run(end(server))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def test_it_costs_nothing_while_nobody_sends(ours):
    served = Served(Count)
    async with ours.serve(served):
        await settled(served, ours)
        assert await share_of_a_core(0.1) < IDLE


# ---- what uvloop's poll handles do not report ----


@pytest.mark.parametrize("unread", [b"", EMPTY_FRAME, EMPTY_FRAME * 8_000])
@pytest.mark.parametrize("answers", [False, True])
async def test_a_reset_is_seen_behind_what_came_before_it(ours, unread, answers):
    served = Served(Count)
    async with ours.serve(served):
        for _ in range(5):
            sock, listener = await settled(served, ours)
            if answers:  # the peer's system resets, too: something is unread there
                listener.transport.send(WSMsgType.TEXT, b"unread")
            sock.sendall(unread)
            if answers:
                sock.close()
            else:
                reset(sock)
            await asyncio.wait_for(listener.disconnected.wait(), 10)
            assert listener.frames == ROUNDS + len(unread) // len(EMPTY_FRAME)
            assert poller().direct == -1


async def test_a_reset_is_seen_while_paused(ours):
    served = Served(Count)
    async with ours.serve(served):
        sock, listener = await settled(served, ours)
        stream_of(listener.transport).pause_reading()
        reset(sock)
        await asyncio.wait_for(listener.disconnected.wait(), 10)


@pytest.mark.parametrize("unread", [b"", EMPTY_FRAME])
async def test_a_peer_that_ends_its_side_is_heard(ours, unread):
    served = Served(Count)
    async with ours.serve(served):
        for _ in range(5):
            sock, listener = await settled(served, ours)
            sock.sendall(unread)
            sock.shutdown(socket.SHUT_WR)
            await asyncio.wait_for(listener.disconnected.wait(), 10)
            assert listener.frames == ROUNDS + len(unread) // len(EMPTY_FRAME)
            assert poller().direct == -1


# ---- loops ----


def test_a_loop_is_closed_over_it(loop_kind, ours):
    def one():
        loop = new_loop(loop_kind)
        served = Served(Count)

        async def begin():
            server = await serve(served, ours)
            return server.sockets, await settled(served, ours)

        listening, (sock, listener) = loop.run_until_complete(asyncio.wait_for(begin(), 30))
        with pytest.warns(ResourceWarning, match="open sockets of picows_c"):
            loop.close()
        assert sock.recv(100) == b""
        sock.close()
        assert not listener.disconnected.is_set()
        listener.transport.disconnect(False)
        for each in listening:
            each.close()

    one()
    gc.collect()
    before = descriptors()
    for _ in range(3):
        one()
        gc.collect()
        assert descriptors() == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_keyboard_interrupt_leaves_the_loop_and_nothing_is_lost(loop_kind, error, ours):
    loop = new_loop(loop_kind)
    served = Served(lambda: Acts(error))

    async def begin():
        server = await serve(served, ours)
        return server, await settled(served, ours), await served.raw(ours)

    async def end(server, other):
        await ping(*other, 3)
        server.close()
        server.abort_clients()
        await server.wait_closed()

    try:
        server, (sock, listener), other = loop.run_until_complete(asyncio.wait_for(begin(), 30))
        sock.sendall(client_frame(2, b"raise"))
        with pytest.raises(error):
            loop.run_until_complete(asyncio.sleep(5))
        assert listener.frames == ROUNDS + 1
        loop.run_until_complete(asyncio.wait_for(end(server, other), 30))
    finally:
        loop.close()
