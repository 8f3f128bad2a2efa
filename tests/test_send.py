"""What may be sent, how it looks on the wire, and what is refused without sending a byte."""

from __future__ import annotations

import array
import asyncio
import ctypes
import functools
import importlib.util
import inspect
import sys
import threading

import pytest
from helpers import Recorder
from raw import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    ROLES,
    TEXT,
    against,
    close_payload,
    pattern,
    soon,
)

from picows_c import WSCloseCode, WSMsgType, WSTransport

SIZES = [0, 1, 3, 4, 125, 126, 127, 8000, 8191, 8192, 8193, 65535, 65536, 65537, 1 << 20]


class Str(str):
    pass


class Bytes(bytes):
    pass


class Flag:
    """A value whose truth cannot be told."""

    def __bool__(self):
        raise RuntimeError("no truth")


# ---- payloads ----


@pytest.mark.parametrize("role", ROLES)
async def test_sizes(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        for size in SIZES:
            listener.transport.send(WSMsgType.BINARY, pattern(size))
            await peer.expect(BINARY, pattern(size))


PAYLOADS = [
    (None, b""),
    (b"", b""),
    ("", b""),
    ("text \u20ac \U0001f600 \0", "text \u20ac \U0001f600 \0".encode()),
    ("a" * 1000, b"a" * 1000),
    (Str("sub"), b"sub"),
    (Bytes(b"sub"), b"sub"),
    (bytearray(b"bytearray"), b"bytearray"),
    (memoryview(b"0123456789")[3:7], b"3456"),
    (memoryview(b"0123456789").cast("H"), b"0123456789"),
    (memoryview(b"012345").cast("B", (2, 3)), b"012345"),
    (array.array("B", [1, 2, 3]), b"\1\2\3"),
    (array.array("H", [258]), array.array("H", [258]).tobytes()),
    ((ctypes.c_char * 4)(b"a", b"b", b"c", b"d"), b"abcd"),
]


@pytest.mark.parametrize("role", ROLES)
async def test_types_of_payloads(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        transport = listener.transport
        for message, payload in PAYLOADS:
            assert transport.send(WSMsgType.BINARY, message) is None
            await peer.expect(BINARY, payload)
            if len(payload) <= 125:
                assert transport.send_ping(message) is None
                assert transport.send_pong(message) is None
                await peer.expect(PING, payload)
                await peer.expect(PONG, payload)
        # A frame is a buffer, too.
        peer.send(TEXT, b"from the peer")
        transport.send(WSMsgType.TEXT, await soon(listener.frames.get()))
        await peer.expect(TEXT, b"from the peer")


async def test_numpy(net, need):
    need("numpy", importlib.util.find_spec("numpy"))
    import numpy as np

    listener = Recorder()
    async with against(net, "client", listener) as peer:
        transport = listener.transport
        matrix = np.arange(12, dtype=np.uint16).reshape(3, 4)
        for good in (np.arange(100, dtype=np.float64), matrix, matrix[1:], np.zeros(0)):
            transport.send(WSMsgType.BINARY, good)
            await peer.expect(BINARY, good.tobytes())
        for bad in (matrix[:, ::2], matrix.T):
            with pytest.raises((BufferError, ValueError)):
                transport.send(WSMsgType.BINARY, bad)
        transport.send(WSMsgType.TEXT, "next")
        await peer.expect(TEXT, b"next")


@pytest.mark.parametrize("role", ROLES)
async def test_the_caller_may_change_its_buffer_at_once(net, role):
    """Also where the bytes cannot leave yet."""
    listener = Recorder()
    async with against(net, role, listener) as peer:
        for size in (10, 1000, 100_000, 20 << 20):
            buffer = bytearray(pattern(size))
            listener.transport.send(WSMsgType.BINARY, buffer)
            buffer[:] = bytes(size)
            buffer.append(1)  # no export is left
            await peer.expect(BINARY, pattern(size))


# ---- how it looks on the wire ----


async def test_masks_change(net):
    """RFC 6455, 5.3: "The masking key needs to be unpredictable"."""
    listener = Recorder()
    async with against(net, "client", listener) as peer:
        transport = listener.transport
        keys = []
        for i in range(300):
            transport.send(WSMsgType.TEXT, str(i))
            transport.send_ping()
            for payload in (str(i).encode(), b""):
                got = await peer.next()
                assert got.payload == payload
                keys.append(got.key)
        transport.send_close(1000)
        keys.append((await peer.next()).key)
        assert None not in keys
        assert len(set(keys)) == len(keys)
        assert len({key[i] for key in keys for i in range(4)}) > 200
        assert bytes(4) not in keys


async def test_keys_of_connections_differ(plain):
    keys = []
    for _ in range(20):
        listener = Recorder()
        async with against(plain, "client", listener) as peer:
            listener.transport.send(WSMsgType.TEXT, "x")
            keys.append((await peer.next()).key)
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("role", ROLES)
async def test_flags_and_keywords(net, role):
    listener = Recorder()
    async with against(net, role, listener, extension="x-own") as peer:
        send = listener.transport.send
        calls = [
            (lambda: send(msg_type=WSMsgType.TEXT, message="a"), (TEXT, b"a", True, 0)),
            (lambda: send(message=b"a", msg_type=2), (BINARY, b"a", True, 0)),
            (lambda: send(1, "a", rsv1=True), (TEXT, b"a", True, 4)),
            (lambda: send(1, "a", rsv2=1, rsv1=0), (TEXT, b"a", True, 2)),
            (lambda: send(1, "a", rsv3="yes"), (TEXT, b"a", True, 1)),
            (lambda: send(1, "a", True, True, True, True), (TEXT, b"a", True, 7)),
            (lambda: send(1, "a", fin=False), (TEXT, b"a", False, 0)),
            (lambda: send(0, "a", 0, rsv3=True), (CONTINUATION, b"a", False, 1)),
            (lambda: send(WSMsgType.CONTINUATION, None, fin=[1]), (CONTINUATION, b"", True, 0)),
            (lambda: send(9, b"p"), (PING, b"p", True, 0)),
            (lambda: send(WSMsgType.PONG, b"p", True), (PONG, b"p", True, 0)),
            (lambda: listener.transport.send_ping(message="p"), (PING, b"p", True, 0)),
            (lambda: listener.transport.send_pong(message=None), (PONG, b"", True, 0)),
        ]
        for call, expected in calls:
            assert call() is None
            assert (await peer.next())[:4] == expected


@pytest.mark.parametrize("role", ROLES)
async def test_fragments(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        send = listener.transport.send
        send(WSMsgType.TEXT, "one", fin=False)
        with pytest.raises(ValueError, match="not finished"):
            send(WSMsgType.TEXT, "new")
        with pytest.raises(ValueError, match="not finished"):
            send(WSMsgType.BINARY, b"new", fin=False)
        send(WSMsgType.PING, b"between")
        listener.transport.send_pong(b"between")
        send(WSMsgType.CONTINUATION, "two", fin=False)
        send(WSMsgType.CONTINUATION, "three")
        with pytest.raises(ValueError, match="CONTINUATION without"):
            send(WSMsgType.CONTINUATION, "four")
        send(WSMsgType.BINARY, b"next")
        expected = [
            (TEXT, b"one", False, 0),
            (PING, b"between", True, 0),
            (PONG, b"between", True, 0),
            (CONTINUATION, b"two", False, 0),
            (CONTINUATION, b"three", True, 0),
            (BINARY, b"next", True, 0),
        ]
        assert [(await peer.next())[:4] for _ in expected] == expected


# ---- close ----

CLOSES = [
    ((), {}, b""),
    ((0,), {}, b""),
    ((WSCloseCode.NO_INFO,), {}, b""),
    ((WSCloseCode.NO_INFO, None), {}, b""),
    ((0, ""), {}, b""),
    ((1000,), {}, close_payload(1000)),
    ((WSCloseCode.OK, None), {}, close_payload(1000)),
    ((WSCloseCode.BAD_GATEWAY, "a"), {}, close_payload(1014, b"a")),
    ((4999, "\u20ac" * 41), {}, close_payload(4999, "\u20ac".encode() * 41)),
    ((WSCloseCode(3000), bytearray(b"x" * 123)), {}, close_payload(3000, b"x" * 123)),
    ((), {"close_code": 1001, "close_message": memoryview(b"kw")}, close_payload(1001, b"kw")),
]


@pytest.mark.parametrize("role", ROLES)
async def test_send_close(plain, role):
    for args, kwargs, payload in CLOSES:
        listener = Recorder()
        async with against(plain, role, listener) as peer:
            transport = listener.transport
            assert transport.close_handshake is None
            assert transport.send_close(*args, **kwargs) is None
            assert transport.is_close_frame_sent is True
            sent = transport.close_handshake.sent
            assert isinstance(sent.code, WSCloseCode)
            assert sent.code == int.from_bytes(payload[:2], "big")
            assert sent.reason == (payload[2:].decode() or None)
            await peer.expect(CLOSE, payload)


# ---- refused ----

MANY = bytes(126)
send, close = WSTransport.send, WSTransport.send_close
BAD_CODES = [1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535, 65536, -1, 1 << 70]
BAD_PACKED = [b"\x03", *(close_payload(code) for code in (0, 999, 1005, 1006, 5000))]
WRONG = {
    "payload int": (TypeError, lambda t: send(t, 1, 5)),
    "payload float": (TypeError, lambda t: send(t, 1, 1.5)),
    "payload list": (TypeError, lambda t: send(t, 1, [1])),
    "payload object": (TypeError, lambda t: send(t, 1, object())),
    "ping payload": (TypeError, lambda t: t.send_ping(5)),
    "pong payload": (TypeError, lambda t: t.send_pong([b"x"])),
    "not contiguous": (BufferError, lambda t: send(t, 2, memoryview(b"abcdef")[::2])),
    "backwards": (BufferError, lambda t: send(t, 2, memoryview(b"abcdef")[::-1])),
    "released": (ValueError, lambda t: send(t, 2, released())),
    "lone surrogate": (UnicodeEncodeError, lambda t: send(t, 1, "a\ud800")),
    "surrogate in a ping": (UnicodeEncodeError, lambda t: t.send_ping("\udfff")),
    "surrogate in a reason": (UnicodeEncodeError, lambda t: close(t, 1000, "\udfff")),
    "opcode str": (TypeError, lambda t: send(t, "1", b"")),
    "opcode None": (TypeError, lambda t: send(t, None, b"")),
    "opcode float": (TypeError, lambda t: send(t, 1.0, b"")),
    "opcode 2**70": (ValueError, lambda t: send(t, 1 << 70, b"")),
    "opcode -1": (ValueError, lambda t: send(t, -1, b"")),
    "opcode 257": (ValueError, lambda t: send(t, 257, b"")),
    "opcode 2**32 + 1": (ValueError, lambda t: send(t, (1 << 32) + 1, b"")),
    "RSV1": (ValueError, lambda t: send(t, 1, b"", rsv1=True)),
    "RSV2": (ValueError, lambda t: send(t, 2, b"", True, False, True)),
    "RSV3": (ValueError, lambda t: send(t, 9, b"", rsv3=1)),
    "long PING": (ValueError, lambda t: t.send_ping(MANY)),
    "long PONG": (ValueError, lambda t: t.send_pong(MANY)),
    "long PING by send": (ValueError, lambda t: send(t, 9, MANY)),
    "long PING in UTF-8": (ValueError, lambda t: t.send_ping("\xfc" * 63)),
    "long CLOSE by send": (ValueError, lambda t: send(t, 8, close_payload(1000, bytes(124)))),
    "PING in pieces": (ValueError, lambda t: send(t, 9, b"", fin=False)),
    "CLOSE in pieces": (ValueError, lambda t: send(t, 8, close_payload(1000), False)),
    "CLOSE with RSV": (ValueError, lambda t: send(t, 8, close_payload(1000), rsv1=True)),
    "CONTINUATION": (ValueError, lambda t: send(t, 0, b"")),
    "truth of fin": (RuntimeError, lambda t: send(t, 1, b"", fin=Flag())),
    "truth of rsv2": (RuntimeError, lambda t: send(t, 1, b"", rsv2=Flag())),
    "no argument": (TypeError, send),
    "one argument": (TypeError, lambda t: send(t, 1)),
    "only a message": (TypeError, lambda t: send(t, message=b"")),
    "seven arguments": (TypeError, lambda t: send(t, 1, b"", True, False, False, False, 1)),
    "message twice": (TypeError, lambda t: send(t, 1, b"", message=b"")),
    "unknown keyword": (TypeError, lambda t: send(t, 1, b"", compress=True)),
    "ping keyword": (TypeError, lambda t: t.send_ping(payload=b"")),
    "ping arguments": (TypeError, lambda t: t.send_ping(b"", b"")),
    "close arguments": (TypeError, lambda t: close(t, 1000, "a", "b")),
    "close keyword": (TypeError, lambda t: close(t, code=1000)),
    "close code str": (TypeError, lambda t: close(t, "1000")),
    "close code None": (TypeError, lambda t: close(t, None)),
    "close code float": (TypeError, lambda t: close(t, 1000.0)),
    "reason type": (TypeError, lambda t: close(t, 1000, 5)),
    "reason of 124 bytes": (ValueError, lambda t: close(t, 1000, "x" * 124)),
    "reason of 62 letters": (ValueError, lambda t: close(t, 1000, "\xfc" * 62)),
    "reason not UTF-8": (ValueError, lambda t: close(t, 1000, b"\xff")),
    "reason cut": (ValueError, lambda t: close(t, 1000, "\u20ac".encode()[:2])),
    "reason without code": (ValueError, lambda t: close(t, 0, "why")),
    "reason alone": (ValueError, lambda t: close(t, close_message="why")),
    "packed not UTF-8": (ValueError, lambda t: send(t, 8, close_payload(1000, b"\xff"))),
    "disconnect arguments": (TypeError, lambda t: t.disconnect(True, 1)),
}
for number in (*range(3, 8), *range(11, 17)):
    WRONG[f"opcode {number}"] = (ValueError, lambda t, n=number: send(t, n, b""))
for number in BAD_CODES:
    WRONG[f"close code {number}"] = (ValueError, lambda t, n=number: close(t, n, "x"))
for packed in BAD_PACKED:
    WRONG[f"packed {packed.hex()}"] = (ValueError, lambda t, p=packed: send(t, 8, p))


def released() -> memoryview:
    view = memoryview(b"x")
    view.release()
    return view


@pytest.mark.parametrize("role", ROLES)
async def test_wrong_arguments_send_nothing(net, role):
    """Each call raises, and the next frame that the peer sees is the one after all of them."""
    listener = Recorder()
    async with against(net, role, listener) as peer:
        transport = listener.transport
        raised = {}
        for name, (_, call) in WRONG.items():
            try:
                raised[name] = call(transport)
            except Exception as error:
                raised[name] = type(error) if str(error) else error
        assert raised == {name: error for name, (error, _) in WRONG.items()}
        assert transport.is_close_frame_sent is False
        assert transport.close_handshake is None
        transport.send(WSMsgType.TEXT, "next")
        await peer.expect(TEXT, b"next")
        # Half a message is not ended by what is refused.
        transport.send(WSMsgType.TEXT, "begun", fin=False)
        with pytest.raises(TypeError):
            transport.send(WSMsgType.CONTINUATION, 5)
        transport.send(WSMsgType.CONTINUATION, "ended")
        assert [(await peer.next()).payload for _ in range(2)] == [b"begun", b"ended"]


class Crossing:
    """An argument whose use runs Python code that ends the connection."""

    def __init__(self, transport, value):
        self.transport, self.value = transport, value

    def __bool__(self):
        self.transport.send_close(1000, "first")
        return self.value

    def __index__(self):
        self.transport.send_close(1000, "first")
        return self.value


@pytest.mark.parametrize("role", ROLES)
async def test_arguments_that_close_the_connection(plain, role):
    for call in (
        lambda t: t.send(WSMsgType.TEXT, "late", fin=Crossing(t, True)),
        lambda t: t.send(Crossing(t, 1), "late"),
        lambda t: t.send_close(Crossing(t, 1001), "late"),
    ):
        listener = Recorder()
        async with against(plain, role, listener) as peer:
            assert call(listener.transport) is None
            await peer.expect_close(1000, b"first")
            peer.write(peer.close_frame(1000))
            peer.writer.write_eof()
            assert await peer.rest() == b""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="__buffer__ is new in CPython 3.12")
@pytest.mark.parametrize("role", ROLES)
async def test_buffers_that_run_python_code(plain, role):
    """The buffer is taken first, the connection is looked at afterwards; each is released."""

    class Buffer:
        released = 0

        def __init__(self, call):
            self.call = call

        def __buffer__(self, flags):
            self.call()
            return memoryview(b"late" * 100)

        def __release_buffer__(self, view):
            self.released += 1

    for end in ("send_close", "disconnect", "send"):
        listener = Recorder()
        async with against(plain, role, listener) as peer:
            transport = listener.transport
            arguments = {"send": (WSMsgType.TEXT, "first"), "send_close": (1000,)}.get(end, ())
            buffer = Buffer(functools.partial(getattr(transport, end), *arguments))
            assert transport.send(WSMsgType.BINARY, buffer) is None
            assert buffer.released == 1
            if end == "send":
                await peer.expect(TEXT, b"first")
                await peer.expect(BINARY, b"late" * 100)
                continue
            if end == "send_close":
                await peer.expect_close(1000)
                peer.write(peer.close_frame(1000))
                peer.writer.write_eof()
            assert await peer.rest() == b""


# ---- another thread ----

METHODS = {
    "send": lambda t: t.send(WSMsgType.TEXT, "x"),
    "send_ping": WSTransport.send_ping,
    "send_reuse_external_bytearray": lambda t: t.send_reuse_external_bytearray(
        WSMsgType.BINARY, bytearray(15), 14
    ),
    "cork": lambda t: t.cork().__enter__(),
    "drain": lambda t: asyncio.run(t.drain()),
    "pause_reading": lambda t: t.pause_reading(),
    "resume_reading": lambda t: t.resume_reading(),
    "measure_roundtrip_time": lambda t: asyncio.run(t.measure_roundtrip_time(1)),
    "notify_user_specific_pong_received": lambda t: t.notify_user_specific_pong_received(),
    "send_pong": lambda t: t.send_pong(b"x"),
    "send_close": lambda t: t.send_close(1000),
    "disconnect": WSTransport.disconnect,
    "wait_disconnected": lambda t: asyncio.run(t.wait_disconnected()),
}


def test_every_method_is_in_the_table():
    public = {
        name
        for name in dir(WSTransport)
        if not name.startswith("_") and callable(inspect.getattr_static(WSTransport, name))
        if not inspect.isgetsetdescriptor(inspect.getattr_static(WSTransport, name))
    }
    assert public == set(METHODS)


@pytest.mark.parametrize("role", ROLES)
async def test_foreign_thread(net, role):
    listener = Recorder()
    async with against(net, role, listener) as peer:
        transport, raised = listener.transport, {}

        def call_all() -> None:
            for name, call in METHODS.items():
                try:
                    call(transport)
                except RuntimeError as error:
                    raised[name] = str(error)
            # What only tells is allowed.
            assert not transport.is_disconnected
            assert not transport.is_close_frame_sent

        thread = threading.Thread(target=call_all)
        thread.start()
        await soon(asyncio.get_running_loop().run_in_executor(None, thread.join))
        assert set(raised) == set(METHODS)
        for name, text in raised.items():
            assert text.startswith(f"WSTransport.{name} called from a wrong thread: ")
        transport.send(WSMsgType.TEXT, "next")
        await peer.expect(TEXT, b"next")
