"""What picows_c and another implementation say to each other: the same for every peer.

A test module derives a class from Talk and has a fixture ``other``, an Implementation. Each test is
one conversation, with picows_c as the server and as the client, plain and over TLS, on each loop.
What a peer has no means for is set to None in its class.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Callable, Optional, Union

import pytest
from helpers import Recorder

from picows_c import PermessageDeflate, WSCloseCode, WSMsgType, WSUpgradeRequest

Message = Union[str, bytes]
# What the other implementation is told to ask for: parameters of permessage-deflate (RFC 7692, 7.1)
# and their values, True where there is none. None instead: no compression.
Terms = Optional[dict[str, Any]]

EXTENSIONS = "Sec-WebSocket-Extensions"
PATH = "/talk?x=1"
SIZES = [0, 1, 125, 126, 65535, 65536, 1 << 20]
# One to four bytes a character, the ends of each range, a NUL.
MIXED = "Grüße, мир, 世界, 🐄 \0\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"
PINGS = [b"", b"ping", bytes(range(125))]
NO_STATUS = 1005  # what others report for a CLOSE without a code
RESETS = {"server_no_context_takeover": True, "client_no_context_takeover": True}


def payloads() -> list[Message]:
    """Return every message that goes in both directions."""
    pattern = bytes(i * 7 + (i >> 8) & 0xFF for i in range(max(SIZES)))
    messages: list[Message] = []
    for size in SIZES:
        messages += [pattern[:size], pattern[:size].translate(_PRINTABLE).decode("ascii")]
    # The same lengths, counted in bytes of UTF-8.
    messages += [MIXED, "é" * 63, "é" * 62 + "x", "世" * 21845, "🐄" * 16384]
    return messages


_PRINTABLE = bytes(0x20 + i % 0x5F for i in range(256))


def noise(size: int) -> bytes:
    """Return bytes that cannot be compressed, but for having been there before."""
    return random.Random(size).randbytes(size)


def deflating(**asked: Any) -> dict[str, Any]:
    """Return our options for compression that leaves everything else to the peer."""
    settings = {"server_max_window_bits": None, "client_max_window_bits": 15, "threshold": 0}
    settings.update(asked)
    return {"assemble_messages": True, "compression": PermessageDeflate(**settings)}


# The way of the bytes has nothing to do with it.
ANY_WINDOW = pytest.mark.parametrize(("bits", "way"), [(bits, "auto") for bits in range(9, 16)])


def windows(bits: int) -> dict[str, Any]:
    return {"server_max_window_bits": bits, "client_max_window_bits": bits}


class Ours(Recorder):
    """Our end of the connection."""

    request: Optional[WSUpgradeRequest] = None

    async def message(self) -> tuple[Message, int]:
        """Wait for the next message; return it, and in how many frames it came."""
        frame = await self.frames.get()
        kind = frame.msg_type
        assert kind in (WSMsgType.TEXT, WSMsgType.BINARY)
        parts = [bytes(frame)]
        while not frame.fin:
            frame = await self.frames.get()
            assert frame.msg_type is WSMsgType.CONTINUATION
            parts.append(bytes(frame))
        whole = b"".join(parts)
        return (whole.decode() if kind is WSMsgType.TEXT else whole), len(parts)

    async def control(self, kind: WSMsgType) -> bytes:
        """Wait for the next frame, which has to be a control frame of this kind."""
        frame = await self.frames.get()
        assert frame.msg_type is kind
        return bytes(frame)

    def send(self, message: Message) -> None:
        assert self.transport is not None
        kind = WSMsgType.TEXT if isinstance(message, str) else WSMsgType.BINARY
        self.transport.send(kind, message)


class Manual(Ours):
    """Answers pings by hand."""

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        super().on_ws_frame(transport, frame)
        if frame.msg_type is WSMsgType.PING:
            transport.send_pong(bytes(frame))


class Theirs:
    """The other implementation's end of the connection.

    It need not read, nor answer pings, but during receive(), ping(), close() and closed().
    """

    # How many empty frames end what was sent in fragments.
    empty_frames_at_end = 0
    # Of a client: Sec-WebSocket-Extensions in the answer that it got.
    answer: Optional[str] = None

    @staticmethod
    def answer_to(code: int) -> int:
        """Return the code with which this implementation answers a CLOSE."""
        return code

    @property
    def compresses(self) -> bool:
        """Whether compression was agreed on, as this end sees it."""
        raise NotImplementedError

    async def send(self, message: Message) -> None:
        raise NotImplementedError

    async def send_fragments(self, parts: list[Any], ping: Optional[bytes]) -> None:
        """Send one message in parts, and a PING before its last one."""
        raise NotImplementedError

    async def receive(self) -> Message:
        raise NotImplementedError

    async def ping(self, payload: bytes) -> None:
        """Send a PING and wait for its PONG."""
        raise NotImplementedError

    async def close(self, code: Optional[int], reason: str) -> None:
        """Close from this end."""
        raise NotImplementedError

    async def closed(self) -> tuple[int, str]:
        """Wait for the end; return the code and the reason of the CLOSE that came from us.

        It may be called again. Where close() was called, the reason may be unknown.
        """
        raise NotImplementedError


class Implementation:
    """Another implementation, as a client and as a server."""

    def connect(
        self, net: Any, path: str, terms: Terms
    ) -> contextlib.AbstractAsyncContextManager[Theirs]:
        raise NotImplementedError

    def serve(
        self, net: Any, terms: Terms
    ) -> contextlib.AbstractAsyncContextManager[tuple[int, Callable[[], Awaitable[Theirs]]]]:
        """Return a context of the port and of what awaits its end of the next connection."""
        raise NotImplementedError


@contextlib.asynccontextmanager
async def meet(
    net: Any,
    other: Implementation,
    role: str,
    *,
    terms: Terms = None,
    listener: type[Ours] = Ours,
    **options: Any,
) -> AsyncIterator[tuple[Ours, Theirs]]:
    """Connect both, picows_c in this role; at the end the connection is gone."""
    if role == "server":
        ours = listener()

        def factory(request: WSUpgradeRequest) -> Ours:
            ours.request = request
            return ours

        async with net.serve(factory, **options), other.connect(net, PATH, terms) as theirs:
            await ours.connected.wait()
            async with _ended(ours, theirs):
                yield ours, theirs
    else:
        async with other.serve(net, terms) as (port, accept):
            net.port = port
            _, ours = await net.connect(listener, PATH, **options)
            theirs = await accept()
            async with _ended(ours, theirs):
                yield ours, theirs


@contextlib.asynccontextmanager
async def _ended(ours: Ours, theirs: Theirs) -> AsyncIterator[None]:
    assert ours.transport is not None
    try:
        yield
    except BaseException:
        ours.transport.disconnect(False)
        raise
    ours.transport.send_close(WSCloseCode.OK)
    await theirs.closed()
    await ours.transport.wait_disconnected()
    assert ours.events.count("disconnected") == 1


# ---- compression ----


def parameters_of(answer: str) -> dict[str, Any]:
    """Return what a server's answer says about compression; True where there is no value."""
    name, *parameters = answer.replace(" ", "").split(";")
    assert name == "permessage-deflate"
    pairs = (parameter.partition("=") for parameter in parameters)
    return {key: int(value) if value else True for key, _, value in pairs}


