"""Compressed messages (RFC 7692): what goes over the wire, limits, and broken streams."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from typing import Any, Optional

import pytest
from helpers import Recorder
from raw import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    ROLES,
    TEXT,
    Peer,
    against,
    pattern,
    soon,
    upgraded,
)
from scripts import run_script

from picows_c import PermessageDeflate, WSMsgType, broadcast

RSV1 = 4
TAIL = b"\x00\x00\xff\xff"
ALL = PermessageDeflate(server_max_window_bits=None, client_max_window_bits=None, threshold=0)
RESETS = ("server_no_context_takeover", "client_no_context_takeover")


class Codec:
    """The peer's compressor and decompressor."""

    def __init__(self, bits: int = 15) -> None:
        self.bits = bits
        self._out = zlib.compressobj(wbits=-bits)
        self._in = zlib.decompressobj(-15)

    def deflate(self, data: bytes) -> bytes:
        out = self._out.compress(data) + self._out.flush(zlib.Z_SYNC_FLUSH)
        assert out.endswith(TAIL)
        return out[:-4]

    def inflate(self, data: bytes) -> bytes:
        return self._in.decompress(data + TAIL)


def deflated(
    net: Any,
    role: str,
    listener: Recorder,
    *parameters: str,
    compression: PermessageDeflate = ALL,
    **options: Any,
) -> contextlib.AbstractAsyncContextManager[Peer]:
    """As raw.against(), with permessage-deflate agreed on."""
    options.update(assemble_messages=True, compression=compression)
    extension = "; ".join(("permessage-deflate", *parameters))
    return against(net, role, listener, extension, **options)


async def received(listener: Recorder) -> tuple[WSMsgType, bytes]:
    frame = await soon(listener.frames.get())
    assert (frame.fin, frame.rsv1) == (True, False)
    return frame.msg_type, bytes(frame)


async def sent(peer: Peer, codec: Optional[Codec]) -> tuple[int, bytes]:
    """Read one message; with a codec it must be compressed, without it must not."""
    got = first = await peer.next()
    parts = [got.payload]
    while not got.fin:
        got = await peer.next()
        assert (got.opcode, got.rsv) == (CONTINUATION, 0)
        parts.append(got.payload)
    assert first.rsv == (0 if codec is None else RSV1)
    data = b"".join(parts)
    return first.opcode, data if codec is None else codec.inflate(data)


MESSAGES = [b"", b"x", b"hello " * 20, os.urandom(1000), pattern(70_000), bytes(300_000), b"end"]


@pytest.mark.parametrize("role", ROLES)
async def test_messages_both_ways(net, role):
    listener, codec = Recorder(), Codec()
    async with deflated(net, role, listener) as peer:
        for data in MESSAGES * 2:
            peer.send(BINARY, codec.deflate(data), rsv=RSV1)
            assert await received(listener) == (BINARY, data)
            listener.transport.send(WSMsgType.BINARY, data)
            assert await sent(peer, codec) == (BINARY, data)
            # Not every message has to be compressed.
            peer.send(TEXT, b"plain")
            assert await received(listener) == (TEXT, b"plain")
            peer.send(PING, b"neither is this")
            await peer.expect(PONG, b"neither is this")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("role", ROLES)
async def test_received_in_fragments(plain, role, size):
    listener, codec = Recorder(), Codec()
    async with deflated(plain, role, listener) as peer:
        for data in (b"", b"hello " * 20, pattern(3000)):
            packed = codec.deflate(data)
            parts = [packed[at : at + size] for at in range(0, len(packed), size)]
            for i, part in enumerate(parts):
                peer.send(
                    BINARY if i == 0 else CONTINUATION,
                    part,
                    rsv=RSV1 if i == 0 else 0,
                    fin=i == len(parts) - 1,
                )
                peer.send(PING)
                await peer.expect(PONG)
            assert await received(listener) == (BINARY, data)
        packed = codec.deflate(b"with empty fragments")
        peer.send(TEXT, b"", rsv=RSV1, fin=False)
        peer.send(CONTINUATION, packed, fin=False)
        peer.send(CONTINUATION, b"")
        assert await received(listener) == (TEXT, b"with empty fragments")


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("role", ROLES)
async def test_sent_in_fragments(plain, role, resets):
    listener, codec = Recorder(), Codec()
    async with deflated(plain, role, listener, *(RESETS if resets else ())) as peer:
        send = listener.transport.send
        for parts in (["one ", "two ", "three"], ["", "", ""], ["only", ""], ["", "only"]):
            send(WSMsgType.TEXT, parts[0], fin=False)
            listener.transport.send_ping(b"between")
            for part in parts[1:-1]:
                send(WSMsgType.CONTINUATION, part, fin=False)
            send(WSMsgType.CONTINUATION, parts[-1])
            first = await peer.next()
            assert (first.opcode, first.rsv, first.fin) == (TEXT, RSV1, False)
            await peer.expect(PING, b"between")
            packed = first.payload
            while True:
                got = await peer.next()
                assert (got.opcode, got.rsv) == (CONTINUATION, 0)
                packed += got.payload
                if got.fin:
                    break
            assert codec.inflate(packed) == "".join(parts).encode()
        buffer = bytearray(14) + b"out of a buffer"
        listener.transport.send_reuse_external_bytearray(WSMsgType.TEXT, buffer, 14)
        assert await sent(peer, codec) == (TEXT, b"out of a buffer")


