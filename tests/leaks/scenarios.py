"""What a connection may go through; each function does it so many times, and leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import gc
import pickle
import socket
import ssl
import warnings
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import picows_c
from picows_c import WSCloseCode, WSListener, WSMsgType, ws_connect, ws_create_server

Scenario = Callable[[int, int], Awaitable[None]]

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
# So many connections at a time where waiting is part of it.
CROWD = 50


class Echo(WSListener):
    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type == WSMsgType.BINARY:
            transport.send(WSMsgType.BINARY, frame)


class Once(WSListener):
    """Sends one message, closes when it comes back."""

    size = 300

    def on_ws_connected(self, transport: Any) -> None:
        self.transport = transport  # a cycle that only the end may break
        transport.send(WSMsgType.BINARY, bytes(self.size))

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type == WSMsgType.BINARY:
            transport.send_close(WSCloseCode.OK)

    def on_ws_disconnected(self, transport: Any) -> None:
        self.transport = None


def port_of(server: Any) -> int:
    return server.sockets[0].getsockname()[1]


async def ended(server: Any) -> None:
    server.close()
    server.abort_clients()
    await server.wait_closed()


async def talk(rounds: int, url: str, **options: Any) -> None:
    for _ in range(rounds):
        transport, _ = await ws_connect(Once, url, **options)
        await transport.wait_disconnected()


# ---- whole lives ----


async def connections(rounds: int, port: int) -> None:
    """Open, echo, close in order."""
    await talk(rounds, f"ws://127.0.0.1:{port}")


async def loop_transports(rounds: int, port: int) -> None:
    """The same over the event loop's own transports."""
    server = await ws_create_server(lambda r: Echo(), "127.0.0.1", 0, transport="loop")
    await talk(rounds, f"ws://127.0.0.1:{port_of(server)}", transport="loop")
    await ended(server)


@functools.cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    import trustme

    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    return server, client


async def tls(rounds: int, port: int) -> None:
    """The same over TLS."""
    ours, theirs = contexts()
    server = await ws_create_server(lambda r: Echo(), "127.0.0.1", 0, ssl=ours)
    await talk(rounds, f"wss://127.0.0.1:{port_of(server)}", ssl_context=theirs)
    await ended(server)


async def loop_tls(rounds: int, port: int) -> None:
    """The same over the event loop's own TLS."""
    ours, theirs = contexts()
    way: dict[str, Any] = {"transport": "loop"}
    server = await ws_create_server(lambda r: Echo(), "127.0.0.1", 0, ssl=ours, **way)
    await talk(rounds, f"wss://127.0.0.1:{port_of(server)}", ssl_context=theirs, **way)
    await ended(server)


async def messages(rounds: int, port: int) -> None:
    """Whole messages, compressed, and the contexts that this takes."""
    options: dict[str, Any] = {"assemble_messages": True, "compression": True}
    server = await ws_create_server(lambda r: Echo(), "127.0.0.1", 0, **options)
    await talk(rounds, f"ws://127.0.0.1:{port_of(server)}", **options)
    await ended(server)


async def keepalive(rounds: int, port: int) -> None:
    """Automatic pings on both sides, and measured ones."""
    options: dict[str, Any] = {"enable_auto_ping": True}
    server = await ws_create_server(lambda r: Echo(), "127.0.0.1", 0, **options)
    url = f"ws://127.0.0.1:{port_of(server)}"
    for _ in range(rounds):
        transport, _ = await ws_connect(WSListener, url, **options)
        await transport.measure_roundtrip_time(1)
        transport.disconnect()
        await transport.wait_disconnected()
    await ended(server)


async def servers(rounds: int, port: int) -> None:
    """A server each, with a connection that it has to end."""
    for number in range(rounds):
        server = await ws_create_server(lambda r: Echo(), "127.0.0.1", 0)
        url = f"ws://127.0.0.1:{port_of(server)}"
        transport, _ = await ws_connect(WSListener, url)
        if number % 2:
            await server.close_gracefully()
        else:
            await ended(server)
        await transport.wait_disconnected()


