"""disconnect(), wait_disconnected(), and what is in flight when a connection ends."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from helpers import Recorder
from raw import BINARY, CLOSE, ROLES, TEXT, against, pattern, soon

from picows_c import WSCloseCode, WSMsgType, WSProtocolError

BACKLOG = 8 << 20


# ---- disconnect() ----


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("with_close", [False, True])
async def test_disconnect_delivers_what_was_sent(net, role, with_close):
    """The peer reads nothing until long after; then all of it is there, and an orderly end."""
    net.skip_lossy_peer()
    listener = Recorder()
    size = 64 * 1024
    async with against(net, role, listener) as peer:
        transport = listener.transport
        for i in range(BACKLOG // size):
            transport.send(WSMsgType.BINARY, pattern(size, i))
        assert transport.underlying_transport.get_write_buffer_size() > BACKLOG // 4
        if with_close:
            transport.send_close(1000, "done")
        transport.disconnect()
        assert not transport.is_disconnected
        got = await peer.all()
        if with_close:
            assert got.pop().opcode == CLOSE
        assert len(got) == BACKLOG // size
        for i, frame in enumerate(got):
            assert frame.payload == pattern(size, i)
        await soon(listener.disconnected.wait())
    assert listener.events == ["connected", "disconnected"]


@pytest.mark.parametrize("role", ROLES)
async def test_disconnect_is_bounded(net, role):
    """A peer that never reads cannot hold the connection for more than close_timeout."""
    listener = Recorder()
    async with against(net, role, listener, close_timeout=0.1) as peer:
        listener.transport.send(WSMsgType.BINARY, bytes(BACKLOG * 2))
        listener.transport.disconnect()
        await soon(listener.disconnected.wait())
        assert not peer.reader.at_eof()
    assert listener.events == ["connected", "disconnected"]


@pytest.mark.parametrize("role", ROLES)
async def test_disconnect_at_once(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        transport = listener.transport
        transport.send(WSMsgType.BINARY, bytes(BACKLOG * 2))
        transport.disconnect(False)
        # Never from within a call: the listener hears it from the loop.
        assert listener.events == ["connected"]
        await soon(listener.disconnected.wait())
        await peer.gone()
    assert listener.events == ["connected", "disconnected"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("graceful", [True, False])
async def test_disconnect_again_and_again(net, role, graceful):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        transport = listener.transport
        for _ in range(3):
            assert transport.disconnect(graceful) is None
        transport.disconnect(graceful=False)
        await soon(listener.disconnected.wait())
        await peer.gone()
        for again in (True, False):
            assert transport.disconnect(again) is None
        transport.send_close(1000)
        assert transport.send(WSMsgType.TEXT, "late") is None
        assert transport.is_disconnected
    assert listener.events == ["connected", "disconnected"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("graceful", [True, False])
async def test_nothing_is_sent_after_disconnect(net, role, graceful):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        transport = listener.transport
        transport.send(WSMsgType.TEXT, "last")
        await peer.expect(TEXT, b"last")
        transport.disconnect(graceful)
        assert transport.send(WSMsgType.TEXT, "late") is None
        assert transport.send_ping(b"late") is None
        assert transport.send_pong(b"late") is None
        assert transport.send_close(1000, "late") is None
        assert transport.is_close_frame_sent is False
        assert await peer.rest() == b""


async def test_disconnect_in_every_callback(net):
    class Leaving(Recorder):
        def on_ws_connected(self, transport):
            super().on_ws_connected(transport)
            transport.send(WSMsgType.TEXT, "hello")
            transport.disconnect()

        def on_ws_disconnected(self, transport):
            super().on_ws_disconnected(transport)
            transport.disconnect()
            transport.disconnect(False)
            transport.send_close(1000)

    for role in ROLES:
        listener = Leaving()
        async with against(net, role, listener) as peer:
            await peer.expect(TEXT, b"hello")
            assert await peer.rest() == b""
        assert listener.events == ["connected", "disconnected"]


# ---- wait_disconnected() ----


@pytest.mark.parametrize("role", ROLES)
async def test_waiters(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        transport = listener.transport
        waiters = [asyncio.ensure_future(transport.wait_disconnected()) for _ in range(3)]
        await asyncio.sleep(0)
        # Cancelling one neither ends the connection nor disturbs the others.
        waiters[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(waiters[0])
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(transport.wait_disconnected(), 0.001)
        transport.send(WSMsgType.TEXT, "here")
        await peer.expect(TEXT, b"here")
        assert not waiters[1].done()
        transport.disconnect()
        assert await peer.rest() == b""
        # on_ws_disconnected has run when the wait is over.
        assert await soon(asyncio.gather(*waiters[1:])) == [None, None]
        assert listener.events == ["connected", "disconnected"]
        assert await soon(transport.wait_disconnected()) is None
        assert await soon(transport.wait_disconnected()) is None


@pytest.mark.parametrize("role", ROLES)
async def test_wait_begun_in_on_ws_disconnected(net, role):
    class Waiting(Recorder):
        waiter = None

        def on_ws_disconnected(self, transport):
            super().on_ws_disconnected(transport)
            assert transport.is_disconnected
            self.waiter = asyncio.ensure_future(transport.wait_disconnected())

    listener = Waiting()
    async with against(net, role, listener) as peer:
        peer.abort()
        await soon(listener.disconnected.wait())
        assert await soon(listener.waiter) is None


async def test_stored_exception_is_raised_on_the_client_only(net):
    class Failing(Recorder):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            raise WSProtocolError(WSCloseCode.POLICY_VIOLATION, "first")

        def on_ws_disconnected(self, transport):
            super().on_ws_disconnected(transport)
            raise RuntimeError("second")

    for role in ROLES:
        listener = Failing()
        async with against(net, role, listener) as peer:
            transport = listener.transport
            before = asyncio.ensure_future(transport.wait_disconnected())
            await asyncio.sleep(0)
            peer.send(TEXT, b"x")
            await peer.expect_close(1008, b"first")
            assert await peer.rest() == b""
            peer.abort()
            await soon(listener.disconnected.wait())
            waits = [before, transport.wait_disconnected(), transport.wait_disconnected()]
            for wait in waits:
                if role == "server":
                    assert await soon(wait) is None
                    continue
                with pytest.raises(WSProtocolError, match="first") as caught:
                    await soon(wait)
                assert caught.value.code == 1008


# ---- who is told, and what stays ----


@pytest.mark.parametrize("role", ROLES)
async def test_everything_can_be_asked_afterwards(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        transport = listener.transport
        underlying = transport.underlying_transport
        peer.write(peer.close_frame(1000, b"x"))
        await soon(listener.frames.get())
        peer.abort()
        await soon(transport.wait_disconnected())
    assert transport.is_disconnected is True
    assert transport.is_close_frame_sent is True
    assert transport.is_client_side is (role == "client")
    assert transport.is_secure is (net.scheme == "wss")
    assert transport.request.method == b"GET"
    assert transport.response.status == 101
    assert transport.close_handshake.recv.reason == "x"
    assert transport.underlying_transport is underlying
    for code in (1000, 0):
        assert transport.send_close(code) is None
    with pytest.raises(ValueError, match="close code"):
        transport.send_close(1005)


@pytest.mark.parametrize("role", ROLES)
async def test_nothing_keeps_a_closed_connection_alive(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        transport = weakref.ref(listener.transport)
        protocol = weakref.ref(listener.transport._owner)
        peer.write(peer.frame(TEXT, b"x"), peer.close_frame(1000))
        peer.abort()
        await soon(listener.disconnected.wait())
    assert transport()._owner is None
    gone = weakref.ref(listener)
    listener.transport = None
    del listener, peer
    for _ in range(5):
        await asyncio.sleep(0)
        gc.collect()
    assert (gone(), transport(), protocol()) == (None, None, None)


async def test_peer_that_floods_after_the_end_is_given_up(plain):
    """Lingering discards a bounded amount; then the connection is aborted."""
    listener = Recorder()
    async with against(plain, "server", listener, close_timeout=60) as peer:
        peer.write(b"\xff\xff")
        assert await peer.flood(peer.frame(BINARY, bytes(1 << 16))) < 64 << 20
        await soon(listener.disconnected.wait())
    assert listener.events == ["connected", "disconnected"]
