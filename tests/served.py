"""A server of ours on the running loop, and raw peers on the same thread."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from typing import Any

from helpers import Recorder, client_frame, request_bytes

from picows_c import WSListener

EMPTY_FRAME = client_frame(2, mask=b"\1\2\3\4")  # 6 bytes
RESET = struct.pack("ii", 1, 0)
# Of one core. Spinning takes all of it, waiting next to nothing.
IDLE = 0.2

_raw: list[socket.socket] = []


class Count(WSListener):
    """Counts frames."""

    def __init__(self) -> None:
        self.frames = 0
        self.transport: Any = None
        self.connected = asyncio.Event()
        self.disconnected = asyncio.Event()

    def on_ws_connected(self, transport):
        self.transport = transport
        self.connected.set()

    def on_ws_frame(self, transport, frame):
        self.frames += 1

    def on_ws_disconnected(self, transport):
        self.disconnected.set()


class Served:
    """A listener factory that keeps its listeners, and a raw peer for each."""

    def __init__(self, make=Recorder):
        self.make = make
        self.listeners: list[Any] = []

    def __call__(self, request):
        listener = self.make()
        self.listeners.append(listener)
        return listener

    async def raw(self, net, glued=b""):
        """Open a raw connection, the handshake done; returns its socket and our listener."""
        sock = raw_open(net.port, glued)
        n = len(self.listeners)
        while len(self.listeners) == n:
            await asyncio.sleep(0)
        listener = self.listeners[n]
        await listener.connected.wait()
        raw_head(sock)
        return sock, listener


def close_later(sock):
    """Have a socket closed when the test is over."""
    _raw.append(sock)
    return sock


def close_raw_sockets():
    while _raw:
        _raw.pop().close()


def raw_open(port, glued=b"", path="/"):
    sock = close_later(socket.create_connection(("127.0.0.1", port), timeout=10))
    sock.sendall(request_bytes(path) + glued)
    return sock


def raw_head(sock):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    return head


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


def stream_of(transport):
    return transport.underlying_transport


def descriptors():
    return sorted(int(fd) for fd in os.listdir("/proc/self/fd"))


async def until(condition, turns=100_000):
    for _ in range(turns):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came true")


async def share_of_a_core(seconds=0.3):
    """Return how busy this process is while the loop has nothing to do."""
    await asyncio.sleep(0.02)  # what was to be done once has been done
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    return (time.process_time() - cpu) / (time.perf_counter() - wall)
