"""The other end of a connection of ours, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any, NamedTuple, Optional, TypeVar

from helpers import Recorder, accept_for, frame_bytes, read_head, request_bytes
from wire import xor

from picows_c import WSListener, WSUpgradeResponse, WSUpgradeResponseWithListener

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
ROLES = ["server", "client"]

KEY = "dGhlIHNhbXBsZSBub25jZQ=="

PATIENCE = 60.0
T = TypeVar("T")


@contextlib.contextmanager
def row(name: object) -> Iterator[None]:
    """Say which row of a table it was that failed."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"row {name!r}: {error!r}") from error


def soon(awaitable: Awaitable[T]) -> Awaitable[T]:
    """Wait for what happens at once unless something is broken."""
    return asyncio.wait_for(awaitable, PATIENCE)


def pattern(size: int, start: int = 0) -> bytes:
    """Bytes that tell by themselves where they belong."""
    at = start % 251
    return (bytes(range(251)) * (size // 251 + 2))[at : at + size]


def complaints(caplog: Any) -> list[logging.LogRecord]:
    """What the package logged as a warning or worse."""
    return [
        record
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("picows_c")
    ]


def has_ipv6() -> bool:
    """Whether ::1 can be listened on."""
    with socket.socket(socket.AF_INET6) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError:
            return False
    return True


def close_payload(code: Optional[int], reason: bytes = b"") -> bytes:
    return b"" if code is None else struct.pack("!H", code) + reason


def lines(*fields: str, first: str = "GET / HTTP/1.1") -> bytes:
    """Build a request from header lines."""
    return ("\r\n".join([first, *fields]) + "\r\n\r\n").encode("latin-1")


UPGRADE = (
    "Host: h",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY}",
)


def answer_bytes(
    key: str,
    first: str = "HTTP/1.1 101 Switching Protocols",
    drop: tuple[str, ...] = (),
    more: tuple[str, ...] = (),
    **replace: str,
) -> bytes:
    """Build the answer to an upgrade request; keyword names replace headers (- as _)."""
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": accept_for(key),
    }
    for name, value in replace.items():
        headers[name.replace("_", "-")] = value
    lines = [first, *(f"{name}: {value}" for name, value in headers.items() if name not in drop)]
    return ("\r\n".join([*lines, *more]) + "\r\n\r\n").encode("latin-1")


class Got(NamedTuple):
    """A frame as it came over the wire, unmasked; key is None where it was not masked."""

    opcode: int
    payload: bytes
    fin: bool
    rsv: int
    key: Optional[bytes]


class Peer:
    """One end of a byte stream that speaks frames."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_client: bool
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.is_client = is_client
        self.head: tuple[str, dict[str, str]] = ("", {})

    @property
    def key(self) -> str:
        """The Sec-WebSocket-Key that was received."""
        return self.head[1]["sec-websocket-key"]

    def frame(self, opcode: int, payload: bytes = b"", **options: Any) -> bytes:
        """Build a frame as this side has to send it: a client masks."""
        mask = options.setdefault("mask", os.urandom(4) if self.is_client else None)
        options.setdefault("length", len(payload))
        head = frame_bytes(opcode, b"", **options)
        return head + (payload if mask is None else xor(payload, mask))

    def close_frame(self, code: Optional[int], reason: bytes = b"") -> bytes:
        return self.frame(CLOSE, close_payload(code, reason))

    def write(self, *parts: bytes) -> None:
        """Send bytes, all of them at once."""
        self.writer.write(b"".join(parts))

    def send(self, opcode: int, payload: bytes = b"", **options: Any) -> None:
        self.write(self.frame(opcode, payload, **options))

    async def read_head(self) -> tuple[str, dict[str, str]]:
        self.head = await soon(read_head(self.reader))
        return self.head

    async def next(self, begun: bytes = b"") -> Got:
        """Read one frame; its mask must be as the sender's role asks (RFC 6455, 5.1)."""
        first, second = begun + await soon(self.reader.readexactly(2 - len(begun)))
        n = second & 0x7F
        if n >= 126:
            n = int.from_bytes(await soon(self.reader.readexactly(2 if n == 126 else 8)), "big")
        key = await soon(self.reader.readexactly(4)) if second & 0x80 else None
        assert (key is None) is self.is_client, "masked by a server, or not masked by a client"
        payload = await soon(self.reader.readexactly(n))
        if key is not None:
            payload = xor(payload, key)
        return Got(first & 0x0F, payload, bool(first & 0x80), first >> 4 & 7, key)

    async def expect(self, opcode: int, payload: bytes = b"") -> None:
        """Read one unfragmented frame, and it is this one."""
        got = await self.next()
        assert got[:4] == (opcode, payload, True, 0)

    async def expect_close(self, code: Optional[int], reason: Optional[bytes] = None) -> bytes:
        """Read a CLOSE with this code, and with this reason unless it is None."""
        got = await self.next()
        assert (got.opcode, got.fin, got.rsv) == (CLOSE, True, 0)
        assert got.payload[:2] == close_payload(code)
        if reason is not None:
            assert got.payload[2:] == reason
        return got.payload[2:]

    async def flood(self, piece: bytes) -> int:
        """Write until the connection breaks; return how many bytes were taken."""
        taken = 0
        with contextlib.suppress(ConnectionError):
            while True:
                self.write(piece)
                await soon(self.writer.drain())
                taken += len(piece)
        self.abort()
        return taken

    async def all(self) -> list[Got]:
        """Read frames to the end of the stream, which must be an orderly one."""
        got = []
        while True:
            begun = await soon(self.reader.read(1))
            if not begun:
                self.abort()
                return got
            got.append(await self.next(begun))

    async def rest(self) -> bytes:
        """Read to the end of the stream, which must be an orderly one; then end it here, too."""
        rest = await soon(self.reader.read())
        self.abort()
        return rest

    async def gone(self) -> None:
        """Wait until the stream has ended, in any way, and end it here, too."""
        with contextlib.suppress(ConnectionError):
            while await soon(self.reader.read(1 << 20)):
                pass
        self.abort()

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def abort(self) -> None:
        self.writer.transport.abort()


