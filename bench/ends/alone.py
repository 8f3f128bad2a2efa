"""No library: the least that a Python program on the loop's transports can do for a message.

Nothing is parsed, nothing is masked: a read is taken for a whole message, and what answers it is
ready. That is right for small messages of which each connection has one under way, from bench/c or
from the client that is here.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import Any, Optional

from .frame import frame_of
from .meter import Meter, Windows
from .process import finish, leave, say

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
UPGRADE = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" + UPGRADE + b"Sec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
AGREED = b"HTTP/1.1 101 Switching Protocols\r\n" + UPGRADE + b"Sec-WebSocket-Accept: %s\r\n\r\n"
KEY = b"\x37\xfa\x21\x3d"
CLOSE = frame_of((1000).to_bytes(2, "big"), 0x88)
# For all connections: nobody looks at a read after the callback.
ROOM = memoryview(bytearray(65536))


class Bytes(asyncio.Protocol):
    """A read comes as bytes. uvloop reads into a buffer of its own, and copies."""

    def __init_subclass__(cls) -> None:
        cls.data_received = cls.heard  # type: ignore[attr-defined,method-assign]


class Room(asyncio.BufferedProtocol):
    """A read fills ROOM, and its size comes. asyncio would allocate 256 KiB for one of the others.

    (That is three calls to the system with glibc.)
    """

    def __init_subclass__(cls) -> None:
        cls.buffer_updated = cls.heard  # type: ignore[attr-defined,method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:
        return ROOM


def cheapest(args: Any) -> Any:
    """Return the base of protocols that takes least on a loop: heard() has what comes."""
    return Bytes if args.loop == "uvloop" else Room


def taken(read: Any) -> bytes:
    """Return what heard() was called for."""
    return read if isinstance(read, bytes) else bytes(ROOM[:read])


def agreement(head: bytes) -> bytes:
    """Return the answer to a handshake, whose head came in one piece (4.2.2)."""
    key = head.split(b"Sec-WebSocket-Key: ", 1)[1].split(b"\r\n", 1)[0]
    return AGREED % base64.b64encode(hashlib.sha1(key + GUID).digest())


# ---- servers ----


async def serve(factory: Any, done: asyncio.Future[None], figures: Any) -> None:
    """Listen, and print the port; once that is done, ``figures()``."""
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    say(server.sockets[0].getsockname()[1])
    await done
    await finish(figures())
    server.close()


def accepting(args: Any, opened: Any) -> Any:
    """Return a protocol that answers a handshake; ``opened(transport)`` is the one after it."""

    class Accepting(cheapest(args)):  # type: ignore[misc]
        def connection_made(self, transport: Any) -> None:
            self._transport = transport

        def heard(self, read: Any) -> None:
            self._transport.write(agreement(taken(read)))
            self._transport.set_protocol(opened(self._transport))

    return Accepting


async def echo(_lib: Any, args: Any) -> None:
    done = asyncio.get_running_loop().create_future()
    meter = Meter(args.count)
    left, mark = meter.total, meter.count
    message = bytes(args.size)
    answer, size = frame_of(message), len(frame_of(message, key=KEY))

    class Echo(cheapest(args)):  # type: ignore[misc]
        def __init__(self, transport: Any) -> None:
            self._write = transport.write

        def heard(self, read: Any) -> None:
            nonlocal left, mark
            self._write(answer)
            left -= 1
            if left == mark:
                assert len(taken(read)) == size
                mark = meter.reached()
                if mark < 0:
                    done.set_result(None)

    await serve(accepting(args, Echo), done, lambda: meter.figures)


async def gate(_lib: Any, args: Any) -> None:
    done = asyncio.get_running_loop().create_future()
    windows = Windows(args.connections, args.count)

    class Gate(cheapest(args)):  # type: ignore[misc]
        _is_open = False

        def connection_made(self, transport: Any) -> None:
            self._transport = transport

        def heard(self, read: Any) -> None:
            if self._is_open:
                self._transport.write(CLOSE)
                self._transport.close()
                return
            self._is_open = True
            self._transport.write(agreement(taken(read)))
            if windows.one():
                done.set_result(None)

    await serve(Gate, done, windows.figures)


async def broadcaster(_lib: Any, args: Any) -> None:
    done = asyncio.get_running_loop().create_future()
    meter = Meter(args.count)
    left, mark = meter.total, meter.count
    message = frame_of(bytes(args.size))
    writes: list[Any] = []

    class Asker(cheapest(args)):  # type: ignore[misc]
        def __init__(self, transport: Any) -> None:
            writes.append(transport.write)

        def heard(self, read: Any) -> None:
            nonlocal left, mark
            for write in writes:
                write(message)
            left -= 1
            if left == mark:
                mark = meter.reached()
                if mark < 0:
                    done.set_result(None)

    def shared() -> dict[str, Any]:
        meter.share(len(writes))
        return meter.figures

    await serve(accepting(args, Asker), done, shared)


# ---- clients ----


def lost(awaited: asyncio.Future[Any], error: Optional[Exception]) -> None:
    """Say that a connection ended to whoever waits for what it should have brought."""
    if not awaited.done():
        awaited.set_exception(error or ConnectionResetError("the server closed the connection"))


async def connect(args: Any) -> Any:
    """Open a connection; return its transport, which has no use for its protocol any more."""
    loop = asyncio.get_running_loop()
    answered = loop.create_future()

    class Opening(cheapest(args)):  # type: ignore[misc]
        def connection_made(self, transport: Any) -> None:
            transport.write(REQUEST % args.port)

        def heard(self, read: Any) -> None:
            answered.set_result(taken(read))

        def connection_lost(self, exc: Optional[Exception]) -> None:
            lost(answered, exc)

    transport, _ = await loop.create_connection(Opening, "127.0.0.1", args.port)
    assert (await answered).startswith(b"HTTP/1.1 101 ")
    return transport


async def ask(_lib: Any, args: Any) -> None:
    done = asyncio.get_running_loop().create_future()
    meter = Meter(args.count)
    left, mark = meter.total, meter.count
    message = frame_of(bytes(args.size), key=KEY)
    size = len(frame_of(bytes(args.size)))

    class Asking(cheapest(args)):  # type: ignore[misc]
        def __init__(self, transport: Any) -> None:
            self._write = transport.write

        def heard(self, read: Any) -> None:
            nonlocal left, mark
            left -= 1
            if left == mark:
                assert len(taken(read)) == size
                mark = meter.reached()
                if mark < 0:
                    done.set_result(None)
            if left > 0:
                self._write(message)

        def connection_lost(self, exc: Optional[Exception]) -> None:
            lost(done, exc)

    transports = [await connect(args) for _ in range(args.connections)]
    for transport in transports:
        transport.set_protocol(Asking(transport))
        transport.write(message)
    await done
    leave(meter.figures)


ROLES = {"echo": echo, "gate": gate, "broadcaster": broadcaster, "ask": ask}
