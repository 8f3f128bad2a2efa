"""What picows_c and another implementation say to each other: the same for every peer.

A test module derives a class from Talk and has a fixture ``other``, an Implementation. Each test is
one conversation, with picows_c as the server and as the client, plain and over TLS, on each loop.
What a peer has no means for is set to None in its class.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Callable, Optional, Union

import pytest
from helpers import Recorder

from picows_c import WSCloseCode, WSMsgType, WSUpgradeRequest

Message = Union[str, bytes]

PATH = "/talk?x=1"
SIZES = [0, 1, 125, 126, 65535, 65536, 1 << 20]
# One to four bytes a character, the ends of each range, a NUL.
MIXED = "Grüße, мир, 世界, 🐄 \0\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"
PINGS = [b"", b"ping", bytes(range(125))]
NO_STATUS = 1005  # what others report for a CLOSE without a code


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
        self, net: Any, path: str, compression: bool
    ) -> contextlib.AbstractAsyncContextManager[Theirs]:
        raise NotImplementedError

    def serve(
        self, net: Any, compression: bool
    ) -> contextlib.AbstractAsyncContextManager[tuple[int, Callable[[], Awaitable[Theirs]]]]:
        """Return a context of the port and of what awaits its end of the next connection."""
        raise NotImplementedError


@contextlib.asynccontextmanager
async def meet(
    net: Any,
    other: Implementation,
    role: str,
    *,
    compression: bool = False,
    listener: type[Ours] = Ours,
    **options: Any,
) -> AsyncIterator[tuple[Ours, Theirs]]:
    """Connect both, picows_c in this role; at the end the connection is gone."""
    if role == "server":
        ours = listener()

        def factory(request: WSUpgradeRequest) -> Ours:
            ours.request = request
            return ours

        async with net.serve(factory, **options), other.connect(net, PATH, compression) as theirs:
            await ours.connected.wait()
            async with _ended(ours, theirs):
                yield ours, theirs
    else:
        async with other.serve(net, compression) as (port, accept):
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
        name = "Sec-WebSocket-Extensions"
        async with meet(net, other, role, compression=True) as (ours, theirs):
            if role == "server":
                assert "permessage-deflate" in ours.request.headers[name]
            assert name not in ours.transport.response.headers
            assert theirs.compresses is False
            for message in ("x" * 5000, b"\0" * 70000, MIXED):
                ours.send(message)
                assert await theirs.receive() == message
                await theirs.send(message)
                assert await ours.message() == (message, 1)