async def exchange(net, *data: bytes) -> tuple[str, dict[str, str], bytes]:
    """Send bytes, read the whole answer and the end of the stream."""
    peer = Peer(*await soon(net.open()), is_client=True)
    try:
        peer.write(*data)
        first, headers = await peer.read_head()
        return first, headers, await peer.rest()
    finally:
        peer.abort()


async def upgraded(net: Any, path: str = "/", glued: bytes = b"", **headers: str) -> Peer:
    """Open a connection to our server and upgrade it."""
    peer = Peer(*await soon(net.open()), is_client=True)
    peer.write(request_bytes(path, **headers), glued)
    first, _ = await peer.read_head()
    assert first == "HTTP/1.1 101 Switching Protocols"
    return peer


class Never:
    """A listener factory that must not be called."""

    def __call__(self) -> WSListener:
        raise AssertionError("the factory was called")


class RawServer:
    """A listening socket for ws_connect; what it answers is up to the test."""

    def __init__(self, net: Any, host: str = "127.0.0.1") -> None:
        self.net = net
        self.host = host
        self.count = 0
        self.peers: list[Peer] = []
        self._new: asyncio.Queue[Peer] = asyncio.Queue()

    async def __aenter__(self) -> RawServer:
        context = self.net.certificates.server() if self.net.scheme == "wss" else None
        self._server = await asyncio.start_server(self._accepted, self.host, 0, ssl=context)
        self.net.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for peer in self.peers:
            peer.abort()
        await soon(self._server.wait_closed())

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.count += 1
        peer = Peer(reader, writer, is_client=False)
        self.peers.append(peer)
        self._new.put_nowait(peer)

    async def accept(self) -> Peer:
        """Take the next connection; nothing is read from it yet."""
        return await soon(self._new.get())

    async def upgrade(self, glued: bytes = b"", **headers: str) -> Peer:
        """Take the next connection, read the request and agree."""
        peer = await self.accept()
        await peer.read_head()
        peer.write(answer_bytes(peer.key, **headers), glued)
        return peer


@contextlib.asynccontextmanager
async def against(
    net: Any, role: str, listener: Recorder, extension: Optional[str] = None, **options: Any
) -> AsyncIterator[Peer]:
    """Connect our server or our client (role), with this listener, to a raw peer.

    listener.transport is ours. Afterwards the connection is ended, and the listener must hear it.

    extension: what the peer's Sec-WebSocket-Extensions has; so has ours, unless compression= says
    itself what to offer and to agree to.
    """
    raw_headers = {} if extension is None else {"Sec_WebSocket_Extensions": extension}
    headers = {} if "compression" in options else raw_headers
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    async with contextlib.AsyncExitStack() as stack:
        if role == "server":
            response = WSUpgradeResponse.create_101_response(headers)
            answer = WSUpgradeResponseWithListener(response, listener)
            await stack.enter_async_context(net.serve(lambda request: answer, **options))
            peer = await upgraded(net, **raw_headers)
        else:
            server = await stack.enter_async_context(RawServer(net))
            if headers:
                options.setdefault("extensions", [extension])
            connecting = asyncio.ensure_future(net.connect(lambda: listener, **options))
            peer = await server.upgrade(**raw_headers)
            await soon(connecting)
        await soon(listener.connected.wait())
        try:
            yield peer
        finally:
            peer.abort()
            await soon(listener.disconnected.wait())
            assert listener.transport is not None
            assert listener.transport.is_disconnected
            ended = listener.transport.wait_disconnected()
            await asyncio.gather(soon(ended), return_exceptions=True)
