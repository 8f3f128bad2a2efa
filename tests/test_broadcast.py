"""broadcast(): one message to many connections of a server."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import zlib

import pytest
from helpers import Recorder
from raw import BINARY, PING, TEXT, against, complaints, pattern, soon, upgraded

from picows_c import PermessageDeflate, WSMsgType, broadcast


@contextlib.asynccontextmanager
async def crowd(net, count: int, headers=None, **options):
    """Serve so many raw peers; yield them and their listeners."""
    listeners: list[Recorder] = []

    def factory(request):
        listeners.append(Recorder())
        return listeners[-1]

    async with net.serve(factory, **options):
        peers = []
        try:
            for i in range(count):
                peers.append(await upgraded(net, **(headers or {})))
                await soon(listeners[i].connected.wait())
            yield peers, listeners
        finally:
            for peer in peers:
                peer.abort()
            for listener in listeners:
                await soon(listener.disconnected.wait())


def transports(listeners):
    return [listener.transport for listener in listeners]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 8192, 8193, 65_535, 65_536, 300_001])
async def test_everybody_gets_it(net, size):
    async with crowd(net, 3) as (peers, listeners):
        everybody = transports(listeners)
        assert broadcast(everybody, WSMsgType.BINARY, pattern(size)) == []
        assert broadcast(iter(everybody), WSMsgType.TEXT, "\u00e9" * size) == []
        assert broadcast(message=None, msg_type=WSMsgType.PING, transports=set(everybody)) == []
        for peer in peers:
            await peer.expect(BINARY, pattern(size))
            await peer.expect(TEXT, ("\u00e9" * size).encode())
            await peer.expect(PING)
        for transport in everybody:
            assert transport.stats.frames_sent == 3
            assert transport.stats.messages_sent == 2
            waiting = transport.write_buffer_size
            assert waiting == 0


async def test_it_stands_in_order_with_send(net):
    async with crowd(net, 2) as (peers, listeners):
        everybody = transports(listeners)
        for i in range(20):
            everybody[0].send(WSMsgType.TEXT, f"own {i}")
            # One message of 300,000 bytes fills the buffers: what follows waits.
            broadcast(everybody, WSMsgType.BINARY, pattern(300_000, i))
        for i in range(20):
            await peers[0].expect(TEXT, f"own {i}".encode())
            for peer in peers:
                await peer.expect(BINARY, pattern(300_000, i))


async def test_nobody(plain):
    assert broadcast([], WSMsgType.TEXT, "x") == []


async def test_who_cannot_take_it_is_returned(plain):
    async with crowd(plain, 5) as (peers, listeners):
        everybody = transports(listeners)
        _, fragmented, closing, closed, _ = everybody
        fragmented.send(WSMsgType.TEXT, "begin ", fin=False)
        closing.send_close(1000)
        closed.disconnect(False)
        await soon(listeners[3].disconnected.wait())
        assert broadcast(everybody, WSMsgType.TEXT, "news") == [fragmented, closing, closed]
        # Control frames may stand between the fragments of a message (RFC 6455, 5.4).
        assert broadcast(everybody, WSMsgType.PING, b"?") == [closing, closed]
        fragmented.send(WSMsgType.CONTINUATION, "end")
        for peer in (peers[0], peers[4]):
            await peer.expect(TEXT, b"news")
            await peer.expect(PING, b"?")
        assert (await peers[1].next())[:3] == (TEXT, b"begin ", False)
        await peers[1].expect(PING, b"?")
        assert (await peers[1].next())[:3] == (0, b"end", True)
        await peers[2].expect_close(1000)


@pytest.mark.parametrize("policy", ["disconnect", "drop"])
async def test_who_is_over_its_limit_is_skipped(plain, policy):
    options = {"max_write_buffer_size": 100_000, "on_write_overflow": policy}
    async with crowd(plain, 2, **options) as (peers, listeners):
        slow, fast = transports(listeners)
        sent = 0
        # Nobody reads: the first one's buffers fill.
        while slow.write_buffer_size == 0:
            assert broadcast([slow], WSMsgType.BINARY, pattern(60_000)) == []
            sent += 1
        while broadcast([slow, fast], WSMsgType.BINARY, pattern(60_000)) == []:
            sent += 1
            await peers[1].expect(BINARY, pattern(60_000))
        await peers[1].expect(BINARY, pattern(60_000))
        assert slow.stats.messages_dropped == 0
        assert not slow.is_disconnected
        for _ in range(sent):
            await peers[0].expect(BINARY, pattern(60_000))
        assert broadcast([slow, fast], WSMsgType.TEXT, "on") == []
        await peers[0].expect(TEXT, b"on")


async def test_wrong_arguments_send_nothing(plain):
    listener = Recorder()
    async with crowd(plain, 1) as (peers, listeners):
        ours = listeners[0].transport
        async with against(plain, "client", listener):
            with pytest.raises(ValueError, match="server"):
                broadcast([ours, listener.transport], WSMsgType.TEXT, "x")
        for error, arguments in [
            (TypeError, ([ours, object()], WSMsgType.TEXT, "x")),
            (TypeError, ([ours, None], WSMsgType.TEXT, "x")),
            (TypeError, (ours, WSMsgType.TEXT, "x")),
            (TypeError, ([ours], WSMsgType.TEXT, 5)),
            (TypeError, ([ours], "TEXT", "x")),
            (TypeError, ([ours], WSMsgType.TEXT)),
            (ValueError, ([ours], WSMsgType.CLOSE, b"")),
            (ValueError, ([ours], WSMsgType.CONTINUATION, b"")),
            (ValueError, ([ours], 3, b"")),
            (ValueError, ([ours], WSMsgType.PING, bytes(126))),
            (UnicodeEncodeError, ([ours], WSMsgType.TEXT, "\ud800")),
        ]:
            with pytest.raises(error):
                broadcast(*arguments)
        assert ours.stats.frames_sent == 0
        broadcast([ours], WSMsgType.TEXT, "right")
        await peers[0].expect(TEXT, b"right")


async def test_another_thread(plain):
    async with crowd(plain, 1) as (peers, listeners):
        caught: list[BaseException] = []

        def run() -> None:
            try:
                broadcast(transports(listeners), WSMsgType.TEXT, "x")
            except RuntimeError as error:
                caught.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert len(caught) == 1
        broadcast(transports(listeners), WSMsgType.TEXT, "own thread")
        await peers[0].expect(TEXT, b"own thread")


# What peers offer.
PLAIN: dict[str, str] = {}
ALONE = {"Sec-WebSocket-Extensions": "permessage-deflate; server_no_context_takeover"}
SMALL = {name: f"{value}; server_max_window_bits=9" for name, value in ALONE.items()}
TAKEOVER = {"Sec-WebSocket-Extensions": "permessage-deflate"}


async def test_it_is_compressed_once_for_all_who_agreed_on_the_same(plain, monkeypatch):
    made = []

    class Counting:
        """zlib, whose compressors count."""

        def __getattr__(self, name):
            return getattr(zlib, name)

        @staticmethod
        def compressobj(*args, **kwargs):
            compressor = zlib.compressobj(*args, **kwargs)

            class Compressor:
                @staticmethod
                def compress(data):
                    made.append(len(data))
                    return compressor.compress(data)

                flush = compressor.flush

            return Compressor()

    options = {
        "compression": PermessageDeflate(backend=Counting(), server_no_context_takeover=None),
        "assemble_messages": True,
    }
    message = b"the same words, " * 100
    listeners: list[Recorder] = []

    def factory(request):
        listeners.append(Recorder())
        return listeners[-1]

    kinds = [ALONE, PLAIN, ALONE, SMALL, TAKEOVER]
    async with plain.serve(factory, **options):
        peers = [await upgraded(plain, **kind) for kind in kinds]
        for listener in listeners:
            await soon(listener.connected.wait())
        assert broadcast(transports(listeners), WSMsgType.BINARY, message) == []
        # One for each of the two agreements without takeover.
        assert made == [len(message)] * 2
        for peer, kind in zip(peers, kinds):
            got = await peer.next()
            if kind in (ALONE, SMALL):
                assert got.rsv == 4
                inflater = zlib.decompressobj(-15)
                assert inflater.decompress(got.payload + b"\x00\x00\xff\xff") == message
            else:
                # Who takes its context over gets it as it is.
                assert (got.rsv, got.payload) == (0, message)
        # What is below the threshold is not worth it.
        made.clear()
        assert broadcast(transports(listeners), WSMsgType.BINARY, b"short") == []
        assert made == []
        for peer in peers:
            await peer.expect(BINARY, b"short")
            peer.abort()
        for listener in listeners:
            await soon(listener.disconnected.wait())


@pytest.mark.parametrize("error", [MemoryError, ValueError, asyncio.CancelledError])
async def test_a_compressor_that_raises_concerns_no_other(net, error, monkeypatch):
    fails = []

    class Failing:
        DEFLATED, Z_SYNC_FLUSH, Z_FULL_FLUSH = zlib.DEFLATED, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH
        decompressobj = staticmethod(zlib.decompressobj)

        @staticmethod
        def compressobj(*args, **kwargs):
            real = zlib.compressobj(*args, **kwargs)

            class Compressor:
                def compress(self, data):
                    if fails:
                        raise fails.pop()
                    return real.compress(data)

                flush = staticmethod(real.flush)

            return Compressor()

    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: told.append(args.exc_value))
    options = {
        "compression": PermessageDeflate(backend=Failing(), server_no_context_takeover=None),
        "assemble_messages": True,
    }
    message = b"the same words, " * 100
    async with crowd(net, 3, ALONE, **options) as (peers, listeners):
        everybody = transports(listeners)
        fails.append(error("once"))
        expected = list(fails)
        assert broadcast(everybody, WSMsgType.BINARY, message) == everybody[:1]
        assert told == expected
        # It only missed a message.
        assert broadcast(everybody, WSMsgType.BINARY, message[::-1]) == []
        for number, peer in enumerate(peers):
            for sent in [message, message[::-1]][number == 0 :]:
                got = await peer.next()
                inflater = zlib.decompressobj(-15)
                assert inflater.decompress(got.payload + b"\x00\x00\xff\xff") == sent
    told.clear()


async def test_one_connection_that_fails_concerns_no_other(plain, caplog):
    """A peer that has reset its connection is found when it is sent to."""
    async with crowd(plain, 3) as (peers, listeners):
        peers[1].reset()
        everybody = transports(listeners)
        while not listeners[1].disconnected.is_set():
            broadcast(everybody, WSMsgType.TEXT, "again")
            await asyncio.sleep(0)
        skipped = broadcast(everybody, WSMsgType.TEXT, "last")
        assert skipped == [everybody[1]]
        for peer in (peers[0], peers[2]):
            while (await peer.next()).payload != b"last":
                pass
    assert complaints(caplog) == []


async def test_a_callback_that_changes_the_caller_s_list(plain):
    """The high watermark calls the listener in the middle of it."""
    members: list = []

    class Leaving(Recorder):
        def pause_writing(self):
            members.clear()
            self.transport.disconnect(False)

        def resume_writing(self):
            pass

    leaving = Leaving()
    async with crowd(plain, 2) as (peers, listeners), against(plain, "server", leaving):
        members += [listeners[0].transport, leaving.transport, listeners[1].transport]
        everybody = list(members)
        while members:
            broadcast(members, WSMsgType.BINARY, bytes(300_000))
            for peer in peers:
                await peer.expect(BINARY, bytes(300_000))
        assert broadcast(everybody, WSMsgType.TEXT, "after") == [leaving.transport]
        for peer in peers:
            await peer.expect(TEXT, b"after")
