"""Sending more than the system takes: order, completeness, and descriptors that changed hands."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import pytest
from helpers import Recorder
from raw import BINARY, ROLES, TEXT, against, pattern, soon

from picows_c import WSMsgType

MIB = 1 << 20
# In turn; the large ones are sent in pieces, masked piece by piece.
SIZES = [0, 1, 125, 126, 1000, 8192, 8193, 65535, 65536, 65537, 200_003, 3 * MIB + 1, 9 * MIB]


def messages(total: int) -> list[tuple[int, int]]:
    """Index and size of messages that have ``total`` bytes together, at least."""
    found = []
    while total > 0:
        size = SIZES[len(found) % len(SIZES)]
        found.append((len(found), size))
        total -= size
    return found


@pytest.mark.parametrize("role", ROLES)
async def test_backlog_arrives_in_order(net, role):
    """64 MiB leave at once, to a peer that reads only afterwards."""
    todo = messages((64 if net.scheme == "ws" else 16) * MIB)
    listener = Recorder()
    async with against(net, role, listener) as peer:
        transport = listener.transport
        for i, size in todo:
            transport.send(WSMsgType.BINARY, pattern(size, i))
            if i % 5 == 0:
                transport.send(WSMsgType.TEXT, f"{i}")
        assert transport.underlying_transport.get_write_buffer_size() > 8 * MIB
        for i, size in todo:
            got = await peer.next()
            assert (got.opcode, len(got.payload)) == (BINARY, size)
            assert got.payload == pattern(size, i)
            if i % 5 == 0:
                await peer.expect(TEXT, f"{i}".encode())
        # Nothing waits any more: the direct way is taken again.
        transport.send(WSMsgType.TEXT, "end")
        await peer.expect(TEXT, b"end")
        assert transport.underlying_transport.get_write_buffer_size() == 0


@pytest.mark.parametrize("role", ROLES)
async def test_the_system_takes_odd_parts(plain, role):
    """With a small socket buffer send(2) stops anywhere, within the head or the payload."""
    listener = Recorder()
    async with against(plain, role, listener) as peer:
        transport = listener.transport
        sock = transport.underlying_transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        sizes = [1 + i * 997 % 30_011 for i in range(200)]

        async def send_all() -> None:
            for i, size in enumerate(sizes):
                transport.send(WSMsgType.BINARY, pattern(size, i))
                # As soon as nothing waits, so that each frame takes the direct way first.
                while transport.underlying_transport.get_write_buffer_size():
                    await asyncio.sleep(0)

        sending = asyncio.ensure_future(send_all())
        for i, size in enumerate(sizes):
            assert (await peer.next()).payload == pattern(size, i)
        await soon(sending)


@pytest.mark.parametrize("between", ["ours", "both"])
async def test_large_messages_between_ours(net, between):
    """Both directions at once, both ends ours."""
    count, size = 12, 2 * MIB + 3
    server_side = Recorder()
    async with net.serve(lambda request: server_side):
        _, client_side = await net.connect(Recorder)
        await soon(server_side.connected.wait())
        ends = [(client_side, server_side), (server_side, client_side)]
        for listener, _ in ends if between == "both" else ends[:1]:
            for i in range(count):
                listener.transport.send(WSMsgType.BINARY, pattern(size, i))
        for _, other in ends if between == "both" else ends[:1]:
            for i in range(count):
                frame = await soon(other.frames.get())
                assert frame.get_payload_as_memoryview() == pattern(size, i)
        client_side.transport.send_close(1000)
        await soon(client_side.transport.wait_disconnected())


# ---- descriptors ----


@pytest.mark.skipif(sys.platform == "win32", reason="needs dup2 on sockets")
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "end", ["disconnect", "underlying abort", "underlying close", "peer", "reset"]
)
async def test_no_send_reaches_a_descriptor_that_changed_hands(plain, role, end):
    """The number of a closed socket is given to the next one: no late send may go there."""
    listener = Recorder()
    async with against(plain, role, listener) as peer:
        transport = listener.transport
        underlying = transport.underlying_transport
        number = underlying.get_extra_info("socket").fileno()
        transport.send(WSMsgType.TEXT, "direct")
        await peer.expect(TEXT, b"direct")
        if end == "disconnect":
            transport.disconnect(False)
        elif end == "underlying abort":
            underlying.abort()
        elif end == "underlying close":
            underlying.close()
        elif end == "peer":
            peer.abort()
        else:
            peer.reset()
        # Sent while the end is on its way: lost, without complaint.
        transport.send(WSMsgType.TEXT, "lost")
        await soon(listener.disconnected.wait())
        await until_closed(number)

        ours, theirs = socket.socketpair()
        if theirs.fileno() == number:
            ours, theirs = theirs, ours
        with ours, theirs:
            other = ours.fileno()
            if other != number:
                os.dup2(other, number)
            try:
                for call in (
                    lambda: transport.send(WSMsgType.BINARY, b"late"),
                    lambda: transport.send(WSMsgType.BINARY, bytes(100_000)),
                    lambda: transport.send_ping(b"late"),
                    lambda: transport.send_pong(b"late"),
                    lambda: transport.send_close(1000, "late"),
                    transport.disconnect,
                    lambda: transport.disconnect(False),
                ):
                    assert call() is None
                await asyncio.sleep(0)
                theirs.setblocking(False)
                with pytest.raises(BlockingIOError):
                    theirs.recv(1)
                # And it is open still.
                os.fstat(number)
                os.write(number, b"alive")
                assert theirs.recv(10) == b"alive"
            finally:
                if other != number:
                    os.close(number)


async def until_closed(number: int) -> None:
    """Wait for the loop to close the descriptor."""

    async def poll() -> None:
        while True:
            try:
                os.fstat(number)
            except OSError:
                return
            await asyncio.sleep(0)

    await soon(poll())


@pytest.mark.parametrize("role", ROLES)
async def test_send_while_the_underlying_transport_closes(net, role):
    """In the callbacks too, between the loop's decision to close and the end."""

    class Late(Recorder):
        def on_ws_disconnected(self, transport):
            super().on_ws_disconnected(transport)
            transport.send(WSMsgType.BINARY, bytes(10))
            transport.send_close(1000)

    listener = Late()
    async with against(net, role, listener) as peer:
        transport = listener.transport
        transport.underlying_transport.close()
        for _ in range(3):
            transport.send(WSMsgType.BINARY, bytes(10))
            transport.send_ping()
        await peer.gone()
        await soon(listener.disconnected.wait())
    assert listener.events == ["connected", "disconnected"]