@pytest.mark.parametrize("role", ROLES)
async def test_short_messages_are_not_worth_it(plain, role):
    listener, codec = Recorder(), Codec()
    config = PermessageDeflate(
        server_max_window_bits=None, client_max_window_bits=None, threshold=100
    )
    async with deflated(plain, role, listener, compression=config) as peer:
        listener.transport.send(WSMsgType.TEXT, "x" * 99)
        assert await sent(peer, None) == (TEXT, b"x" * 99)
        listener.transport.send(WSMsgType.TEXT, "x" * 100)
        assert await sent(peer, codec) == (TEXT, b"x" * 100)
        # The first fragment decides for all.
        listener.transport.send(WSMsgType.TEXT, "x", fin=False)
        listener.transport.send(WSMsgType.CONTINUATION, "x" * 1000)
        assert await sent(peer, None) == (TEXT, b"x" * 1001)


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("role", ROLES)
async def test_window_bits(plain, role, bits):
    """What we send fits into the window that was agreed on, whatever its size."""
    listener = Recorder()
    ours, theirs = ("server", "client") if role == "server" else ("client", "server")
    config = PermessageDeflate(
        server_max_window_bits=bits, client_max_window_bits=bits, threshold=0
    )
    parameters = [f"{ours}_max_window_bits={bits}", f"{theirs}_max_window_bits={bits}"]
    codec = Codec(bits)
    codec._in = zlib.decompressobj(-bits)
    async with deflated(plain, role, listener, *parameters, compression=config) as peer:
        data = (os.urandom(600) + bytes(100)) * 60
        for _ in range(3):
            listener.transport.send(WSMsgType.BINARY, data)
            assert await sent(peer, codec) == (BINARY, data)
            peer.send(BINARY, codec.deflate(data), rsv=RSV1)
            assert await received(listener) == (BINARY, data)


# ---- context takeover ----


@pytest.mark.parametrize("role", ROLES)
async def test_context_is_taken_over(plain, role):
    listener, codec = Recorder(), Codec()
    data = os.urandom(2000)
    async with deflated(plain, role, listener) as peer:
        sizes = []
        for _ in range(2):
            listener.transport.send(WSMsgType.BINARY, data)
            got = await peer.next()
            sizes.append(len(got.payload))
            assert codec.inflate(got.payload) == data
        assert sizes[0] >= 2000
        assert sizes[1] < 100


@pytest.mark.parametrize("role", ROLES)
async def test_no_context_is_taken_over(plain, role):
    listener = Recorder()
    data = os.urandom(2000)
    async with deflated(plain, role, listener, *RESETS) as peer:
        for _ in range(3):
            listener.transport.send(WSMsgType.BINARY, data)
            # Nothing that was sent before is needed to read it.
            assert await sent(peer, Codec()) == (BINARY, data)
            peer.send(BINARY, Codec().deflate(data), rsv=RSV1)
            assert await received(listener) == (BINARY, data)
        codec = Codec()
        codec.deflate(data)
        peer.send(BINARY, codec.deflate(data), rsv=RSV1)  # refers to what is forgotten
        await peer.expect_close(1007)