def agreed(ours: Ours, theirs: Theirs, role: str) -> Optional[dict[str, Any]]:
    """Return what the server answered, None where it did not agree on compression."""
    assert ours.transport is not None
    assert ours.transport.response is not None
    answer = theirs.answer
    if role == "client":
        answer = ours.transport.response.headers.get(EXTENSIONS)
    return None if answer is None else parameters_of(answer)


async def there(ours: Ours, theirs: Theirs, message: Message) -> int:
    """Send a message to the peer; return how many bytes that took on the wire."""
    assert ours.transport is not None
    before = ours.transport.stats.bytes_sent
    ours.send(message)
    assert await theirs.receive() == message
    return ours.transport.stats.bytes_sent - before


async def back(ours: Ours, theirs: Theirs, message: Message) -> int:
    """Have a message sent by the peer; return how many bytes that took on the wire."""
    assert ours.transport is not None
    before = ours.transport.stats.bytes_received
    await theirs.send(message)
    assert await ours.message() == (message, 1)
    return ours.transport.stats.bytes_received - before


async def check_contexts(ours: Ours, theirs: Theirs, taken_over: bool) -> None:
    """Messages of all kinds in both directions, each direction with its context or without."""
    data = noise(5000)
    for go in (there, back):
        for message in ("", "", "x", "short", MIXED, "z" * 3000, bytes(100_000)):
            size = await go(ours, theirs, message)
            assert size < 100 + len(message) // 50
        assert await go(ours, theirs, data) > 5000
        again = await go(ours, theirs, data)
        assert again < 500 if taken_over else again > 5000


