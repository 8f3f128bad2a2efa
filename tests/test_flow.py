"""Flow control in both directions: pausing, draining, corking, limits, and the figures of it."""

from __future__ import annotations

import asyncio
import sys

import pytest
from helpers import Recorder
from raw import BINARY, PING, PONG, ROLES, TEXT, against, pattern, soon

from picows_c import WSCloseCode, WSDisconnectKind, WSMsgType

MIB = 1 << 20


def fill(transport) -> int:
    """Send messages of 1 MiB until the system takes no more; return how many."""
    count = 0
    while transport.write_buffer_size < 16 * MIB:
        transport.send(WSMsgType.BINARY, bytes(MIB))
        count += 1
    return count


# ---- reading ----


@pytest.mark.parametrize("role", ROLES)
async def test_paused_frames_wait(net, role):
    """Frames that were read together with the one that pauses wait too."""

    class Pausing(Recorder):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            if frame.get_payload_as_bytes() == b"pause":
                transport.pause_reading()
                transport.pause_reading()  # again: nothing

    listener = Pausing()
    async with against(net, role, listener) as peer:
        peer.write(
            peer.frame(TEXT, b"one"),
            peer.frame(TEXT, b"pause"),
            peer.frame(TEXT, b"two"),
            peer.frame(PING, b"not answered yet"),
            peer.frame(TEXT, b"three"),
        )
        for text in (b"one", b"pause"):
            assert (await soon(listener.frames.get())).get_payload_as_bytes() == text
        peer.send(TEXT, b"four")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(peer.reader.read(1), 0.05)
        assert listener.frames.empty()
        listener.transport.resume_reading()
        # Not from inside the call.
        assert listener.frames.empty()
        for text in (b"two", b"three", b"four"):
            assert (await soon(listener.frames.get())).get_payload_as_bytes() == text
        await peer.expect(PONG, b"not answered yet")
        listener.transport.resume_reading()
        listener.transport.disconnect(False)
        listener.transport.pause_reading()
    listener.transport.pause_reading()
    listener.transport.resume_reading()


@pytest.mark.parametrize("role", ROLES)
async def test_a_paused_connection_can_be_closed(net, role):
    listener = Recorder()
    async with against(net, role, listener, close_timeout=5.0) as peer:
        listener.transport.pause_reading()
        peer.send(TEXT, bytes(100_000))
        listener.transport.disconnect()
        await peer.gone()
        await soon(listener.disconnected.wait())


@pytest.mark.parametrize("role", ROLES)
async def test_a_paused_reader_stops_the_sender(plain, role):
    """What we do not read fills the system's buffers, not ours."""
    resource = pytest.importorskip("resource", reason="no resident memory to be asked for")
    unit = 1 if sys.platform == "darwin" else 1024
    listener = Recorder()
    async with against(plain, role, listener) as peer:
        listener.transport.pause_reading()
        before = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peer.writer.transport.set_write_buffer_limits(high=MIB)
        frame = peer.frame(BINARY, bytes(MIB))
        with pytest.raises(asyncio.TimeoutError):
            for _ in range(64):
                peer.write(frame)
                await asyncio.wait_for(peer.writer.drain(), 0.4)
        after = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert after - before < 48 * MIB
        assert listener.frames.empty()
        listener.transport.resume_reading()
        assert len((await soon(listener.frames.get())).get_payload_as_bytes()) == MIB


# ---- writing ----