async def test_nobody_reads_what_another_connection_said(plain):
    """A decompressor is never shared: a back-reference finds nothing of anybody else's."""
    secret = b"the secret of another connection, 40 bytes"
    for parameters in ((), RESETS):
        victim, thief = Recorder(), Recorder()
        listeners = iter([victim, thief])
        options = {"assemble_messages": True, "compression": ALL}
        async with plain.serve(lambda request, it=listeners: next(it), **options):
            extension = "; ".join(("permessage-deflate", *parameters))
            one = await upgraded(plain, Sec_WebSocket_Extensions=extension)
            two = await upgraded(plain, Sec_WebSocket_Extensions=extension)
            codec = Codec()
            one.send(BINARY, codec.deflate(secret), rsv=RSV1)
            assert await received(victim) == (BINARY, secret)
            # The second time it is nothing but a reference to the first.
            packed = codec.deflate(secret)
            assert len(packed) < 20
            two.send(BINARY, packed, rsv=RSV1)
            await two.expect_close(1007)
            # And what we compress for one does not show in what another gets.
            victim.transport.send(WSMsgType.BINARY, secret)
            assert await sent(one, Codec()) == (BINARY, secret)
            for peer in (one, two):
                peer.abort()
            await soon(victim.disconnected.wait())
            await soon(thief.disconnected.wait())
        assert thief.frames.empty()


# ---- shared compressors ----

SECRET = b"the password is 'correct horse battery staple', and nobody else knows it "
GUESS = b"the password is 'correct horse "


class Breaking:
    """A module like zlib whose compressors can be made to fail."""

    DEFLATED, Z_SYNC_FLUSH, Z_FULL_FLUSH = zlib.DEFLATED, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH
    decompressobj = staticmethod(zlib.decompressobj)

    def __init__(self) -> None:
        self.made: list[Any] = []
        self.fails = ""
        self.calls: Any = None  # what compress() and flush() call first

    def compressobj(self, *arguments: Any, **options: Any) -> Any:
        module, real = self, zlib.compressobj(*arguments, **options)

        class Compressor:
            def compress(self, data: bytes) -> bytes:
                if module.fails == "compress":
                    raise MemoryError
                if module.calls is not None:
                    module.calls("compress")
                return real.compress(data)

            def flush(self, mode: int) -> bytes:
                if module.fails == "flush":
                    raise MemoryError
                if module.calls is not None:
                    module.calls("flush")
                return real.flush(mode)

        self.made.append(Compressor())
        return self.made[-1]


@contextlib.asynccontextmanager
async def three(net: Any, config: PermessageDeflate) -> AsyncIterator[Any]:
    """Three connections of one server without context takeover: transports and their peers."""
    listeners = [Recorder() for _ in range(3)]
    todo = iter(listeners)
    options = {"assemble_messages": True, "compression": config}
    extension = "; ".join(("permessage-deflate", *RESETS))
    async with net.serve(lambda request: next(todo), **options):
        peers = [await upgraded(net, Sec_WebSocket_Extensions=extension) for _ in range(3)]
        for listener in listeners:
            await soon(listener.connected.wait())
        try:
            yield [listener.transport for listener in listeners], peers
        finally:
            for peer, listener in zip(peers, listeners):
                peer.abort()
                await soon(listener.disconnected.wait())


async def test_compressors_are_shared_message_by_message(plain):
    module = Breaking()
    config = PermessageDeflate(threshold=0, backend=module)  # type: ignore[arg-type]
    module.made.clear()
    async with three(plain, config) as (transports, peers):
        for data in (SECRET, GUESS, SECRET * 3):
            for transport, peer in zip(transports, peers):
                transport.send(WSMsgType.BINARY, data)
                # It can be read by who has seen nothing else.
                assert await sent(peer, Codec()) == (BINARY, data)
        assert len(module.made) == 1


async def test_a_message_in_fragments_has_a_compressor_of_its_own(plain):
    module = Breaking()
    config = PermessageDeflate(threshold=0, backend=module)  # type: ignore[arg-type]
    module.made.clear()
    async with three(plain, config) as (transports, peers):
        one, other, third = transports
        one.send(WSMsgType.BINARY, SECRET, fin=False)
        third.send(WSMsgType.BINARY, GUESS, fin=False)
        for _ in range(2):
            other.send(WSMsgType.BINARY, SECRET)
            assert await sent(peers[1], Codec()) == (BINARY, SECRET)
        one.send(WSMsgType.CONTINUATION, SECRET)
        third.send(WSMsgType.CONTINUATION, GUESS)
        assert await sent(peers[0], Codec()) == (BINARY, SECRET * 2)
        assert await sent(peers[2], Codec()) == (BINARY, GUESS * 2)
        assert len(module.made) == 3
        # One that was lost within a message is nobody's any more.
        one.send(WSMsgType.BINARY, SECRET, fin=False)
        peers[0].abort()
        other.send(WSMsgType.BINARY, GUESS)
        assert await sent(peers[1], Codec()) == (BINARY, GUESS)


