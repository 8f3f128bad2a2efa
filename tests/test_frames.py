"""Frames as the listener sees them: attributes, getters, what stands behind them in the buffer."""

from __future__ import annotations

import asyncio
import itertools
from random import Random

import pytest
from helpers import Recorder
from raw import BINARY, CLOSE, CONTINUATION, PING, PONG, ROLES, TEXT, against, pattern, row, soon

from picows_c import WSCloseCode, WSFrame, WSMsgType

SIZES = [0, 1, 7, 8, 125, 126, 127, 128, 129, 1000, 65535, 65536, 200_000]


async def frames_of(listener: Recorder, count: int) -> list[WSFrame]:
    return [await soon(listener.frames.get()) for _ in range(count)]


# ---- attributes and getters ----


@pytest.mark.parametrize("role", ROLES)
async def test_attributes(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        for size in SIZES:
            peer.send(BINARY, pattern(size))
            (frame,) = await frames_of(listener, 1)
            assert type(frame) is WSFrame
            assert frame.msg_type is WSMsgType.BINARY
            assert (frame.fin, frame.rsv1, frame.rsv2, frame.rsv3) == (True, False, False, False)
            assert type(frame.fin) is type(frame.rsv1) is type(frame.last_in_buffer) is bool
            assert frame.payload_size == size
            assert (frame.tail_size, frame.last_in_buffer) == (0, True)
            assert frame.get_payload_as_bytes() == pattern(size)
            view = frame.get_payload_as_memoryview()
            assert view == pattern(size)
            assert (view.readonly, view.format, view.ndim, view.nbytes) == (True, "B", 1, size)
            assert bytes(frame) == memoryview(frame) == pattern(size)


async def test_text(net):
    listener = Recorder()
    async with against(net, "server", listener) as peer:
        for text in ("", "ascii", "\xfc", "\u20ac" * 50, "\U0001f600" * 200):
            peer.send(TEXT, text.encode())
            (frame,) = await frames_of(listener, 1)
            assert frame.msg_type is WSMsgType.TEXT
            assert frame.get_payload_as_utf8_text() == text
            if text.isascii():
                assert frame.get_payload_as_ascii_text() == text
            else:
                with pytest.raises(UnicodeDecodeError):
                    frame.get_payload_as_ascii_text()
        for broken in (b"\xff", b"a" * 200 + b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"):
            peer.send(TEXT, broken)
            (frame,) = await frames_of(listener, 1)
            for _ in range(2):
                with pytest.raises(UnicodeDecodeError):
                    frame.get_payload_as_utf8_text()
            assert frame.get_payload_as_bytes() == broken


STRINGS = [
    (
        (TEXT, b"x", {}),
        "WSFrame(TEXT, fin=True, rsv1=False, rsv2=False, rsv3=False, last_in_buffer=True, "
        "payload_sz=1, tail_sz=0)",
    ),
    (
        (BINARY, bytes(1000), {"fin": False, "rsv": 5}),
        "WSFrame(BINARY, fin=False, rsv1=True, rsv2=False, rsv3=True, last_in_buffer=True, "
        "payload_sz=1000, tail_sz=0)",
    ),
    (
        (CONTINUATION, b"", {"rsv": 2}),
        "WSFrame(CONTINUATION, fin=True, rsv1=False, rsv2=True, rsv3=False, last_in_buffer=True, "
        "payload_sz=0, tail_sz=0)",
    ),
    (
        (PONG, b"", {}),
        "WSFrame(PONG, fin=True, rsv1=False, rsv2=False, rsv3=False, last_in_buffer=True, "
        "payload_sz=0, tail_sz=0)",
    ),
    (
        (PING, b"12", {}),
        "WSFrame(PING, fin=True, rsv1=False, rsv2=False, rsv3=False, last_in_buffer=True, "
        "payload_sz=2, tail_sz=0)",
    ),
    (
        (CLOSE, b"\x03\xe8", {}),
        "WSFrame(CLOSE, fin=True, rsv1=False, rsv2=False, rsv3=False, last_in_buffer=True, "
        "payload_sz=2, tail_sz=0)",
    ),
]


async def test_str(plain):
    listener = Recorder()
    options = {"extension": "x-test", "enable_auto_pong": False}
    async with against(plain, "server", listener, **options) as peer:
        for (opcode, payload, frame_options), text in STRINGS:
            peer.send(opcode, payload, **frame_options)
            (frame,) = await frames_of(listener, 1)
            assert str(frame) == text
            assert repr(frame) == text


async def test_close_getters_need_a_close_frame(plain):
    listener = Recorder()
    async with against(plain, "server", listener) as peer:
        peer.write(peer.frame(TEXT, b"\x03\xe8no"), peer.frame(PONG), peer.close_frame(1000, b"ok"))
        text, pong, close = await frames_of(listener, 3)
        for frame in (text, pong):
            for getter in ("get_close_code", "get_close_message", "get_close_reason"):
                with pytest.raises(ValueError, match=rf"{getter}\(\) needs a CLOSE frame"):
                    getattr(frame, getter)()
        assert close.get_close_code() is WSCloseCode.OK
        assert close.get_close_message() == b"ok"
        assert close.get_close_reason() == "ok"
        assert close.get_payload_as_bytes() == b"\x03\xe8ok"


async def test_frames_are_read_only(plain):
    listener = Recorder()
    async with against(plain, "server", listener) as peer:
        peer.send(TEXT, b"x" * 200)
        (frame,) = await frames_of(listener, 1)
        for name in ("msg_type", "fin", "rsv1", "payload_size", "tail_size", "last_in_buffer"):
            with pytest.raises(AttributeError):
                setattr(frame, name, 1)
        with pytest.raises(AttributeError):
            frame.anything = 1
        with pytest.raises(TypeError):
            frame.get_payload_as_memoryview()[0] = 0
        with pytest.raises(TypeError):
            WSFrame()
        with pytest.raises(TypeError):
            WSFrame.__new__(WSFrame)
        with pytest.raises(TypeError):
            frame.get_payload_as_bytes(1)


# ---- the rest of the buffer ----

# Which frames arrive in one piece; for each delivered one: last_in_buffer, and what stands behind.
TAILS = {
    "alone": ([TEXT], [True]),
    "two": ([TEXT, TEXT], [False, True]),
    "three": ([TEXT, BINARY, PONG], [False, False, True]),
    "PING behind": ([TEXT, PING], [True]),
    "PINGs between": ([TEXT, PING, PING, TEXT, PING], [False, True]),
    "PING before": ([PING, TEXT], [True]),
    "CLOSE behind": ([TEXT, CLOSE], [False, True]),
    "CLOSE before": ([TEXT, CLOSE, TEXT, TEXT], [False, True]),
    "broken behind": ([TEXT, TEXT, 11], [False, True]),
    "broken behind a PING": ([TEXT, PING, 3, TEXT], [True]),
}


async def check_tail(net, role, opcodes, last, cut):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        frames = [peer.frame(opcode, b"" if opcode == CLOSE else b"xy") for opcode in opcodes]
        whole = b"".join(frames) + peer.frame(TEXT, bytes(300))[:cut]
        peer.write(whole)
        got = await frames_of(listener, len(last))
        assert [frame.last_in_buffer for frame in got] == last
        ends = list(itertools.accumulate(map(len, frames)))
        delivered = [i for i, opcode in enumerate(opcodes) if opcode != PING][: len(last)]
        assert [frame.tail_size for frame in got] == [len(whole) - ends[i] for i in delivered]


@pytest.mark.parametrize("role", ROLES)
async def test_tail(plain, role):
    """The last frame that can be delivered says so; what is cut off behind it is no frame yet."""
    for name, (opcodes, last) in TAILS.items():
        for cut in (0, 1, 5):
            with row((name, cut)):
                await check_tail(plain, role, opcodes, last, cut)


@pytest.mark.parametrize("role", ROLES)
async def test_pings_count_where_they_are_delivered(plain, role):
    listener = Recorder()
    async with against(plain, role, listener, enable_auto_pong=False) as peer:
        peer.write(peer.frame(TEXT, b"x"), peer.frame(PING, b"abc"))
        text, ping = await frames_of(listener, 2)
        assert (text.last_in_buffer, ping.last_in_buffer) == (False, True)
        assert (text.tail_size, ping.tail_size) == (len(peer.frame(PING, b"abc")), 0)


# ---- control frames ----


@pytest.mark.parametrize("role", ROLES)
async def test_auto_pong(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        for size in (0, 1, 4, 124, 125):
            peer.send(PING, pattern(size))
            await peer.expect(PONG, pattern(size))
        peer.write(*(peer.frame(PING, bytes([i])) for i in range(100)))
        for i in range(100):
            await peer.expect(PONG, bytes([i]))
        peer.send(TEXT, b"x")
        await frames_of(listener, 1)
    assert listener.events == ["connected", "TEXT", "disconnected"]


@pytest.mark.parametrize("role", ROLES)
async def test_without_auto_pong(net, role):
    listener = Recorder()
    async with against(net, role, listener, enable_auto_pong=False) as peer:
        peer.send(PING, b"mine")
        (frame,) = await frames_of(listener, 1)
        assert (frame.msg_type, bytes(frame)) == (WSMsgType.PING, b"mine")
        listener.transport.send(WSMsgType.TEXT, "first")
        listener.transport.send_pong(frame)
        await peer.expect(TEXT, b"first")
        await peer.expect(PONG, b"mine")


@pytest.mark.parametrize("role", ROLES)
async def test_pong_is_delivered(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        for payload in (b"", b"nobody asked", pattern(125)):
            peer.send(PONG, payload)
            (frame,) = await frames_of(listener, 1)
            assert (frame.msg_type, bytes(frame)) == (WSMsgType.PONG, payload)


@pytest.mark.parametrize("role", ROLES)
async def test_fragments_with_control_frames_between(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        sent = [
            (TEXT, "\u20ac".encode()[:1], {"fin": False}),
            (PING, b"1", {}),
            (CONTINUATION, b"", {"fin": False}),
            (PONG, b"2", {}),
            (CONTINUATION, pattern(70_000), {"fin": False}),
            (CONTINUATION, b"end", {}),
            (BINARY, b"next", {}),
        ]
        peer.write(*(peer.frame(opcode, payload, **options) for opcode, payload, options in sent))
        await peer.expect(PONG, b"1")
        expected = [x for x in sent if x[0] != PING]
        for opcode, payload, options in expected:
            (frame,) = await frames_of(listener, 1)
            assert frame.msg_type is WSMsgType(opcode)
            assert bytes(frame) == payload
            assert frame.fin is options.get("fin", True)


# ---- limits ----


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("limit", [1, 125, 126, 65535, 65536])
async def test_max_frame_size(plain, role, limit):
    listener = Recorder()
    async with against(plain, role, listener, max_frame_size=limit) as peer:
        peer.send(BINARY, pattern(limit))
        assert bytes((await frames_of(listener, 1))[0]) == pattern(limit)
        # Control frames are not data, and a message may be larger than a frame.
        peer.send(PING, pattern(125))
        await peer.expect(PONG, pattern(125))
        peer.send(TEXT, bytes(limit), fin=False)
        peer.send(CONTINUATION, bytes(limit))
        await frames_of(listener, 2)
        peer.send(BINARY, bytes(limit + 1))
        await peer.expect_close(1009)
        assert await peer.rest() == b""
    assert listener.events == ["connected", "BINARY", "TEXT", "CONTINUATION", "disconnected"]


@pytest.mark.parametrize("role", ROLES)
async def test_largest_default_frame(plain, role):
    size = 10 * 1024 * 1024
    listener = Recorder()
    async with against(plain, role, listener) as peer:
        mask = bytes(4) if role == "server" else None
        peer.write(peer.frame(BINARY, b"", length=size, mask=mask), bytes(size))
        (frame,) = await frames_of(listener, 1)
        assert frame.payload_size == size
        assert frame.get_payload_as_memoryview() == bytes(size)
        peer.write(peer.frame(BINARY, b"", length=size + 1))
        await peer.expect_close(1009)


# ---- extensions ----


@pytest.mark.parametrize("role", ROLES)
async def test_rsv_bits_pass_where_an_extension_was_negotiated(net, role):
    listener = Recorder()
    async with against(net, role, listener, extension="x-own; a=1") as peer:
        for rsv in range(8):
            peer.send(BINARY, b"in", rsv=rsv)
            (frame,) = await frames_of(listener, 1)
            bits = bool(rsv & 4), bool(rsv & 2), bool(rsv & 1)
            assert (frame.rsv1, frame.rsv2, frame.rsv3) == bits
            listener.transport.send(WSMsgType.BINARY, b"out", True, *bits)
            got = await peer.next()
            assert got[:4] == (BINARY, b"out", True, rsv)
        # Opcodes stay what they are.
        peer.send(11, b"x")
        await peer.expect_close(1002)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("size", [4096, 8192, 16384, 32768, 65536])
async def test_a_full_read_takes_64_kib_of_payload(plain, role, size):
    """There is room for the heads as well, also behind the beginning of a frame."""
    listener = Recorder()
    async with against(plain, role, listener) as peer:
        protocol = listener.transport._owner
        count = 3 * 65536 // size
        stream = b"".join(peer.frame(BINARY, pattern(size, n)) for n in range(count + 1))
        for read in range(1, 4):
            # (The reader alone shows it: how much a socket gives at a time is the system's.)
            room = protocol.get_buffer(-1)
            n = len(room)
            assert n <= 65_664
            room[:n], stream = stream[:n], stream[n:]
            protocol.buffer_updated(n)
            del room
            assert listener.frames.qsize() >= read * count // 3
        for n in range(count):
            assert (await frames_of(listener, 1))[0].get_payload_as_bytes() == pattern(size, n)
        peer.abort()


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("seed", range(6))
async def test_random_conversations(net, role, seed):
    """Any frames, in any pieces, some kept and some not: each is echoed, each PING answered."""
    random = Random(f"{seed} {role}")

    class Echo(Recorder):
        kept = ()

        def on_ws_frame(self, transport, frame):
            view = frame.get_payload_as_memoryview()
            if frame.msg_type != WSMsgType.CLOSE:
                transport.send(
                    frame.msg_type, random.choice([frame, view, bytes(frame)]), frame.fin
                )
            self.kept = [*self.kept[-random.randrange(1, 30) :], random.choice([frame, view])]

    listener, expected = Echo(), []
    block = random.choice([256, 512, 4096, 65536])
    async with against(net, role, listener, read_buffer_init_size=block) as peer:
        stream, begun = b"", False
        for i in range(200):
            if random.random() < 0.15:
                payload = pattern(random.randrange(126), i)
                stream += peer.frame(PING, payload)
                expected.append((PONG, payload, True, 0))
                continue
            size = random.choice([0, 5, 125, 126, 128, 129, random.randrange(20_000)])
            fin = random.random() < 0.7
            opcode = CONTINUATION if begun else random.choice([TEXT, BINARY])
            stream += peer.frame(opcode, pattern(size, i), fin=fin)
            expected.append((opcode, pattern(size, i), fin, 0))
            begun = not fin

        async def write() -> None:
            at = 0
            while at < len(stream):
                size = random.choice(
                    [1, 2, 3, random.randrange(1, 5000), random.randrange(1, 99_999)]
                )
                peer.write(stream[at : at + size])
                at += size
                await asyncio.sleep(0)

        writing = asyncio.ensure_future(write())
        assert [(await peer.next())[:4] for _ in expected] == expected
        await writing


@pytest.mark.parametrize("role", ROLES)
async def test_stream_in_single_bytes(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        stream = peer.frame(TEXT, b"one", fin=False) + peer.frame(PING, b"p")
        stream += peer.frame(CONTINUATION, pattern(300)) + peer.close_frame(1000, b"end")
        for byte in stream:
            peer.write(bytes([byte]))
            await asyncio.sleep(0)
        await peer.expect(PONG, b"p")
        await peer.expect_close(1000)
        one, rest, close = await frames_of(listener, 3)
        assert (bytes(one), bytes(rest), close.get_close_reason()) == (b"one", pattern(300), "end")