async def loops(rounds: int, port: int) -> None:
    """An event loop each, closed over an open connection."""

    async def leave_open() -> None:
        server = await ws_create_server(lambda r: Echo(), "127.0.0.1", 0)
        await ws_connect(WSListener, f"ws://127.0.0.1:{port_of(server)}")

    def one() -> None:
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(leave_open())
        finally:
            loop.close()

    def some(count: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            for _ in range(count):
                one()
            gc.collect()  # what was left open is the collector's

    with ThreadPoolExecutor(1) as thread:
        for done in range(0, rounds, 10):
            count = min(10, rounds - done)
            await asyncio.get_running_loop().run_in_executor(thread, some, count)


# ---- ends that are no proper ones ----


async def aborted(rounds: int, port: int) -> None:
    """Open and drop."""
    for _ in range(rounds):
        transport, _ = await ws_connect(Once, f"ws://127.0.0.1:{port}")
        transport.disconnect(False)
        await transport.wait_disconnected()


async def raising(rounds: int, port: int) -> None:
    """Callbacks that raise, with the connection in the exception's traceback."""

    class Raising(Once):
        def on_ws_connected(self, transport: Any) -> None:
            super().on_ws_connected(transport)
            if self.number % 2:
                raise ValueError(transport)

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            raise ValueError(frame)

    for number in range(rounds):
        Raising.number = number  # type: ignore[attr-defined]
        try:
            transport, _ = await ws_connect(Raising, f"ws://127.0.0.1:{port}")
            await transport.wait_disconnected()
        except ValueError as error:
            # The transport keeps what ended it, and that its frames: the user's cycle to break.
            error.args, error.__traceback__ = (), None


async def garbage(rounds: int, port: int) -> None:
    """Peers that speak no HTTP, or break the rules after the handshake."""
    for number in range(rounds):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16\x03\x01\x02\x00" if number % 2 else UPGRADE + b"\xff\xff\xff\xff")
        await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def timeouts(rounds: int, port: int) -> None:
    """Peers that connect and say nothing."""
    server = await ws_create_server(
        lambda r: Echo(), "127.0.0.1", 0, websocket_handshake_timeout=0.01
    )

    async def silent() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    for done in range(0, rounds, CROWD):
        await asyncio.gather(*(silent() for _ in range(min(CROWD, rounds - done))))
    await ended(server)


async def refused(rounds: int, port: int) -> None:
    """Handshakes that get an HTTP answer."""
    for _ in range(rounds):
        with contextlib.suppress(picows_c.WSHandshakeError):
            await ws_connect(Once, f"ws://127.0.0.1:{port}/nowhere")


async def tls_refused(rounds: int, port: int) -> None:
    """TLS handshakes that fail: no trust, no TLS at all, an end in the middle."""
    ours, _ = contexts()
    server = await ws_create_server(lambda r: Echo(), "127.0.0.1", 0, ssl=ours)
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    port = port_of(server)
    for number in range(rounds):
        if number % 3 == 0:
            with contextlib.suppress(ssl.SSLError):
                await ws_connect(Once, f"wss://127.0.0.1:{port}", ssl_context=stranger)
            continue
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(UPGRADE if number % 3 == 1 else b"\x16\x03\x01\x02\x00\x01")
        if number % 3 == 2:
            writer.write_eof()
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()
    await ended(server)


async def unreachable(rounds: int, port: int) -> None:
    """Nobody listens there, under one address or several."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        for number in range(rounds):
            host = "localhost" if number % 2 else "127.0.0.1"
            with contextlib.suppress(OSError):
                await ws_connect(Once, f"ws://{host}:{port}")


class Holding:
    """A server that takes connections and never answers."""

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._hold, "127.0.0.1", 0)
        return port_of(self._server)

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.sleep(0)


async def cancelled(rounds: int, port: int) -> None:
    """ws_connect given up before the answer."""
    async with Holding() as quiet:
        for number in range(rounds):
            task = asyncio.ensure_future(ws_connect(Once, f"ws://127.0.0.1:{quiet}"))
            for _ in range(number % 8):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def unanswered(rounds: int, port: int) -> None:
    """ws_connect that runs into its timeout."""

    async def one() -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await ws_connect(Once, f"ws://127.0.0.1:{quiet}", open_timeout=0.01)

    async with Holding() as quiet:
        for done in range(0, rounds, CROWD):
            await asyncio.gather(*(one() for _ in range(min(CROWD, rounds - done))))


# ---- objects ----


async def frames(rounds: int, port: int) -> None:
    """Frames of many sizes, kept for a while."""
    done = asyncio.get_running_loop().create_future()

    class Client(WSListener):
        def __init__(self) -> None:
            self.kept: list[Any] = []
            self.left = rounds * 10

        def on_ws_connected(self, transport: Any) -> None:
            transport.send(WSMsgType.BINARY, b"")

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            self.kept = [*self.kept[-20:], frame, memoryview(frame)[1:]]
            self.left -= 1
            if self.left == 0:
                done.set_result(None)
            elif self.left > 0:
                transport.send(WSMsgType.BINARY, bytes(self.left * 37 % 3000))

    transport, _ = await ws_connect(Client, f"ws://127.0.0.1:{port}")
    await done
    transport.disconnect()
    await transport.wait_disconnected()


async def transports(rounds: int, port: int) -> None:
    """Everything that a transport can do and be asked, and waits that are given up."""
    for _ in range(rounds):
        transport, _ = await ws_connect(WSListener, f"ws://127.0.0.1:{port}")
        waiting = [
            asyncio.ensure_future(transport.wait_disconnected()),
            asyncio.ensure_future(transport.measure_roundtrip_time(1)),
        ]
        await asyncio.sleep(0)
        with transport.cork():
            transport.send(WSMsgType.TEXT, "text")
            transport.send_ping(b"ping")
        transport.send_reuse_external_bytearray(WSMsgType.BINARY, bytearray(30), 14)
        await transport.drain()
        transport.pause_reading()
        transport.resume_reading()
        for name in dir(transport):
            if not name.startswith("_"):
                getattr(transport, name)
        for wrong in (None, 77, "no number"):
            with contextlib.suppress(TypeError, ValueError):
                transport.send(wrong, b"")
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        transport.disconnect()
        await transport.wait_disconnected()


async def types(rounds: int, port: int) -> None:
    """Objects that need no connection: made, copied, pickled, shown; and wrong arguments."""
    for number in range(rounds):
        request = picows_c.WSUpgradeRequest(b"GET", b"/", b"HTTP/1.1", {"Host": "a"})
        response = picows_c.WSUpgradeResponse.create_error_response(404, b"no")
        things = [
            picows_c.WSUpgradeResponseWithListener(response, None),
            picows_c.WSHandshakeError("no", b"head", b"body"),
            picows_c.WSProtocolError(1002, "no"),
            picows_c.PermessageDeflate(level=number % 10),
            picows_c.WSCloseCode(3000 + number % 1000),
        ]
        request.to_bytes()
        response.to_bytes()
        for thing in things:
            repr(thing)
            copy.copy(thing)
        pickle.loads(pickle.dumps(things[1:3]))
        for kind in (picows_c._core.WSTransport, picows_c._core.WSReader, picows_c._core.Stream):
            with contextlib.suppress(TypeError):
                kind(number)
            kind.__new__(kind)  # never initialized
        with contextlib.suppress(picows_c.WSInvalidURL):
            await ws_connect(WSListener, "ws://[:1")


SCENARIOS: dict[str, Scenario] = {
    f.__name__: f
    for f in (
        connections, loop_transports, tls, loop_tls, messages, keepalive, servers, loops,
        aborted, raising, garbage, timeouts, refused, tls_refused, unreachable, cancelled,
        unanswered,
        frames, transports, types,
    )
}  # fmt: skip
