"""What the scripts share: a raw end of a connection, a listener that keeps a record, bounded waits.

It knows neither library; a script gets one as ``ws``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Callable

from wire import accept_for, frame_bytes, read_any_frame, read_head, request_bytes

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
ROLES = ("client", "server")

PATIENCE = 5.0  # for what happens
IMPATIENCE = 1.0  # for what does not happen with one of the two


def ours(ws: Any, **options: Any) -> dict[str, Any]:
    """Options that picows does not have."""
    return options if ws.__name__ == "picows_c" else {}


# ---- waiting ----


async def outcome(awaitable: Awaitable[Any], seconds: float = PATIENCE) -> Any:
    """What becomes of it: its result, its exception's name in a list, or "hangs"."""
    task = asyncio.ensure_future(awaitable)
    await asyncio.wait({task}, timeout=seconds)
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.1)
        return "hangs"
    error = task.exception()
    return task.result() if error is None else [type(error).__name__]


async def failure(awaitable: Awaitable[Any], seconds: float = PATIENCE) -> Any:
    """Return the exception of what has to fail."""
    try:
        return await asyncio.wait_for(awaitable, seconds)
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return error


def attempt(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What a call returns, or its exception's name in a list."""
    try:
        return function(*args, **options)
    except Exception as error:
        return [type(error).__name__]


# ---- a raw end ----


class Peer:
    """One end of a connection, byte by byte."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, masks: bool
    ) -> None:
        self.reader = reader
        self.writer = writer
        self._masks = masks

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def frame(self, opcode: int, payload: bytes = b"", **options: Any) -> bytes:
        """Build a frame as this end has to send it."""
        options.setdefault("mask", b"\x11\x22\x33\x44" if self._masks else None)
        return frame_bytes(opcode, payload, **options)

    def send_frame(self, opcode: int, payload: bytes = b"", **options: Any) -> None:
        self.send(self.frame(opcode, payload, **options))

    async def receive(self) -> Any:
        """Receive a frame: first byte, payload; "end" or "reset" where there is none."""
        try:
            first, payload, _ = await asyncio.wait_for(read_any_frame(self.reader), PATIENCE)
        except asyncio.IncompleteReadError as error:
            return "end" if not error.partial else "cut"
        except asyncio.TimeoutError:  # an OSError since CPython 3.11
            return "nothing"
        except OSError:
            return "reset"
        return [first, payload]

    async def until(self, opcode: int) -> list[Any]:
        """Receive frames up to one with this opcode, or the end."""
        frames = []
        while True:
            frame = await self.receive()
            frames.append(frame)
            if isinstance(frame, str) or frame[0] & 0xF == opcode:
                return frames

    async def rest(self) -> list[Any]:
        """Receive frames up to the end."""
        return await self.until(-1)

    async def ended(self, seconds: float = PATIENCE) -> str:
        """Wait for the end, whatever comes before it."""
        try:
            while await asyncio.wait_for(self.reader.read(65536), seconds):
                pass
        except asyncio.TimeoutError:
            return "open"
        except OSError:
            return "reset"
        return "end"

    def end(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        self.writer.transport.abort()


async def open_raw(port: int) -> Peer:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    return Peer(reader, writer, True)


@contextlib.asynccontextmanager
async def raw_server(
    handle: Callable[[Peer], Awaitable[None]], **options: Any
) -> AsyncIterator[int]:
    """Serve raw connections; what handle raises when the script is done is nobody's business."""
    peers = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(Peer(reader, writer, False))
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await handle(peers[-1])

    server = await asyncio.start_server(connected, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for peer in peers:
            peer.abort()


def accepting(key: str, *lines: str, drop: str = "") -> bytes:
    """Build a 101 for this key; lines are added, the header named drop is left out."""
    head = [
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_for(key)}",
    ]
    head = [line for line in head if not drop or not line.startswith(drop)]
    return "\r\n".join(["HTTP/1.1 101 Switching Protocols", *head, *lines, "", ""]).encode()


async def accept(peer: Peer) -> None:
    """Accept whatever is asked for."""
    _, headers = await read_head(peer.reader)
    peer.send(accepting(headers["sec-websocket-key"]))


async def answer_of(port: int, request: bytes) -> Any:
    """What a server answers to these bytes: first line, headers, body, without Date and such."""
    peer = await open_raw(port)
    peer.send(request)
    try:
        head = await asyncio.wait_for(peer.reader.readuntil(b"\r\n\r\n"), PATIENCE)
    except asyncio.IncompleteReadError:
        return "end"
    except asyncio.TimeoutError:
        return "nothing"
    except OSError:
        return "reset"
    first, *lines = head.decode("latin-1")[:-4].split("\r\n")
    headers = sorted(line.lower().partition(": ")[::2] for line in lines)
    body = b""
    if not first.startswith("HTTP/1.1 101"):
        with contextlib.suppress(OSError):
            body = await asyncio.wait_for(peer.reader.read(), PATIENCE)
    peer.abort()
    return [first, headers, body]


# ---- a listener ----


def name_of(ws: Any, msg_type: int) -> str:
    return ws.WSMsgType(msg_type).name


def recorder(ws: Any, **hooks: Callable[..., Any]) -> Any:
    """Make a listener that keeps a record of its callbacks; a hook runs inside one, after that.

    hooks: on_ws_connected(transport), on_ws_frame(transport, frame), on_ws_disconnected(transport)
    """

    def nothing(*_: Any) -> None:
        pass

    class Recorder(ws.WSListener):
        def __init__(self) -> None:
            self.events: list[Any] = []
            self.transport: Any = None
            self._more = asyncio.Event()

        def add(self, *event: Any) -> None:
            self.events.append(list(event))
            self._more.set()

        def on_ws_connected(self, transport: Any) -> None:
            self.transport = transport
            self.add("connected")
            hooks.get("on_ws_connected", nothing)(transport)

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            self.add(name_of(ws, frame.msg_type), frame.get_payload_as_bytes())
            hooks.get("on_ws_frame", nothing)(transport, frame)

        def on_ws_disconnected(self, transport: Any) -> None:
            self.add("disconnected")
            hooks.get("on_ws_disconnected", nothing)(transport)

        async def until(self, word: str, count: int = 1) -> Any:
            """Wait for so many events whose first word this is; return all events so far."""
            return await self._wait(lambda: sum(e[0] == word for e in self.events) >= count)

        async def many(self, count: int) -> Any:
            """Wait for so many events; return all."""
            return await self._wait(lambda: len(self.events) >= count)

        async def _wait(self, enough: Callable[[], bool]) -> Any:
            deadline = asyncio.get_running_loop().time() + PATIENCE
            while not enough():
                self._more.clear()
                left = deadline - asyncio.get_running_loop().time()
                try:
                    await asyncio.wait_for(self._more.wait(), left)
                except asyncio.TimeoutError:
                    return [*self.events, "nothing more"]
            return self.events

    return Recorder()


# ---- a connection between a raw end and the library ----


class Link:
    def __init__(self, peer: Peer, transport: Any, listener: Any) -> None:
        self.peer = peer
        self.transport = transport
        self.listener = listener

    async def events(self) -> Any:
        """Wait for the end; return all events."""
        return await self.listener.until("disconnected")


@contextlib.asynccontextmanager
async def link(
    ws: Any, role: str, listener: Any = None, extra: bytes = b"", **options: Any
) -> AsyncIterator[Link]:
    """Connect a raw end with the library in this role; extra comes right behind the handshake."""
    listener = recorder(ws) if listener is None else listener
    if role == "server":
        server = await ws.ws_create_server(lambda _: listener, "127.0.0.1", 0, **options)
        peer = await open_raw(server.sockets[0].getsockname()[1])
        peer.send(request_bytes() + extra)
        await read_head(peer.reader)
        await listener.until("connected")
        try:
            yield Link(peer, listener.transport, listener)
        finally:
            server.close()
            peer.abort()
            listener.transport.disconnect(False)
            await listener.until("disconnected")
        return

    peers: asyncio.Queue[Peer] = asyncio.Queue()

    async def handle(peer: Peer) -> None:
        _, headers = await read_head(peer.reader)
        peer.send(accepting(headers["sec-websocket-key"]) + extra)
        peers.put_nowait(peer)

    async with raw_server(handle) as port:
        transport, _ = await ws.ws_connect(lambda: listener, f"ws://127.0.0.1:{port}/", **options)
        peer = await peers.get()
        try:
            yield Link(peer, transport, listener)
        finally:
            peer.abort()
            transport.disconnect(False)
            await listener.until("disconnected")


@contextlib.asynccontextmanager
async def serving(ws: Any, factory: Any, **options: Any) -> AsyncIterator[int]:
    """Run a server of the library."""
    server = await ws.ws_create_server(factory, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def close_record(transport: Any) -> Any:
    """transport.close_handshake in plain values; no reason and an empty one are the same."""
    record = transport.close_handshake
    if record is None:
        return None
    recv = record.recv and [int(record.recv.code), record.recv.reason or None]
    sent = record.sent and [int(record.sent.code), record.sent.reason or None]
    return {"recv": recv, "sent": sent, "recv_then_sent": record.recv_then_sent}


def code_of(frame: Any) -> Any:
    """The code of a CLOSE frame as the raw end received it; what else it was otherwise."""
    if isinstance(frame, list) and frame[0] == 0x80 | CLOSE:
        return int.from_bytes(frame[1][:2], "big") if frame[1] else "no code"
    return frame


def pem(name: str) -> str:
    """Path of a file that the test made: "authority" or "server"."""
    return os.path.join(os.environ["PICOWS_DIFFERENTIAL_PEM"], name + ".pem")


def without_port(text: Any) -> str:
    """Text with local addresses made the same in every run."""
    return re.sub(r"(127\.0\.0\.1|localhost):\d+", r"\1:PORT", str(text))
