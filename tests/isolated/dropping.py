"""A callback stops the loop, which is then closed or just dropped, with all that it had."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import warnings
import weakref
from typing import Any

from conftest import new_loop
from helpers import EchoListener

from picows_c import WSListener, WSMsgType, ws_connect, ws_create_server

KIND, WAY = sys.argv[1:3]
CALLBACKS = [
    "on_ws_connected", "on_ws_frame", "on_ws_disconnected", "on_ws_error", "pause_writing",
    "resume_writing", "send_user_specific_ping", "is_user_specific_pong", "factory",
]  # fmt: skip
MIB = 1 << 20


class Stopping(WSListener):
    """Drops everything of its own in one callback, and stops the loop."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.transport: Any = None

    def act(self, where: str) -> None:
        if where == self.where:
            asyncio.get_running_loop().stop()
            self.transport = None
            held.clear()
            gc.collect()

    def on_ws_connected(self, transport: Any) -> None:
        self.transport = transport
        self.act("on_ws_connected")
        transport.send(WSMsgType.TEXT, "x")

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        self.act("on_ws_frame")
        if self.where == "on_ws_disconnected":
            transport.disconnect(False)
        elif self.where == "on_ws_error":
            raise ValueError("for on_ws_error")
        elif self.where.endswith("writing") and frame.msg_type == WSMsgType.TEXT:
            for _ in range(12):
                transport.send(WSMsgType.BINARY, bytes(MIB))
        elif "specific" in self.where:
            held.append(asyncio.ensure_future(transport.measure_roundtrip_time(1)))

    def on_ws_disconnected(self, transport: Any) -> None:
        self.act("on_ws_disconnected")

    def on_ws_error(self, transport: Any, exc: Any, where: Any) -> None:
        self.act("on_ws_error")

    def pause_writing(self) -> None:
        self.act("pause_writing")

    def resume_writing(self) -> None:
        self.act("resume_writing")

    def send_user_specific_ping(self, transport: Any) -> None:
        self.act("send_user_specific_ping")
        transport.send_ping()

    def is_user_specific_pong(self, frame: Any) -> bool:
        self.act("is_user_specific_pong")
        return frame.msg_type == WSMsgType.PONG


held: list[Any] = []


class Quiet(EchoListener):
    def pause_writing(self) -> None:
        """Say nothing of it."""

    resume_writing = pause_writing


async def begin(where: str, side: str) -> None:
    def factory(request: Any) -> Any:
        if where == "factory":
            asyncio.get_running_loop().stop()
            held.clear()
        return Stopping(where) if side == "server" else Quiet()

    server = await ws_create_server(factory, "127.0.0.1", 0, transport=WAY)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    make = Quiet if side == "server" else lambda: Stopping(where)
    held.append(server)
    held.append(asyncio.ensure_future(ws_connect(make, url, transport=WAY)))
    if side == "server":
        # An echo would come back for ever; a text starts what the server's side has to do.
        transport, _ = await ws_connect(Quiet, url, transport=WAY)
        transport.send(WSMsgType.TEXT, "x")


def one(where: str, side: str, closes: bool) -> Any:
    held.clear()
    loop = new_loop(KIND)
    loop.set_exception_handler(lambda _loop, _context: None)  # of tasks that never ended
    task = loop.create_task(begin(where, side))
    watchdog = loop.call_later(60, os.abort)
    loop.run_forever()
    watchdog.cancel()
    del task
    held.clear()
    if closes:
        loop.close()
    return weakref.ref(loop)


def descriptors() -> int:
    for _ in range(3):
        gc.collect()
    return len(os.listdir("/dev/fd"))


warnings.simplefilter("ignore", ResourceWarning)
one("on_ws_frame", "client", True)
before = descriptors()
for where in CALLBACKS:
    for side in ("client", "server"):
        # uvloop leaks its own handles when it is dropped with anything pending.
        for closes in (True, False) if KIND == "asyncio" else (True,):
            ref = one(where, side, closes)
            assert descriptors() <= before, (where, side, closes, os.listdir("/dev/fd"))
            assert ref() is None, (where, side, closes, gc.get_referrers(ref()))
print("ok")