@pytest.mark.parametrize("where", ["compress", "flush"])
async def test_a_compressor_that_failed_is_thrown_away(plain, where):
    module = Breaking()
    config = PermessageDeflate(threshold=0, backend=module)  # type: ignore[arg-type]
    module.made.clear()
    async with three(plain, config) as (transports, peers):
        transports[0].send(WSMsgType.BINARY, GUESS)
        assert await sent(peers[0], Codec()) == (BINARY, GUESS)
        module.fails = where
        with pytest.raises(MemoryError):
            transports[0].send(WSMsgType.BINARY, SECRET)
        module.fails = ""
        for transport, peer in zip(transports, peers):
            transport.send(WSMsgType.BINARY, GUESS)
            assert await sent(peer, Codec()) == (BINARY, GUESS)
        assert len(module.made) == 2


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("fragments", [False, True])
async def test_nothing_refers_to_what_was_never_sent(net, role, fragments):
    """The end of a message is not as it has to be: it was compressed, and does not leave."""

    class Odd(Breaking):
        odd = False

        def compressobj(self, *arguments, **options):
            made = super().compressobj(*arguments, **options)
            flush = made.flush
            made.flush = lambda mode: flush(mode) + (b"odd" if self.odd else b"")
            return made

    module = Odd()
    config = PermessageDeflate(
        server_max_window_bits=None, client_max_window_bits=None, threshold=0, backend=module
    )
    listener, codec = Recorder(), Codec()
    async with deflated(net, role, listener, compression=config) as peer:
        send = listener.transport.send
        send(WSMsgType.BINARY, GUESS)
        assert await sent(peer, codec) == (BINARY, GUESS)
        if fragments:
            send(WSMsgType.BINARY, GUESS, fin=False)
        module.odd = True
        with pytest.raises(ValueError, match="ended with no empty block"):
            send(WSMsgType.CONTINUATION if fragments else WSMsgType.BINARY, SECRET)
        module.odd = False
        # The peer never saw the secret.
        send(WSMsgType.CONTINUATION if fragments else WSMsgType.BINARY, SECRET)
        assert await sent(peer, codec) == (BINARY, GUESS * fragments + SECRET)


async def test_an_odd_compressor_is_not_shared(plain):
    module = Breaking()
    config = PermessageDeflate(threshold=0, backend=module)
    async with three(plain, config) as (transports, peers):
        module.made.clear()
        transports[0].send(WSMsgType.BINARY, GUESS)
        assert await sent(peers[0], Codec()) == (BINARY, GUESS)
        module.made[0].flush = lambda mode: b"odd"
        with pytest.raises(ValueError, match="ended with no empty block"):
            transports[0].send(WSMsgType.BINARY, SECRET)
        transports[1].send(WSMsgType.BINARY, GUESS)
        assert await sent(peers[1], Codec()) == (BINARY, GUESS)
        assert len(module.made) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="getrandom() is Linux's")
def test_nothing_refers_to_what_could_not_be_masked(need, tmp_path, loop_kind, way):
    """The system's entropy fails once for a client that has compressed its message."""
    compiler = need("a C compiler", shutil.which("cc"))
    source, library = tmp_path / "entropy.c", tmp_path / "entropy.so"
    source.write_text(NO_ENTROPY)
    command = [compiler, "-shared", "-fPIC", "-o", str(library), str(source)]
    # (Not for the compiler: a sanitizer that is preloaded.)
    plain = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    subprocess.run(command, check=True, env=plain)
    assert run_script("unmasked.py", library, loop_kind, way).stdout == "ok\n"


NO_ENTROPY = """
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

int entropy_fails;

ssize_t
getrandom(void *to, size_t len, unsigned flags)
{
    if (entropy_fails) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_getrandom, to, len, flags);
}
"""


