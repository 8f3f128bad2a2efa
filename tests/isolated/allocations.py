"""Counts what 10,000 frames allocate, in and out; see test_allocations.py.

counting.c, compiled, is preloaded and can be imported. Prints a line of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import socket
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [sys.argv[1], str(Path(__file__).resolve().parent.parent)]

import counting  # noqa: E402
from wire import accept_for, client_frame, frame_bytes, request_bytes  # noqa: E402

from picows_c import WSListener, WSMsgType, poller, ws_connect, ws_create_server  # noqa: E402

COUNT = 10_000
SIZES = [0, 125, 126, 65_536]
BINARY = 2
# How much is under way at a time: it has to fit into the sockets' buffers.
PIECE = 128 * 1024

begin, end, take = counting.begin, counting.end, counting.take
found: dict[str, Any] = {}


class Quiet(WSListener):
    """Keeps nothing."""

    transport: Any = None

    def on_ws_connected(self, transport: Any) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        pass


def receive(name: str, raw: socket.socket, ours: Any, of: Any, frame: bytes, each: int = 1) -> None:
    """Feed frames; what is counted is the poller's turn, from recv() to the callback."""
    # The second one is for a socket that the loop watches itself.
    turn, turn_direct = of._turn, of._turn_direct
    data = frame * each
    got = before = ours.stats.frames_received
    warm = COUNT // 10
    while got - before < COUNT + warm:
        raw.sendall(data)
        wanted = got + each
        while got < wanted:
            if got - before >= warm:
                begin()
                turn()
                turn_direct()
                end()
            else:
                turn()
                turn_direct()
            got = ours.stats.frames_received
        if got - before <= warm:
            take()
    found[name] = take()


def send(name: str, raw: socket.socket, ours: Any, size: int, corked: bool) -> None:
    """Send the same bytes again and again; each piece is read before the next one is sent."""
    each = max(1, PIECE // (size + 14) // 2)
    data, into = bytes(size), bytearray(PIECE)
    call, kind = ours.send, WSMsgType.BINARY
    cork, uncork = ours._cork, ours._uncork
    for number in range(COUNT // each + 2):
        before = ours.stats.bytes_sent
        times = itertools.repeat(None, each)
        begin()
        if corked:
            cork()
        for _ in times:
            call(kind, data)
        if corked:
            uncork()
        end()
        left = ours.stats.bytes_sent - before
        while left > 0:
            left -= raw.recv_into(into)
        if number == 0:
            take()
    assert ours.write_buffer_size == 0
    found[name] = take()


def measure(role: str, raw: socket.socket, ours: Any, of: Any) -> None:
    raw.setblocking(True)
    gc.collect()
    gc.disable()
    make: Any = client_frame if role == "server" else frame_bytes
    options = {"mask": b"\x01\x02\x03\x04"} if role == "server" else {}
    for size in SIZES:
        frame = make(BINARY, bytes(size), **options)
        at_once = 1 if size > 1000 else 20
        receive(f"{role} receives {size}", raw, ours, of, frame, at_once)
        for corked in (False, True):
            send(f"{role} sends {size}{', corked' if corked else ''}", raw, ours, size, corked)
    # More than a turn takes.
    frame = make(BINARY, b"", **options)
    receive(f"{role} receives a flood", raw, ours, of, frame, 1000)
    gc.enable()


async def as_server() -> None:
    listener = Quiet()
    server = await ws_create_server(lambda request: listener, "127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    raw = socket.socket()
    raw.setblocking(False)
    await loop.sock_connect(raw, server.sockets[0].getsockname())
    await loop.sock_sendall(raw, request_bytes())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += await loop.sock_recv(raw, 1)
    measure("server", raw, listener.transport, poller.poller_of(loop))
    raw.close()
    await listener.transport.wait_disconnected()
    server.close()


async def as_client() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        port = listening.getsockname()[1]
        connecting = asyncio.ensure_future(ws_connect(Quiet, f"ws://127.0.0.1:{port}/"))
        raw, _ = await loop.sock_accept(listening)
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        request += await loop.sock_recv(raw, 1)
    lines = request.decode().split("\r\n")
    key = next(line[18:].strip() for line in lines if line.lower().startswith("sec-websocket-key"))
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    answer = f"{head}Sec-WebSocket-Accept: {accept_for(key)}\r\n\r\n"
    await loop.sock_sendall(raw, answer.encode())
    transport, _ = await connecting
    measure("client", raw, transport, poller.poller_of(loop))
    raw.close()
    await transport.wait_disconnected()


def main() -> None:
    begin()
    end()
    found["nothing"] = take()
    begin()
    kept = [bytes(1000), bytearray(100_000)]
    end()
    found["something"] = take()
    del kept
    asyncio.run(as_server())
    asyncio.run(as_client())
    print(json.dumps(found))


if __name__ == "__main__":
    main()
