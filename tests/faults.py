"""A TCP proxy that does to a connection what networks do: splits, waits, stalls, cuts, resets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Optional

RESET = struct.pack("ii", 1, 0)


@dataclass
class Fault:
    """What happens to one direction: after so many bytes, in pieces of so many.

    ``what``: None, "cut" (an orderly end), "reset", or "stall" until ``go_on`` is set.
    """

    at: Optional[int] = None
    what: Optional[str] = None
    piece: int = 65536
    # bytes are taken, and go nowhere any more
    mute: bool = False
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)


class FaultyProxy:
    """Carries bytes both ways between whoever connects and a port, with a fault on each."""

    def __init__(self, port: int, to_server: Fault, to_client: Fault) -> None:
        self.target = port
        self.faults = (to_server, to_client)
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._socks: list[socket.socket] = []

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(listening)
            far = socket.socket()
            self._socks += [near, far]
            for sock in (near, far):
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(far, ("127.0.0.1", self.target))
            pair: list[asyncio.Task[None]] = []
            pair.append(self._start(self._carry(near, far, self.faults[0], pair)))
            pair.append(self._start(self._carry(far, near, self.faults[1], pair)))

    def _start(self, coroutine: Any) -> asyncio.Task[None]:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _carry(
        self,
        source: socket.socket,
        sink: socket.socket,
        fault: Fault,
        pair: list[asyncio.Task[None]],
    ) -> None:
        loop = asyncio.get_running_loop()
        carried = 0
        with contextlib.suppress(OSError):
            while True:
                size = fault.piece
                if fault.at is not None and not fault.go_on.is_set():
                    size = min(size, fault.at - carried)
                if size == 0:
                    fault.reached.set()
                    if fault.what == "stall":
                        await fault.go_on.wait()
                        continue
                    # Nobody may wait for a socket that is closed.
                    others = [task for task in pair if task is not asyncio.current_task()]
                    for task in others:
                        task.cancel()
                    await asyncio.gather(*others, return_exceptions=True)
                    self._end(source, sink, fault.what == "reset")
                    return
                data = await loop.sock_recv(source, size)
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                if fault.mute:
                    fault.reached.set()
                    continue
                await loop.sock_sendall(sink, data)
                carried += len(data)
                if size < 100:
                    await asyncio.sleep(0)  # a segment of its own

    @staticmethod
    def _end(source: socket.socket, sink: socket.socket, reset: bool) -> None:
        for sock in (source, sink):
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                sock.close()
            else:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sock in self._socks:
            sock.close()


@contextlib.asynccontextmanager
async def faulty(
    net: Any, to_server: Optional[Fault] = None, to_client: Optional[Fault] = None
) -> AsyncIterator[FaultyProxy]:
    """Stand between a Net and its server: whoever connects by the Net comes through us."""
    proxy = FaultyProxy(net.port, to_server or Fault(), to_client or Fault())
    listening = socket.create_server(("127.0.0.1", 0), backlog=100)
    listening.setblocking(False)
    net.port = listening.getsockname()[1]
    proxy._start(proxy._accept(listening))
    try:
        yield proxy
    finally:
        net.port = proxy.target
        await proxy.close()
        listening.close()