async def check_window(go: Any, ours: Ours, theirs: Theirs, bits: int) -> None:
    """What repeats within the window is found, what repeats further away is not."""
    # zlib looks no further back than the window less the longest match and a bit.
    near, far = noise((1 << bits) - 300), noise(1 << bits)
    assert await go(ours, theirs, near * 2) < 1.6 * len(near)
    assert await go(ours, theirs, far * 2) > 1.9 * len(far)


@pytest.mark.parametrize("role", ["server", "client"])
class Talk:
    """The conversations; ``role`` is that of picows_c."""

    # ---- messages ----

    async def test_messages(self, net, other, role):
        async with meet(net, other, role) as (ours, theirs):
            for message in payloads():
                ours.send(message)
                assert await theirs.receive() == message
                await theirs.send(message)
                assert await ours.message() == (message, 1)

    async def test_both_talk_at_once(self, net, other, role):
        count = 300

        async def speak(theirs: Theirs) -> None:
            for i in range(count):
                await theirs.send(f"{i} " * (i % 100))

        async with meet(net, other, role) as (ours, theirs):
            task = asyncio.create_task(speak(theirs))
            for i in range(count):
                ours.send(i.to_bytes(2, "big") * (i % 500))
            for i in range(count):
                assert await theirs.receive() == i.to_bytes(2, "big") * (i % 500)
            for i in range(count):
                assert (await ours.message())[0] == f"{i} " * (i % 100)
            await task

    # ---- fragments ----

    @pytest.mark.parametrize("text", [True, False], ids=["text", "binary"])
    async def test_fragments_from_us(self, net, other, role, text):
        # The cuts go through characters.
        whole = (MIXED * 20).encode()
        cuts = [0, 0, 3, 10, 126, len(whole), len(whole)]
        parts = [whole[a:b] for a, b in zip(cuts, cuts[1:])]
        async with meet(net, other, role) as (ours, theirs):
            kind = WSMsgType.TEXT if text else WSMsgType.BINARY
            for part in parts[:-1]:
                ours.transport.send(kind, part, fin=False)
                kind = WSMsgType.CONTINUATION
            ours.transport.send_ping(b"between")
            ours.transport.send(WSMsgType.CONTINUATION, parts[-1])
            assert await theirs.receive() == (whole.decode() if text else whole)
            assert await ours.control(WSMsgType.PONG) == b"between"
            # And the next message is a whole one again.
            ours.send("after")
            assert await theirs.receive() == "after"

    @pytest.mark.parametrize("text", [True, False], ids=["text", "binary"])
    async def test_fragments_from_the_peer(self, net, other, role, text):
        parts: list[Any] = ["Gr", "", "üße, 世界", "x" * 65536, "🐄"]
        if not text:
            parts = [part.encode() for part in parts]
        async with meet(net, other, role) as (ours, theirs):
            await theirs.send_fragments(parts, b"between")
            message, frames = await ours.message()
            assert message == type(parts[0])().join(parts)
            assert frames == len(parts) + theirs.empty_frames_at_end
            await theirs.send("after")
            assert await ours.message() == ("after", 1)

    # ---- pings ----

    async def test_pings(self, net, other, role):
        async with meet(net, other, role) as (ours, theirs):
            for payload in PINGS:
                ours.transport.send_ping(payload)
                ours.send("read")
                assert await theirs.receive() == "read"
                assert await ours.control(WSMsgType.PONG) == payload
                await theirs.ping(payload)
            assert "PING" not in ours.events

    async def test_pings_answered_by_hand(self, net, other, role):
        options = {"listener": Manual, "enable_auto_pong": False}
        async with meet(net, other, role, **options) as (ours, theirs):
            for payload in PINGS:
                await theirs.ping(payload)
                assert await ours.control(WSMsgType.PING) == payload

    # ---- closing ----

    @pytest.mark.parametrize(
        ("code", "reason"),
        [(1000, ""), (3001, "später 🐄"), (4999, "x" * 123)],
        ids=["1000", "3001", "4999"],
    )
    async def test_close_from_us(self, net, other, role, code, reason):
        async with meet(net, other, role) as (ours, theirs):
            ours.transport.send_close(code, reason.encode() or None)
            assert await theirs.closed() == (code, reason)
            await ours.transport.wait_disconnected()
            handshake = ours.transport.close_handshake
            assert (handshake.sent.code, handshake.sent.reason) == (code, reason or None)
            assert handshake.recv.code == theirs.answer_to(code)
            assert handshake.recv_then_sent is False

    @pytest.mark.parametrize(
        ("code", "reason"),
        [(1001, ""), (4002, "später 🐄"), (3000, "x" * 123)],
        ids=["1001", "4002", "3000"],
    )
    async def test_close_from_the_peer(self, net, other, role, code, reason):
        async with meet(net, other, role) as (ours, theirs):
            await theirs.close(code, reason)
            await ours.transport.wait_disconnected()
            handshake = ours.transport.close_handshake
            assert (handshake.recv.code, handshake.recv.reason) == (code, reason or None)
            # The library answers with the code that it got (RFC 6455, 5.5.1).
            assert handshake.sent.code == code
            assert handshake.recv_then_sent is True
            assert (await theirs.closed())[0] == code
            assert ours.events == ["connected", "CLOSE", "disconnected"]

    async def test_close_without_a_code_from_us(self, net, other, role):
        async with meet(net, other, role) as (ours, theirs):
            ours.transport.send_close()
            assert await theirs.closed() == (NO_STATUS, "")
            await ours.transport.wait_disconnected()
            handshake = ours.transport.close_handshake
            assert (handshake.sent.code, handshake.sent.reason) == (WSCloseCode.NO_INFO, None)
            assert handshake.recv.code == theirs.answer_to(0)

    async def test_close_without_a_code_from_the_peer(self, net, other, role):
        async with meet(net, other, role) as (ours, theirs):
            await theirs.close(None, "")
            await ours.transport.wait_disconnected()
            handshake = ours.transport.close_handshake
            assert (handshake.recv.code, handshake.recv.reason) == (WSCloseCode.NO_INFO, None)
            assert handshake.sent.code is WSCloseCode.NO_INFO
            assert await theirs.closed() == (NO_STATUS, "")

    # ---- compression ----

    async def test_without_the_compression_that_the_peer_would_like(self, net, other, role):
        """A client's offer is declined; a server waits for one in vain."""
        async with meet(net, other, role, terms={}) as (ours, theirs):
            if role == "server":
                assert "permessage-deflate" in ours.request.headers[EXTENSIONS]
            assert agreed(ours, theirs, role) is None
            assert theirs.compresses is False
            for message in ("x" * 5000, b"\0" * 70000, MIXED):
                ours.send(message)
                assert await theirs.receive() == message
                await theirs.send(message)
                assert await ours.message() == (message, 1)

    async def test_compressed_messages(self, net, other, role):
        async with meet(net, other, role, terms={}, **deflating()) as (ours, theirs):
            assert agreed(ours, theirs, role) is not None
            assert theirs.compresses is True
            messages = [*payloads(), noise(100), noise(70_000), "x" * (1 << 20)]
            for message in messages:
                await there(ours, theirs, message)
                await back(ours, theirs, message)
            stats, size = ours.transport.stats, sum(map(len, messages))
            assert max(stats.bytes_sent, stats.bytes_received) < size // 10

    async def test_contexts_are_taken_over(self, plain, other, role):
        async with meet(plain, other, role, terms={}, **deflating()) as (ours, theirs):
            assert not set(RESETS) & set(agreed(ours, theirs, role))
            await check_contexts(ours, theirs, True)

    async def test_no_context_is_taken_over_as_we_ask(self, plain, other, role):
        options = deflating(**RESETS)
        async with meet(plain, other, role, terms={}, **options) as (ours, theirs):
            assert "server_no_context_takeover" in agreed(ours, theirs, role)
            await check_contexts(ours, theirs, False)

    async def test_no_context_is_taken_over_as_the_peer_asks(self, plain, other, role):
        async with meet(plain, other, role, terms=RESETS, **deflating()) as (ours, theirs):
            assert set(RESETS) <= set(agreed(ours, theirs, role))
            await check_contexts(ours, theirs, False)

    @ANY_WINDOW
    async def test_windows_that_we_ask_for(self, plain, other, role, bits):
        # 15 is what there is unasked; not every server repeats it.
        options = deflating(**windows(bits)) if bits < 15 else deflating()
        async with meet(plain, other, role, terms={}, **options) as (ours, theirs):
            if bits < 15:
                # A server says it only to those that ask, and keeps to it for all.
                said = agreed(ours, theirs, role).get("server_max_window_bits")
                assert said == (bits if role == "client" else None)
            await check_window(there, ours, theirs, bits)
            await check_window(back, ours, theirs, bits)

    @ANY_WINDOW
    async def test_windows_that_the_peer_asks_for(self, plain, other, role, bits):
        terms = windows(bits)
        async with meet(plain, other, role, terms=terms, **deflating()) as (ours, theirs):
            assert agreed(ours, theirs, role) == terms
            await check_window(there, ours, theirs, bits)
            await check_window(back, ours, theirs, bits)

    @pytest.mark.parametrize("text", [True, False], ids=["text", "binary"])
    async def test_compressed_fragments_from_us(self, plain, other, role, text):
        whole = (MIXED * 2000).encode()
        cuts = [0, 0, 3, 10, 126, len(whole), len(whole)]
        async with meet(plain, other, role, terms={}, **deflating()) as (ours, theirs):
            kind = WSMsgType.TEXT if text else WSMsgType.BINARY
            for a, b in zip(cuts, cuts[1:-1]):
                ours.transport.send(kind, whole[a:b], fin=False)
                kind = WSMsgType.CONTINUATION
            ours.transport.send_ping(b"between")
            ours.transport.send(WSMsgType.CONTINUATION, b"")
            assert await theirs.receive() == (whole.decode() if text else whole)
            assert await ours.control(WSMsgType.PONG) == b"between"
            assert ours.transport.stats.bytes_sent < len(whole) // 10
            await there(ours, theirs, "after")

    @pytest.mark.parametrize("text", [True, False], ids=["text", "binary"])
    async def test_compressed_fragments_from_the_peer(self, plain, other, role, text):
        parts: list[Any] = ["Gr", "", "üße, 世界", "x" * 65536, "🐄"]
        if not text:
            parts = [part.encode() for part in parts]
        async with meet(plain, other, role, terms={}, **deflating()) as (ours, theirs):
            await theirs.send_fragments(parts, b"between")
            assert await ours.message() == (type(parts[0])().join(parts), 1)
            stats = ours.transport.stats
            assert stats.frames_received == len(parts) + 1 + theirs.empty_frames_at_end
            assert stats.bytes_received < 1000
            await back(ours, theirs, "after")
