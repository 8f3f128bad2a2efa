"""The one socket that the loop watches itself: who always has the input moves there, and back."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import socket
from typing import Any

import pytest
from conftest import new_loop
from helpers import client_frame
from served import EMPTY_FRAME, Count, Served, raw_head, raw_open, reset, stream_of, until

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


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError])
async def test_a_loop_that_does_not_want_it_is_asked_once(ours, monkeypatch, error):
    asked: list[int] = []

    def join(self, fd):
        asked.append(fd)
        raise error

    monkeypatch.setattr(Poller, "_join", join)
    served = Served(Count)
    async with ours.serve(served):
        sock, listener = await served.raw(ours)
        await ping(sock, listener, 5 * ROUNDS)
        assert poller().direct == -1
        assert len(asked) == 1


async def test_a_connection_that_ends_while_it_moves(ours, monkeypatch):
    served = Served(Count)
    join = Poller._join

    def joins_and_ends(self, fd):
        join(self, fd)
        stream_of(served.listeners[0].transport).abort()

    monkeypatch.setattr(Poller, "_join", joins_and_ends)
    async with ours.serve(served):
        sock, listener = await served.raw(ours)
        await ping(sock, listener, ROUNDS - 1)
        await listener.disconnected.wait()
        assert poller().direct == -1
        assert sock.recv(1) == b""


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


class Ends(Count):
    """Ends its connection from inside the callback."""

    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        if frame.get_payload_as_bytes() == b"end":
            transport.disconnect(False)


async def test_the_end_may_come_from_its_own_callback(ours):
    served = Served(Ends)
    async with ours.serve(served):
        for _ in range(5):
            sock, listener = await settled(served, ours)
            sock.sendall(client_frame(2, b"end") + EMPTY_FRAME)
            await listener.disconnected.wait()
            assert listener.frames == ROUNDS + 1
            assert poller().direct == -1


async def test_the_end_may_come_from_somebody_elses_callback(ours):
    """Both have input in the same iteration: the one that was closed is not served."""
    served = Served(Count)
    victims: list[Any] = []

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
            assert listener.frames <= ROUNDS + 1


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
            server = await ws_create_server(served, "127.0.0.1", 0)
            ours.port = server.sockets[0].getsockname()[1]
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

    def descriptors():
        return sorted(os.listdir("/proc/self/fd"))

    one()
    gc.collect()
    before = descriptors()
    for _ in range(3):
        one()
        gc.collect()
        assert descriptors() == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_keyboard_interrupt_leaves_the_loop_and_nothing_is_lost(loop_kind, error, ours):
    class Counts(Count):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            if bytes(frame) == b"raise":
                raise error

    loop = new_loop(loop_kind)
    served = Served(Counts)

    async def begin():
        server = await ws_create_server(served, "127.0.0.1", 0)
        ours.port = server.sockets[0].getsockname()[1]
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
