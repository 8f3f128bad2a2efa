"""One process of a benchmark: a server or a client of one library.

The API of picows and picows_c is the same, so the same code measures both; what websockets and
aiohttp do has functions of its own. Prints the port (a server), then one line of JSON with the
figures.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import json
import os
import ssl
import sys
import time
from typing import Any, Optional


def figures(count: int, began: float, times: os.times_result) -> dict[str, float]:
    """Rate and CPU for each of ``count`` messages since ``began`` and ``times``."""
    seconds = time.perf_counter() - began
    now = os.times()
    return {
        "rate": count / seconds,
        "user_us": (now.user - times.user) / count * 1e6,
        "system_us": (now.system - times.system) / count * 1e6,
    }


async def serve(lib: Any, args: argparse.Namespace) -> None:
    """Echo; measured from the first message until ``args.count`` were echoed."""
    done = asyncio.get_running_loop().create_future()
    total = args.count + args.count // 10
    count = 0
    began, times = 0.0, os.times()

    class Server(lib.WSListener):  # type: ignore[misc, name-defined]
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            nonlocal count, began, times
            if frame.msg_type == lib.WSMsgType.CLOSE:
                transport.disconnect()
                return
            count += 1
            if count == total - args.count:
                began, times = time.perf_counter(), os.times()
            elif count == total:
                done.set_result(figures(args.count, began, times))
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())

    server = await lib.ws_create_server(
        lambda request: Server(), "127.0.0.1", 0, ssl=server_context(args), **args.options
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    print(json.dumps(await done), flush=True)
    # The client ends, and its connections with it.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


async def source(lib: Any, args: argparse.Namespace) -> None:
    """Stream ready-made frames to whoever connects, as fast as they are taken."""
    done = asyncio.get_running_loop().create_future()
    total = args.count + args.count // 10
    frame = bytes([0x82, args.size]) + bytes(args.size)
    assert args.size < 126

    class Source(lib.WSListener):  # type: ignore[misc, name-defined]
        def on_ws_connected(self, transport: Any) -> None:
            self.transport, self.left = transport, total
            self.resume_writing()

        def pause_writing(self) -> None:
            self.paused = True

        def resume_writing(self) -> None:
            self.paused = False
            while self.left and not self.paused:
                n = min(self.left, 4096)
                self.left -= n
                self.transport.underlying_transport.write(frame * n)

        def on_ws_disconnected(self, transport: Any) -> None:
            done.set_result(None)

    server = await lib.ws_create_server(lambda r: Source(), "127.0.0.1", 0, **args.options)
    print(server.sockets[0].getsockname()[1], flush=True)
    await done
    server.close()
    print("{}", flush=True)


async def sink(lib: Any, args: argparse.Namespace) -> None:
    """Receive a stream of frames."""
    result: dict[str, float] = {}

    class Sink(lib.WSListener):  # type: ignore[misc, name-defined]
        def on_ws_connected(self, transport: Any) -> None:
            self.left = args.count + args.count // 10

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            self.left -= 1
            if self.left == args.count:
                self.began, self.times = time.perf_counter(), os.times()
            elif self.left == 0:
                result.update(figures(args.count, self.began, self.times))
                transport.disconnect(False)

    transport, _ = await lib.ws_connect(Sink, f"ws://127.0.0.1:{args.port}", **args.options)
    await transport.wait_disconnected()
    print(json.dumps(result), flush=True)


class Stream:
    """What a receiver of args.count messages, and some before them, notes."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.result: dict[str, float] = {}
        self._left = args.count + args.count // 10
        self._count = args.count

    def got(self, message: bytes) -> bool:
        """Count a message; return whether it was the last one."""
        self._left -= 1
        if self._left == self._count:
            self._began, self._times = time.perf_counter(), os.times()
        elif self._left == 0:
            self.result = figures(self._count, self._began, self._times)
        return self._left == 0


async def receive(lib: Any, args: argparse.Namespace) -> None:
    """Receive a stream of messages, each as bytes."""
    stream = Stream(args)

    class Receiver(lib.WSListener):  # type: ignore[misc, name-defined]
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if stream.got(frame.get_payload_as_bytes()):
                transport.disconnect(False)

    transport, _ = await lib.ws_connect(Receiver, f"ws://127.0.0.1:{args.port}", **args.options)
    await transport.wait_disconnected()
    print(json.dumps(stream.result), flush=True)


async def receive_websockets(lib: Any, args: argparse.Namespace) -> None:
    stream = Stream(args)
    connection = await lib.connect(f"ws://127.0.0.1:{args.port}", **args.options)
    while not stream.got(await connection.recv()):
        pass
    print(json.dumps(stream.result), flush=True)
    connection.transport.abort()