@pytest.mark.parametrize("role", ROLES)
async def test_drain_waits_for_the_low_watermark(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        transport = listener.transport
        await soon(transport.drain())  # nothing waits
        total = 0
        # The loops' TLS hands all that waits down to a socket that took a little, and calls it
        # written: once more then.
        for _ in range(50):
            total += fill(transport)
            waiters = [asyncio.ensure_future(transport.drain()) for _ in range(3)]
            await asyncio.sleep(0.05)
            if not all(waiter.done() for waiter in waiters):
                break
        assert not any(waiter.done() for waiter in waiters)
        waiters[0].cancel()
        for _ in range(total):
            assert len((await peer.next()).payload) == MIB
        await soon(asyncio.gather(*waiters[1:]))
        assert waiters[0].cancelled()
        low, _ = transport.underlying_transport.get_write_buffer_limits()
        assert transport.write_buffer_size <= low


async def test_a_drain_that_is_given_up_leaves_nothing(plain):
    """Whoever asks a stuck peer for years does not fill the memory."""
    listener = Recorder()
    async with against(plain, "server", listener):
        fill(listener.transport)
        waiters = [asyncio.ensure_future(listener.transport.drain()) for _ in range(3)]
        await asyncio.sleep(0)
        assert len(listener.transport._drain_waiters) == 3
        waiters[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiters[1]
        assert len(listener.transport._drain_waiters) == 2
        for waiter in (waiters[0], waiters[2]):
            waiter.cancel()
        await asyncio.wait(waiters)
        assert not listener.transport._drain_waiters


@pytest.mark.parametrize("role", ROLES)
async def test_drain_of_a_lost_connection(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        transport = listener.transport
        fill(transport)
        waiters = [asyncio.ensure_future(transport.drain()) for _ in range(3)]
        await asyncio.sleep(0)
        peer.abort()
        for waiter in waiters:
            with pytest.raises(ConnectionResetError):
                await soon(waiter)
        await soon(listener.disconnected.wait())
        with pytest.raises(ConnectionResetError):
            await transport.drain()
        assert transport.write_buffer_size == 0


@pytest.mark.parametrize("role", ROLES)
async def test_corked_frames_leave_together(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        transport = listener.transport
        with transport.cork():
            transport.send(WSMsgType.TEXT, "one")
            with transport.cork():
                transport.send(WSMsgType.TEXT, "two")
            transport.send_ping(b"three")
            # None left yet: not even at the end of the inner block.
            assert transport.write_buffer_size >= 3 + 3 + 5
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(peer.reader.read(1), 0.05)
        assert transport.write_buffer_size == 0
        await peer.expect(TEXT, b"one")
        await peer.expect(TEXT, b"two")
        await peer.expect(PING, b"three")


@pytest.mark.parametrize("role", ROLES)
async def test_corked_frames_of_any_size_keep_their_order(net, role):
    sizes = [0, 1, 125, 126, 40_000, 30_000, 65_521, 65_522, 65_536, 65_537, 200_000, 5]
    listener = Recorder()
    async with against(net, role, listener) as peer:
        with listener.transport.cork():
            for i, size in enumerate(sizes):
                listener.transport.send(WSMsgType.BINARY, pattern(size, i))
        for i, size in enumerate(sizes):
            await peer.expect(BINARY, pattern(size, i))


@pytest.mark.parametrize("end", ["disconnect", "close", "exception", "drain"])
@pytest.mark.parametrize("role", ROLES)
async def test_corked_frames_leave_before_the_end(net, role, end):
    class Corking(Recorder):
        def on_ws_frame(self, transport, frame):
            with transport.cork():
                transport.send(WSMsgType.TEXT, "last words")
                if end == "disconnect":
                    transport.disconnect()
                elif end == "close":
                    transport.send_close(WSCloseCode.OK)
                else:
                    raise RuntimeError

    listener = Corking()
    async with against(net, role, listener) as peer:
        if end == "drain":
            with listener.transport.cork():
                listener.transport.send(WSMsgType.TEXT, "last words")
                await listener.transport.drain()
                await peer.expect(TEXT, b"last words")
            return
        peer.send(TEXT, b"go")
        await peer.expect(TEXT, b"last words")
        if end == "close":
            await peer.expect_close(1000)
        elif end == "exception":
            await peer.expect_close(1011)


async def test_corked_frames_are_one_call_to_the_system(plain):
    """A hundred messages, counted where the peer reads them: in one read, not a hundred."""
    listener = Recorder()
    async with against(plain, "server", listener) as peer:
        with listener.transport.cork():
            for _ in range(100):
                listener.transport.send(WSMsgType.BINARY, bytes(100))
        data = await soon(peer.reader.read(1 << 20))
        assert len(data) == 100 * 102


async def test_a_cork_outlives_the_connection(plain):
    listener = Recorder()
    async with against(plain, "server", listener) as peer:
        with listener.transport.cork():
            listener.transport.send(WSMsgType.BINARY, bytes(100))
            peer.abort()
            await soon(listener.disconnected.wait())
        with listener.transport.cork():
            listener.transport.send(WSMsgType.BINARY, bytes(100))


# ---- limits ----


@pytest.mark.parametrize("role", ROLES)
async def test_overflow_disconnects(net, role, caplog):
    listener = Recorder()
    limit = 2 * MIB
    async with against(net, role, listener, max_write_buffer_size=limit):
        transport = listener.transport
        for _ in range(200):
            transport.send(WSMsgType.BINARY, bytes(MIB))
            assert transport.write_buffer_size <= limit + MIB
        await soon(listener.disconnected.wait())
        cause = transport.disconnect_cause
        assert cause.kind is WSDisconnectKind.WRITE_OVERFLOW
        assert cause.initiator == "local"
        assert "max_write_buffer_size" in cause.reason
        await soon(transport.wait_disconnected())
    assert "max_write_buffer_size" in caplog.text
    caplog.clear()


@pytest.mark.parametrize("role", ROLES)
async def test_overflow_drops_whole_messages(net, role):
    listener = Recorder()
    limit = 2 * MIB
    options = {"max_write_buffer_size": limit, "on_write_overflow": "drop"}
    async with against(net, role, listener, **options) as peer:
        transport = listener.transport
        kept = []
        for i in range(60):
            before = transport.stats.messages_dropped
            # Two fragments a message: both go, or none.
            transport.send(WSMsgType.BINARY, pattern(MIB // 2, i), fin=False)
            transport.send(WSMsgType.CONTINUATION, pattern(MIB // 2, i + 1))
            transport.send_ping(b"%d" % i)  # never dropped
            if transport.stats.messages_dropped == before:
                kept.append(i)
        dropped = transport.stats.messages_dropped
        assert dropped == 60 - len(kept) > 0
        assert transport.stats.messages_sent == len(kept)
        assert transport.write_buffer_size <= limit + MIB
        for i in range(60):
            if i in kept:
                first, second = await peer.next(), await peer.next()
                assert (first.fin, second.fin) == (False, True)
                assert first.payload == pattern(MIB // 2, i)
                assert second.payload == pattern(MIB // 2, i + 1)
            await peer.expect(PING, b"%d" % i)
        # There is room again.
        transport.send(WSMsgType.TEXT, "end")
        await peer.expect(TEXT, b"end")


@pytest.mark.parametrize("policy", ["disconnect", "drop"])
async def test_a_message_over_the_limit_is_taken_where_nothing_waits(plain, policy):
    listener = Recorder()
    options = {"max_write_buffer_size": 1000, "on_write_overflow": policy}
    async with against(plain, "server", listener, **options) as peer:
        for i in range(3):
            listener.transport.send(WSMsgType.BINARY, pattern(MIB, i))
            await peer.expect(BINARY, pattern(MIB, i))


async def test_a_peer_that_never_reads_and_pings(plain):
    """5.5.3: only the last PING has to be answered: a flood of them must not pile up answers."""
    listener = Recorder()
    async with against(plain, "server", listener) as peer:
        fill(listener.transport)
        waiting = listener.transport.write_buffer_size
        for i in range(5000):
            peer.send(PING, b"%0100d" % i)
        peer.send(TEXT, b"end")
        await soon(listener.frames.get())
        assert listener.transport.write_buffer_size <= waiting + 1000


# ---- sending out of the caller's memory ----


@pytest.mark.parametrize("size", [0, 1, 125, 126, 8192, 8193, 65535, 65536, 300_000])
@pytest.mark.parametrize("role", ROLES)
async def test_send_reuse_external_bytearray(net, role, size):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        transport = listener.transport
        for offset in (14, 15, 37):
            buffer = bytearray(b"-" * offset + pattern(size))
            transport.send_reuse_external_bytearray(WSMsgType.BINARY, buffer, offset)
            await peer.expect(BINARY, pattern(size))
            # Only what may be written before the payload was.
            assert buffer[: offset - 14] == b"-" * (offset - 14)
            assert len(buffer) == offset + size
        with transport.cork():
            buffer = bytearray(14) + pattern(size)
            transport.send_reuse_external_bytearray(
                WSMsgType.TEXT, buffer=buffer, msg_offset=14, fin=False
            )
            buffer = bytearray(14) + b"end"
            transport.send_reuse_external_bytearray(WSMsgType.CONTINUATION, buffer, 14)
        assert (await peer.next())[:3] == (TEXT, pattern(size), False)
        assert (await peer.next())[:3] == (0, b"end", True)
        # The buffer is free again.
        buffer.extend(b"more")


async def test_send_reuse_refuses(plain):
    listener = Recorder()
    async with against(plain, "client", listener) as peer:
        send = listener.transport.send_reuse_external_bytearray
        for error, arguments in (
            (ValueError, (WSMsgType.BINARY, None, 14)),
            (ValueError, (WSMsgType.BINARY, bytearray(20), 13)),
            (ValueError, (WSMsgType.BINARY, bytearray(20), -1)),
            (ValueError, (WSMsgType.BINARY, bytearray(20), 21)),
            (ValueError, (WSMsgType.BINARY, bytearray(20), 1 << 70)),
            (ValueError, (WSMsgType.CLOSE, bytearray(20), 14)),
            (ValueError, (3, bytearray(20), 14)),
            (ValueError, (WSMsgType.CONTINUATION, bytearray(20), 14)),
            (ValueError, (WSMsgType.PING, bytearray(14 + 126), 14)),
            (ValueError, (WSMsgType.BINARY, bytearray(20), 14, True, True)),
            (TypeError, (WSMsgType.BINARY, b"read-only" * 3, 14)),
            (TypeError, (WSMsgType.BINARY, "text" * 5, 14)),
            (TypeError, (WSMsgType.BINARY, bytearray(20), "14")),
            (TypeError, (WSMsgType.BINARY, bytearray(20))),
        ):
            with pytest.raises(error):
                send(*arguments)
        send(WSMsgType.BINARY, bytearray(14) + b"x", 14)
        await peer.expect(BINARY, b"x")
        listener.transport.send_close()
        send(WSMsgType.BINARY, bytearray(14) + b"nothing", 14)
        await peer.expect_close(None)


# ---- figures ----


@pytest.mark.parametrize("role", ROLES)
async def test_stats(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        transport = listener.transport
        head = 2 + (4 if role == "client" else 0)
        transport.send(WSMsgType.TEXT, "12345")
        transport.send(WSMsgType.BINARY, b"abc", fin=False)
        transport.send(WSMsgType.CONTINUATION, None)
        transport.send_ping()
        for _ in range(4):
            await peer.next()
        stats = transport.stats
        assert (stats.frames_sent, stats.messages_sent) == (4, 2)
        assert stats.bytes_sent == 4 * head + 5 + 3
        assert (stats.frames_received, stats.bytes_received) == (0, 0)
        assert (stats.buffered, stats.messages_dropped) == (0, 0)
        frames = [peer.frame(PING), peer.frame(TEXT, bytes(200)), peer.frame(BINARY, fin=False)]
        peer.write(*frames, peer.frame(0, b"x"))
        for _ in range(3):
            await soon(listener.frames.get())
        stats = transport.stats
        assert (stats.frames_received, stats.messages_received) == (4, 2)
        assert stats.bytes_received == sum(map(len, frames)) + len(peer.frame(0, b"x"))
        assert stats.frames_sent == 5  # the PONG
    # They can be asked afterwards.
    assert transport.stats.frames_received >= 4


async def test_each_frame_is_logged_where_asked(plain, caplog):
    from picows_c import PICOWS_DEBUG_LL

    caplog.set_level(PICOWS_DEBUG_LL, "picows_c.frames")
    listener = Recorder()
    async with against(plain, "server", listener, logger_name="frames") as peer:
        peer.send(TEXT, b"hello")
        await soon(listener.frames.get())
        listener.transport.send(WSMsgType.BINARY, b"answer!")
        await peer.expect(BINARY, b"answer!")
    frames = [r.getMessage() for r in caplog.records if r.levelno == PICOWS_DEBUG_LL]
    assert any("< TEXT" in text and "5 bytes" in text for text in frames)
    assert any("> BINARY" in text and "7 bytes" in text for text in frames)