@pytest.mark.parametrize("payload", [b"s", SECRET], ids=["below", "above"])
@pytest.mark.parametrize("fin", [False, True])
async def test_no_message_begins_inside_the_compressor(plain, payload, fin):
    """Not one that needs no compressor either: it would stand inside the one that does."""
    module = Breaking()
    config = PermessageDeflate(threshold=10, backend=module)  # type: ignore[arg-type]
    async with three(plain, config) as (transports, peers):
        one, other, _ = transports
        refused = []

        def send(where: str) -> None:
            module.calls = None  # once
            with pytest.raises(RuntimeError, match="inside the compressor"):
                one.send(WSMsgType.BINARY, payload, fin=fin)
            room = bytearray(14) + payload
            with pytest.raises(RuntimeError, match="inside the compressor"):
                one.send_reuse_external_bytearray(WSMsgType.BINARY, room, 14, fin=fin)
            assert broadcast([one], WSMsgType.BINARY, payload) == [one]
            one.send_ping(b"may go")
            other.send(WSMsgType.BINARY, GUESS)
            refused.append(where)

        for where in ("compress", "flush"):
            module.calls = lambda name, where=where: send(name) if name == where else None
            one.send(WSMsgType.BINARY, SECRET, fin=False)
            one.send(WSMsgType.CONTINUATION, GUESS)
            await peers[0].expect(PING, b"may go")
            assert await sent(peers[0], Codec()) == (BINARY, SECRET + GUESS)
            assert await sent(peers[1], Codec()) == (BINARY, GUESS)
        assert refused == ["compress", "flush"]


async def test_few_compressors_are_kept(plain):
    config = PermessageDeflate(threshold=0)
    async with three(plain, config) as (transports, peers):
        for _ in range(20):
            transports[0].send(WSMsgType.BINARY, SECRET)
            await sent(peers[0], Codec())
    assert [len(pool) for pool in config._free.values()] == [1]


# ---- rules ----


@pytest.mark.parametrize("role", ROLES)
async def test_rsv_bits(plain, role):
    cases = [
        [(TEXT, b"x", True, 2)],
        [(TEXT, b"x", True, 1)],
        [(TEXT, b"x", True, 7)],
        [(PING, b"x", True, RSV1)],
        [(TEXT, b"", False, RSV1), (CONTINUATION, b"", True, RSV1)],
        [(TEXT, b"", False, 0), (CONTINUATION, b"", True, RSV1)],
    ]
    for frames in cases:
        listener = Recorder()
        async with deflated(plain, role, listener) as peer:
            for opcode, payload, fin, rsv in frames:
                peer.send(opcode, payload, fin=fin, rsv=rsv)
            await peer.expect_close(1002)
            # Ours to set, not the user's.
            with pytest.raises(ValueError, match="RSV"):
                listener.transport.send(WSMsgType.TEXT, "x", rsv1=True)


@pytest.mark.parametrize("role", ROLES)
async def test_broken_streams(plain, role):
    noise = os.urandom(200)
    for data in (b"\xff", b"\xff\xff\xff\xff", b"\x07" + noise, b"\x06", b"\x00\x01\x00\x01\x00"):
        for fragments in (False, True):
            listener = Recorder()
            async with deflated(plain, role, listener) as peer:
                if fragments:
                    peer.send(BINARY, data, rsv=RSV1, fin=False)
                    peer.send(CONTINUATION, b"")
                else:
                    peer.send(BINARY, data, rsv=RSV1)
                await peer.expect_close(1007, b"compressed data that cannot be inflated")
                peer.abort()
                await soon(listener.disconnected.wait())
            assert listener.frames.empty()


@pytest.mark.parametrize("role", ROLES)
async def test_streams_cut_and_corrupted_anywhere(plain, role):
    """Whatever comes of it, it is no crash and no hang, and an answer comes."""
    good = Codec().deflate(b"a message with some text in it " * 3 + os.urandom(20))
    broken = [good[:n] for n in range(len(good))]
    broken += [good[:n] + bytes([good[n] ^ 1 << n % 8]) + good[n + 1 :] for n in range(len(good))]
    for data in broken:
        listener = Recorder()
        async with deflated(plain, role, listener) as peer:
            peer.write(peer.frame(BINARY, data, rsv=RSV1), peer.frame(PING, b"still there?"))
            got = await peer.next()
            assert got.opcode in (PONG, 8)
            assert got.opcode == PONG or got.payload[:2] == (1007).to_bytes(2, "big")