def resident() -> int:
    """Return the bytes of this process that are in memory (Linux)."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def weigh(port: int) -> None:
    """Print the port, and the memory for each line that comes, until the process is killed."""
    print(port, flush=True)
    loop = asyncio.get_running_loop()
    while True:
        await loop.run_in_executor(None, sys.stdin.readline)
        gc.collect()
        print(json.dumps(resident()), flush=True)


async def idle(lib: Any, args: argparse.Namespace) -> None:
    """Echo, and say how much memory the process has."""

    class Server(lib.WSListener):  # type: ignore[misc, name-defined]
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())

    server = await lib.ws_create_server(lambda r: Server(), "127.0.0.1", 0, **args.options)
    await weigh(server.sockets[0].getsockname()[1])


async def idle_websockets(lib: Any, args: argparse.Namespace) -> None:
    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(message)

    server = await lib.serve(echo, "127.0.0.1", 0, **args.options)
    await weigh(next(iter(server.sockets)).getsockname()[1])


async def idle_aiohttp(lib: Any, args: argparse.Namespace) -> None:
    web = importlib.import_module("aiohttp.web")

    async def echo(request: Any) -> Any:
        websocket = web.WebSocketResponse(**args.options)
        await websocket.prepare(request)
        async for message in websocket:
            await websocket.send_bytes(message.data)
        return websocket

    application = web.Application()
    application.router.add_get("/", echo)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await weigh(runner.addresses[0][1])


async def visit(lib: Any, args: argparse.Namespace) -> None:
    """Connect as a browser would, and stay; a first tenth warms the server up.

    Prints a line after the first connections and after the others, and goes on at one that comes.
    """
    deflate = lib.PermessageDeflate(server_max_window_bits=None, client_max_window_bits=15)
    message = (b'{"channel":"trades","number":1234567890}' * args.size)[: args.size]
    loop = asyncio.get_running_loop()
    transports = []

    class Visitor(lib.WSListener):  # type: ignore[misc, name-defined]
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
                Visitor,
                f"ws://127.0.0.1:{args.port}/",
                assemble_messages=True,
                compression=deflate,
            )
            assert "permessage-deflate" in transport.response.headers["Sec-WebSocket-Extensions"]
            transports.append(transport)
            if args.count:
                transport.send(lib.WSMsgType.BINARY, message)
                await visitor.echoed
        print(connections, flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)


async def ask(lib: Any, args: argparse.Namespace) -> None:
    """Keep one message in flight on each of ``args.connections`` connections."""
    message = bytes(args.size)
    left = args.count + args.count // 10
    began, times = 0.0, os.times()
    done = asyncio.get_running_loop().create_future()

    class Client(lib.WSListener):  # type: ignore[misc, name-defined]
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            nonlocal left, began, times
            left -= 1
            if left == args.count:
                began, times = time.perf_counter(), os.times()
            elif left == 0:
                done.set_result(figures(args.count, began, times))
            if left > 0:
                transport.send(lib.WSMsgType.BINARY, message)

    scheme = "wss" if args.cert else "ws"
    transports = []
    for _ in range(args.connections):
        transport, _ = await lib.ws_connect(
            Client,
            f"{scheme}://127.0.0.1:{args.port}",
            ssl_context=client_context(args),
            **args.options,
        )
        transports.append(transport)
    for transport in transports:
        transport.send(lib.WSMsgType.BINARY, message)
    result = await done
    for transport in transports:
        transport.disconnect(False)
    print(json.dumps(result), flush=True)


def server_context(args: argparse.Namespace) -> Optional[ssl.SSLContext]:
    if not args.cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(args.cert, args.key)
    return context


def client_context(args: argparse.Namespace) -> Optional[ssl.SSLContext]:
    if not args.cert:
        return None
    return ssl.create_default_context(cafile=args.cert)


ROLES = {
    "server": serve,
    "client": ask,
    "source": source,
    "sink": sink,
    "receiver": receive,
    "idle": idle,
    "visitors": visit,
}
# Where a library has an API of its own.
OTHERS = {
    ("receiver", "websockets"): receive_websockets,
    ("idle", "websockets"): idle_websockets,
    ("idle", "aiohttp"): idle_aiohttp,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("library")
    parser.add_argument("loop", choices=["asyncio", "uvloop"])
    parser.add_argument("--options", type=json.loads, default={})
    parser.add_argument("--port", type=int)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--cert", default="")
    parser.add_argument("--key", default="")
    args = parser.parse_args()
    role = OTHERS.get((args.role, args.library), ROLES[args.role])
    work = role(importlib.import_module(args.library), args)
    if args.loop == "uvloop":
        uvloop = importlib.import_module("uvloop")
        uvloop.run(work)
    else:
        asyncio.run(work)


if __name__ == "__main__":
    # The script's folder must not shadow a library.
    sys.path = [entry for entry in sys.path if entry != os.path.dirname(os.path.abspath(__file__))]
    main()
