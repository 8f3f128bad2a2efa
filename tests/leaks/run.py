"""Reference counts, objects, descriptors and memory stay flat; a process for each scenario.

    python tests/leaks/run.py [--rounds 2000] [SCENARIO ...]

The collector is off: whatever is ours must go without it when a connection has ended. (asyncio's
own transports refer to themselves; what they leave is collected before all objects are counted.)
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import picows_c
from picows_c import WSCloseCode, WSListener, WSMsgType, ws_connect, ws_create_server

Scenario = Callable[[int, int], Awaitable[None]]


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


async def connections(rounds: int, port: int) -> None:
    """Open, echo, close in order."""
    for _ in range(rounds):
        transport, _ = await ws_connect(Once, f"ws://127.0.0.1:{port}")
        await transport.wait_disconnected()


async def aborted(rounds: int, port: int) -> None:
    """Open and drop."""
    for _ in range(rounds):
        transport, _ = await ws_connect(Once, f"ws://127.0.0.1:{port}")
        transport.disconnect(False)
        await transport.wait_disconnected()


async def refused(rounds: int, port: int) -> None:
    """Handshakes that get an HTTP answer."""
    for _ in range(rounds):
        with contextlib.suppress(picows_c.WSHandshakeError):
            await ws_connect(Once, f"ws://127.0.0.1:{port}/nowhere")


async def garbage(rounds: int, port: int) -> None:
    """Peers that speak no HTTP, or break the rules after the handshake."""
    request = (
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    for number in range(rounds):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16\x03\x01\x02\x00" if number % 2 else request + b"\xff\xff\xff\xff")
        await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def cancelled(rounds: int, port: int) -> None:
    """ws_connect given up before the answer."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    silent = await asyncio.start_server(hold, "127.0.0.1", 0)
    quiet = silent.sockets[0].getsockname()[1]
    for number in range(rounds):
        task = asyncio.ensure_future(ws_connect(Once, f"ws://127.0.0.1:{quiet}"))
        for _ in range(number % 8):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    silent.close()
    await asyncio.sleep(0)


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


SCENARIOS: dict[str, Scenario] = {
    f.__name__: f for f in (connections, aborted, refused, garbage, cancelled, frames)
}


def figures() -> dict[str, int]:
    """Count what could pile up."""
    ours = sum(1 for o in gc.get_objects() if type(o).__module__.startswith("picows_c"))
    gc.collect()
    return {
        "our objects, uncollected": ours,
        "objects": len(gc.get_objects()),
        "references to WSFrame": sys.getrefcount(picows_c.WSFrame),
        "references to WSTransport": sys.getrefcount(picows_c.WSTransport),
        "references to the core's WSTransport": sys.getrefcount(picows_c._core.WSTransport),
        "descriptors": len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0,
        "KiB": tracemalloc.get_traced_memory()[0] // 1024,
    }


async def settled(descriptors: int) -> None:
    """Let the last connections end on both sides; bounded."""
    for _ in range(200):
        await asyncio.sleep(0.01)
        if not os.path.isdir("/proc/self/fd") or len(os.listdir("/proc/self/fd")) <= descriptors:
            return


async def measure(scenario: Scenario, rounds: int) -> int:
    server = await ws_create_server(
        lambda r: Echo() if r.path == b"/" else None, "127.0.0.1", 0, logger_name="leaks"
    )
    port = server.sockets[0].getsockname()[1]
    # Warm up: caches fill, pools grow. Then the same again must change nothing.
    idle = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    await scenario(max(rounds // 10, 20), port)
    await settled(idle)
    before = figures()
    await scenario(rounds, port)
    await settled(before["descriptors"])
    after = figures()
    server.close()
    leaks = 0
    for what, was in before.items():
        grown = after[what] - was
        # A few of each are the loop's own, a block of 64 KiB may be on its way; a leak is one
        # a round (128 bytes of memory).
        bad = grown > max(160, rounds // 8)
        leaks += bad
        print(f"  {what:38}{was:>9} {grown:>+7}{'  LEAK' if bad else ''}")
    return leaks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        import logging

        logging.disable(logging.CRITICAL)
        gc.collect()
        gc.disable()
        tracemalloc.start(1)
        sys.exit(min(asyncio.run(measure(SCENARIOS[args.inside], args.rounds)), 1))
    failed = []
    for name in args.scenarios or SCENARIOS:
        print(f"{name}: {SCENARIOS[name].__doc__} {args.rounds} rounds", flush=True)
        command = [sys.executable, __file__, "--inside", name, "--rounds", str(args.rounds)]
        if subprocess.run(command, check=False, timeout=900).returncode != 0:
            failed.append(name)
    if failed:
        sys.exit(f"leaks: {', '.join(failed)}")


if __name__ == "__main__":
    main()
