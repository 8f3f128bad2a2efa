"""The ways of a frame within one process: no network, no event loop that waits.

python bench/paths.py NAME COUNT    runs one of them COUNT times; for callgrind, see instructions.py

A connection stands on a transport that keeps nothing, made by an event loop that is never run while
something is measured. Only the public API is used, and that of asyncio's protocols, so that older
revisions can be measured, too.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import gc
import hashlib
import socket
import sys
from dataclasses import dataclass
from typing import Any, Callable

from ends.frame import frame_of

from picows_c import WSListener, WSMsgType, ws_connect, ws_create_server

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = b"\x37\xfa\x21\x3d"
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Wire:
    """A transport that takes everything at once and keeps nothing."""

    def __init__(self) -> None:
        # (Not a function of ours: what is measured is the way to it.)
        self._taken: collections.deque[Any] = collections.deque(maxlen=1)
        self.write = self._taken.append
        self.writelines = self._taken.append

    @property
    def last(self) -> bytes:
        return bytes(self._taken[-1]) if self._taken else b""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def get_write_buffer_size(self) -> int:
        return 0

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return (0, 65536)

    def set_write_buffer_limits(self, high: Any = None, low: Any = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return True

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def write_eof(self) -> None:
        pass

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass

    def get_protocol(self) -> Any:
        return None


class Listening:
    """What loop.create_server() returns."""

    sockets = ()

    async def start_serving(self) -> None:
        pass

    def is_serving(self) -> bool:
        return True

    def close(self) -> None:
        pass

    async def wait_closed(self) -> None:
        pass


class Loop(asyncio.SelectorEventLoop):
    """Makes protocols, and no connections."""

    protocol: Any = None
    wire: Any = None

    async def create_server(  # type: ignore[override]
        self, factory: Any, *args: Any, **options: Any
    ) -> Any:
        self.factory = factory
        return Listening()

    def connection(self) -> Any:
        """Make a connection of the server's."""
        self.protocol, self.wire = self.factory(), Wire()
        self.protocol.connection_made(self.wire)
        return self.protocol

    async def create_connection(  # type: ignore[override]
        self, factory: Any, *args: Any, **options: Any
    ) -> Any:
        # The wire has no socket; that of the connection is a transport's to close.
        options["sock"].close()
        self.protocol, self.wire = factory(), Wire()
        self.protocol.connection_made(self.wire)
        self.call_soon(self._agree)
        return self.wire, self.protocol

    def _agree(self) -> None:
        lines = self.wire.last.split(b"\r\n")
        key = next(line[19:] for line in lines if line.startswith(b"Sec-WebSocket-Key: "))
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        head += b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        feed(self.protocol, head)


def feed(protocol: Any, data: bytes) -> None:
    """Let a protocol receive bytes, as an event loop does."""
    view = memoryview(data)
    while view:
        room = protocol.get_buffer(-1)
        n = min(len(room), len(view))
        room[:n] = view[:n]
        protocol.buffer_updated(n)
        view = view[n:]


class Quiet(WSListener):
    """Keeps nothing."""

    transport: Any = None

    def on_ws_connected(self, transport: Any) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        pass


class Echo(Quiet):
    """Sends back what comes."""

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        transport.send(frame.msg_type, frame.get_payload_as_memoryview())


class Reading(Quiet):
    """Takes each message as text."""

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        frame.get_payload_as_utf8_text()


class Connected:
    """One connection on a wire, ours as ``role``."""

    def __init__(self, role: str, listener: type[Quiet] = Quiet, **options: Any) -> None:
        self.loop = Loop()
        self._server: Any = None
        self._sockets: tuple[socket.socket, ...] = ()
        self.listener = listener()
        options["transport"] = "loop"
        open_it = self._serve if role == "server" else self._connect
        self.loop.run_until_complete(open_it(options))
        self.transport = self.listener.transport
        self.protocol = self.loop.protocol

    async def _serve(self, options: Any) -> None:
        self._server = await ws_create_server(
            lambda request: self.listener, "127.0.0.1", 0, **options
        )
        feed(self.loop.connection(), REQUEST)

    async def _connect(self, options: Any) -> None:
        self._sockets = socket.socketpair()
        await ws_connect(
            lambda: self.listener,
            "ws://localhost/",
            socket_factory=lambda url: self._sockets[0],
            **options,
        )

    def close(self) -> None:
        self.transport.disconnect(False)
        for sock in self._sockets:
            sock.close()
        if self._server is not None:
            self._server.close()
        self.protocol.connection_lost(None)
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()


@dataclass
class Way:
    """``call()`` does something ``per`` times; ``close()`` afterwards."""

    per: int
    call: Callable[[], object]
    close: Callable[[], None]


def receiving(role: str, data: bytes, per: int, listener: type[Quiet] = Quiet, **more: Any) -> Way:
    end = Connected(role, listener, **more)
    protocol = end.protocol
    return Way(per, lambda: feed(protocol, data), end.close)


def to_callback() -> Way:
    """Receive frames of 32 bytes, each for a callback."""
    return receiving("server", frame_of(bytes(32), key=KEY) * 1000, 1000)


def parse() -> Way:
    """Receive fragments of 4 bytes; a callback for every 1,000 of them."""
    middle = frame_of(bytes(4), 0x00, KEY) * 998
    data = frame_of(bytes(4), 0x02, KEY) + middle + frame_of(bytes(4), 0x80, KEY)
    return receiving("server", data, 1000, assemble_messages=True)


def text() -> Way:
    """Receive texts of 256 bytes that are not ASCII, each checked and taken as str."""
    payload = ("\u00e9\u00fc\u20ac" * 37)[:110].encode()
    return receiving(
        "server", frame_of(payload, 0x81, KEY) * 200, 200, Reading, assemble_messages=True
    )


def unmask() -> Way:
    """Receive frames of 32 KiB that are masked."""
    return receiving("server", frame_of(bytes(32768), key=KEY), 1)


def echo() -> Way:
    """Receive frames of 64 bytes and send each back."""
    return receiving("server", frame_of(bytes(64), key=KEY) * 500, 500, Echo)


def sending(role: str, size: int, per: int, corked: bool) -> Way:
    end = Connected(role)
    send, data, kind = end.transport.send, bytes(size), WSMsgType.BINARY
    cork = end.transport.cork

    def at_once() -> None:
        for _ in range(per):
            send(kind, data)

    def together() -> None:
        with cork():
            for _ in range(per):
                send(kind, data)

    return Way(per, together if corked else at_once, end.close)


def send() -> Way:
    """Send 32 bytes, each frame by itself."""
    return sending("server", 32, 1000, corked=False)


def build() -> Way:
    """Send 32 bytes, 1,000 frames at a time: what is left is building them."""
    return sending("server", 32, 1000, corked=True)


def mask() -> Way:
    """Send 32 KiB, masked."""
    return sending("client", 32768, 10, corked=False)


PATHS: dict[str, Callable[[], Way]] = {
    "parse": parse,
    "build": build,
    "mask": mask,
    "unmask": unmask,
    "to-callback": to_callback,
    "text": text,
    "send": send,
    "echo": echo,
}


def main() -> None:
    name, count = sys.argv[1], int(sys.argv[2])
    way = PATHS[name]()
    # Collections come when they come; they are not the way's.
    gc.disable()
    for _ in range(count):
        way.call()
    way.close()
    print(way.per)


if __name__ == "__main__":
    main()
