"""picows_c and picows: the API is the same, so the same code measures both."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import time
from typing import Any

from .meter import Meter, Windows, percentiles
from .process import client_context, finish, line, say, server_context, url, weigh

# What a version that is measured may not have yet: it goes without, and says so.
NEW = ("busy_poll", "coalesce_writes")


def fitting(function: Any, options: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    """Leave out what this version does not have yet, and note it."""
    known = inspect.signature(function).parameters
    missing = [name for name in options if name in NEW and name not in known]
    if missing:
        figures["without"] = missing
    return {name: value for name, value in options.items() if name not in missing}


async def listen(lib: Any, args: Any, listener: Any, figures: dict[str, Any]) -> Any:
    options = fitting(lib.ws_create_server, args.options, figures)
    return await lib.ws_create_server(
        lambda request: listener(), "127.0.0.1", 0, ssl=server_context(args), **options
    )


async def connect(lib: Any, args: Any, listener: Any, figures: dict[str, Any]) -> Any:
    options = fitting(lib.ws_connect, args.options, figures)
    transport, _ = await lib.ws_connect(
        listener, url(args), ssl_context=client_context(args), **options
    )
    return transport


def port(server: Any) -> Any:
    return server.sockets[0].getsockname()[1]


# ---- servers ----


async def echo(lib: Any, args: Any) -> None:
    """Send each message back."""
    done = asyncio.get_running_loop().create_future()
    meter = Meter(args.count)
    left, mark = meter.total, meter.count
    close = lib.WSMsgType.CLOSE

    class Server(lib.WSListener):  # type: ignore[misc]
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            nonlocal left, mark
            kind = frame.msg_type
            if kind == close:
                transport.disconnect()
                return
            transport.send(kind, frame.get_payload_as_memoryview())
            left -= 1
            if left == mark:
                mark = meter.reached()
                if mark < 0:
                    done.set_result(None)

    server = await listen(lib, args, Server, meter.figures)
    say(port(server))
    await done
    await finish(meter.figures)
    server.close()


async def gate(lib: Any, args: Any) -> None:
    """Let clients in; they come and go in waves."""
    done = asyncio.get_running_loop().create_future()
    windows = Windows(args.connections, args.count)
    close = lib.WSMsgType.CLOSE
    figures: dict[str, Any] = {}

    class Gate(lib.WSListener):  # type: ignore[misc]
        def on_ws_connected(self, transport: Any) -> None:
            if windows.one():
                done.set_result(None)

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type == close:
                transport.send_close(lib.WSCloseCode.OK)
                transport.disconnect()

    server = await listen(lib, args, Gate, figures)
    say(port(server))
    await done
    await finish({**windows.figures(), **figures})
    server.close()


async def idle(lib: Any, args: Any) -> None:
    """Echo, and say how much memory the process has."""

    class Server(lib.WSListener):  # type: ignore[misc]
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())

    await weigh(port(await listen(lib, args, Server, {})))


async def broadcaster(lib: Any, args: Any) -> None:
    """Send a message to all when one of them asks for the next; measured for each that is sent."""
    done = asyncio.get_running_loop().create_future()
    meter = Meter(args.count)
    left, mark = meter.total, meter.count
    message = bytes(args.size)
    binary = lib.WSMsgType.BINARY
    transports: list[Any] = []
    broadcast = getattr(lib, "broadcast", None)
    if broadcast is None and lib.__name__ == "picows_c":
        meter.figures["without"] = ["broadcast"]

    class Server(lib.WSListener):  # type: ignore[misc]
        def on_ws_connected(self, transport: Any) -> None:
            transports.append(transport)

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            nonlocal left, mark
            if frame.msg_type != binary:
                transport.disconnect()
                return
            if broadcast is not None:
                broadcast(transports, binary, message)
            else:
                for one in transports:
                    one.send(binary, message)
            left -= 1
            if left == mark:
                mark = meter.reached()
                if mark < 0:
                    done.set_result(None)

    server = await listen(lib, args, Server, meter.figures)
    say(port(server))
    await done
    meter.share(len(transports))
    await finish(meter.figures)
    server.close()


# ---- clients ----


async def ask(lib: Any, args: Any) -> None:
    """Keep one message in flight on each connection."""
    loop = asyncio.get_running_loop()
    meter = Meter(args.count)
    left, mark = meter.total, meter.count
    message = bytes(args.size)
    binary = lib.WSMsgType.BINARY
    done = loop.create_future()

    class Client(lib.WSListener):  # type: ignore[misc]
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            nonlocal left, mark
            left -= 1
            if left == mark:
                mark = meter.reached()
                if mark < 0:
                    done.set_result(None)
            if left > 0:
                transport.send(binary, message)

    transports = [await connect(lib, args, Client, meter.figures) for _ in range(args.connections)]
    for transport in transports:
        transport.send(binary, message)
    watcher = Bystander(lib, args, meter.figures) if args.bystander else None
    if watcher is not None:
        await watcher.start()
    await done
    if watcher is not None:
        meter.figures.update(watcher.stop())
    for transport in transports:
        transport.disconnect(False)
    say(meter.figures)


class Bystander:
    """A second, slow connection and a timer, beside the one that is busy."""

    EVERY = 0.005
    TIMER = 0.001

    def __init__(self, lib: Any, args: Any, figures: dict[str, Any]) -> None:
        self._loop = asyncio.get_running_loop()
        self._lib, self._args, self._figures = lib, args, figures
        self._echoes: list[float] = []
        self._late: list[float] = []
        self._is_running = True

    async def start(self) -> None:
        this = self

        class Slow(self._lib.WSListener):  # type: ignore[misc, name-defined]
            def on_ws_frame(self, transport: Any, frame: Any) -> None:
                this._echoes.append(time.perf_counter() - this._sent)
                if this._is_running:
                    this._loop.call_later(this.EVERY, this._send)

        self._transport = await connect(self._lib, self._args, Slow, self._figures)
        self._send()
        self._due = time.perf_counter() + self.TIMER
        self._loop.call_later(self.TIMER, self._rings)

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.send(self._lib.WSMsgType.BINARY, bytes(self._args.size))

    def _rings(self) -> None:
        now = time.perf_counter()
        self._late.append(max(0.0, now - self._due))
        if self._is_running:
            self._due = time.perf_counter() + self.TIMER
            self._loop.call_later(self.TIMER, self._rings)

    def stop(self) -> dict[str, float]:
        self._is_running = False
        self._transport.disconnect(False)
        return {**percentiles("other_", self._echoes), **percentiles("timer_", self._late)}


async def receive(lib: Any, args: Any, use: Any) -> None:
    meter = Meter(args.count)
    left, mark = meter.total, meter.count
    binary = lib.WSMsgType.BINARY

    class Receiver(lib.WSListener):  # type: ignore[misc]
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            nonlocal left, mark
            if use is not None:
                use(frame)
            left -= 1
            if left == mark:
                assert frame.payload_size == args.size
                mark = meter.reached()
                if mark < 0:
                    transport.disconnect(False)
                else:
                    transport.send(binary, b"")

    transport = await connect(lib, args, Receiver, meter.figures)
    await transport.wait_disconnected()
    say(meter.figures)


async def sink(lib: Any, args: Any) -> None:
    """Receive frames; nothing is done with them."""
    await receive(lib, args, None)


async def receiver(lib: Any, args: Any) -> None:
    """Receive messages, each as bytes."""
    await receive(lib, args, lambda frame: frame.get_payload_as_bytes())


async def consumer(lib: Any, args: Any) -> None:
    """Receive messages more slowly than they could come: each is hashed."""
    await receive(lib, args, lambda frame: hashlib.md5(frame.get_payload_as_memoryview()).digest())


async def visitors(lib: Any, args: Any) -> None:
    """Connect as a browser would, and stay; a first tenth warms the server up.

    Prints a line after the first connections and after the others, and goes on at one that comes.
    """
    deflate = lib.PermessageDeflate(server_max_window_bits=None, client_max_window_bits=15)
    message = (b'{"channel":"trades","number":1234567890}' * args.size)[: args.size]
    loop = asyncio.get_running_loop()
    transports = []

    class Visitor(lib.WSListener):  # type: ignore[misc]
        def __init__(self) -> None:
            self.echoed = loop.create_future()

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            assert frame.get_payload_as_bytes() == message
            # Compressed both ways.
            assert transport.stats.bytes_sent < args.size
            assert transport.stats.bytes_received < args.size
            self.echoed.set_result(None)

    for connections in (args.connections // 10, args.connections):
        for _ in range(connections):
            transport, visitor = await lib.ws_connect(
                Visitor, url(args), assemble_messages=True, compression=deflate
            )
            assert "permessage-deflate" in transport.response.headers["Sec-WebSocket-Extensions"]
            transports.append(transport)
            if args.count:
                transport.send(lib.WSMsgType.BINARY, message)
                await visitor.echoed
        say(connections)
        await line()


ROLES = {
    "echo": echo,
    "gate": gate,
    "idle": idle,
    "broadcaster": broadcaster,
    "ask": ask,
    "sink": sink,
    "receiver": receiver,
    "consumer": consumer,
    "visitors": visitors,
}