@pytest.mark.parametrize("role", ROLES)
async def test_streams_that_end(plain, role):
    """7.2.3.4: a block with BFINAL ends its stream, not the context."""
    listener = Recorder()
    async with deflated(plain, role, listener) as peer:
        text = b"a final block, and what refers to it"
        packer = zlib.compressobj(wbits=-15)
        peer.send(BINARY, packer.compress(text) + packer.flush() + b"\0", rsv=RSV1)
        assert await received(listener) == (BINARY, text)
        packer = zlib.compressobj(wbits=-15, zdict=text)
        packed = packer.compress(text[::-1] + text) + packer.flush(zlib.Z_SYNC_FLUSH)
        peer.send(BINARY, packed[:-4], rsv=RSV1)
        assert await received(listener) == (BINARY, text[::-1] + text)
        # Two streams in one message.
        both = b""
        for part in (b"one", b"two"):
            packer = zlib.compressobj(wbits=-15)
            both += packer.compress(part) + packer.flush()
        peer.send(BINARY, both + b"\0", rsv=RSV1)
        assert await received(listener) == (BINARY, b"onetwo")


@pytest.mark.parametrize("role", ROLES)
async def test_inflated_text_is_checked(plain, role):
    listener, codec = Recorder(), Codec()
    async with deflated(plain, role, listener) as peer:
        peer.send(TEXT, codec.deflate("\u20ac".encode() * 100), rsv=RSV1)
        assert await received(listener) == (TEXT, "\u20ac".encode() * 100)
        for text in ("x" * 1000, "x" * 1000 + "é", "é" + "x" * 1000):
            peer.send(TEXT, codec.deflate(text.encode()), rsv=RSV1)
            got = (await soon(listener.frames.get())).get_payload_as_utf8_text()
            assert (got, got.isascii()) == (text, text.isascii())
        # Bad in its first fragment: nobody waits for the second.
        peer.send(TEXT, codec.deflate(b"abc\xff") + TAIL, rsv=RSV1, fin=False)
        await peer.expect_close(1007, b"text that is not UTF-8")


# ---- size ----


LIMIT = 1_000_000


@pytest.mark.parametrize("fragments", [1, 5])
@pytest.mark.parametrize("more", [-1, 0, 1, 10_000_000])
@pytest.mark.parametrize("role", ROLES)
async def test_inflation_is_bounded(plain, role, more, fragments):
    """Neither the message nor the way to it takes more than the limit, 64 KiB and a window."""
    listener, codec = Recorder(), Codec()
    async with deflated(plain, role, listener, max_message_size=LIMIT) as peer:
        if hasattr(peer.writer.transport, "max_size"):
            # asyncio's transports, here the test's end, read with 256 KiB.
            peer.writer.transport.max_size = 4096
        for piece in (bytes(1000), os.urandom(100) * 2 + bytes(800)):
            data = (piece * (LIMIT // 1000 + more // 1000 + 2))[: LIMIT + more]
            packed = codec.deflate(data)
            step = len(packed) // fragments + 1
            parts = [packed[at : at + step] for at in range(0, len(packed), step)]
            frames = [
                peer.frame(
                    BINARY if i == 0 else CONTINUATION,
                    part,
                    rsv=0 if i else RSV1,
                    fin=i == len(parts) - 1,
                )
                for i, part in enumerate(parts)
            ]
            size = sum(map(len, frames))
            tracemalloc.start()
            try:
                peer.write(*frames)
                if more <= 0:
                    frame = await soon(listener.frames.get())
                else:
                    await peer.expect_close(1009, b"message larger than max_message_size")
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            # The frames themselves are in memory as well, on both ends of the wire.
            assert peak < LIMIT + 64 * 1024 + 32 * 1024 + 3 * size + 80_000
            if more > 0:
                assert listener.frames.empty()
                return
            assert frame.payload_size == LIMIT + more
            assert bytes(frame) == data
            del frame


@pytest.mark.parametrize("role", ROLES)
async def test_a_bomb(plain, role):
    """Ten GiB in ten MB, of which only the first byte too many is ever inflated."""
    listener = Recorder()
    packer = zlib.compressobj(9, wbits=-15)
    chunk = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    async with deflated(plain, role, listener, max_frame_size=20_000_000) as peer:
        peer.send(BINARY, chunk * 640, rsv=RSV1)
        await peer.expect_close(1009)
        peer.abort()
        await soon(listener.disconnected.wait())
    assert listener.frames.empty()
