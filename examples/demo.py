"""A server and a client, each in a process of its own, talk; then 100,000 echoes are timed.

Run it with ``make demo``, or ``python examples/demo.py [--messages N]``.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Coroutine
from typing import Any, Optional

from picows_c import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_connect,
    ws_create_server,
)


def say(who: str, what: str) -> None:
    print(f"{who}: {what}", flush=True)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where it is installed."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


# ---- the server's process ----


class EchoServer(WSListener):
    """Answers each message with itself."""

    def __init__(self) -> None:
        self.talks = True

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            say("server", f"heard {frame.get_payload_as_utf8_text()!r}")
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())


async def serve() -> None:
    def listener_factory(request: WSUpgradeRequest) -> Optional[WSListener]:
        return EchoServer() if request.path == b"/echo" else None

    server = await ws_create_server(listener_factory, "127.0.0.1", 0, assemble_messages=True)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        # The parent closes our standard input when it has had enough.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


# ---- the client's process ----


class EchoClient(WSListener):
    """Says something, then sends the same message again and again."""

    def __init__(self, messages: int) -> None:
        self.left = self.messages = messages
        self.began = 0.0
        self.cpu = 0.0

    def on_ws_connected(self, transport: WSTransport) -> None:
        say("client", "connected; saying 'Hello world'")
        transport.send(WSMsgType.TEXT, "Hello world")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            say("client", f"echo reply {frame.get_payload_as_utf8_text()!r}")
            say("client", f"now {self.messages:,} echoes of 256 bytes, one after the other")
            self.began, self.cpu = time.perf_counter(), time.process_time()
            transport.send(WSMsgType.BINARY, bytes(256))
        elif frame.msg_type == WSMsgType.BINARY:
            self.left -= 1
            if self.left and self.left % (self.messages // 10 or 1) == 0:
                print(f"  {100 - 100 * self.left // self.messages} %", end="\r", flush=True)
            if self.left:
                transport.send(WSMsgType.BINARY, frame)
                return
            seconds = time.perf_counter() - self.began
            cpu = (time.process_time() - self.cpu) / self.messages
            rate = self.messages / seconds
            say("client", f"{self.messages:,} echoes in {seconds:.2f} s: {rate:,.0f} a second,")
            say("client", f"{cpu * 1e6:.1f} microseconds of this process's CPU for each round trip")
            transport.send_close(WSCloseCode.OK, "thanks")
        elif frame.msg_type == WSMsgType.CLOSE:
            say("client", f"closed with {frame.get_close_code().name}")


async def talk(port: int, messages: int) -> None:
    url = f"ws://127.0.0.1:{port}/echo"
    transport, _ = await ws_connect(lambda: EchoClient(messages), url, assemble_messages=True)
    await transport.wait_disconnected()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--role", choices=["server", "client"], help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "server":
        run(serve())
        return
    if options.role == "client":
        run(talk(options.port, options.messages))
        return

    here = [sys.executable, __file__, "--messages", str(options.messages)]
    server = subprocess.Popen(
        [*here, "--role", "server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        port = server.stdout.readline().strip()
        client = subprocess.run([*here, "--role", "client", "--port", port], check=False)
        server.stdin.close()
        for line in server.stdout:
            print(line, end="")
        server.wait(timeout=10)
    finally:
        server.kill()
        server.wait()
    sys.exit(client.returncode)


if __name__ == "__main__":
    main()
