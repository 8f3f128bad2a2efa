"""Ctrl-C, again and again, in one phase of a connection; afterwards all is well.

Says "ready" when the phase is reached, "interrupted" after each KeyboardInterrupt, and "ok".
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conftest import new_loop
from helpers import EchoListener, Recorder

from picows_c import WSListener, WSMsgType, ws_connect, ws_create_server

PHASE, KIND, WAY, FOLDER = sys.argv[1:5]
ROUNDS = int(sys.argv[5])


def ready() -> None:
    """Ask for the signal; it may come at any time from now on."""
    print("ready", flush=True)


class Flooding(Recorder):
    """Sends what it gets, for ever."""

    def on_ws_connected(self, transport: Any) -> None:
        ready()
        for size in (0, 100, 100_000):
            transport.send(WSMsgType.BINARY, bytes(size))

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        transport.send(WSMsgType.BINARY, frame)

    def pause_writing(self) -> None:
        """Say nothing of it."""

    resume_writing = pause_writing


class Deaf(WSListener):
    """Never answers a CLOSE: its reading is paused."""

    def on_ws_connected(self, transport: Any) -> None:
        transport.pause_reading()


def context() -> ssl.SSLContext:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(Path(FOLDER) / "ca.pem")
    return client


async def serving(listener: Any = EchoListener) -> str:
    server = await ws_create_server(lambda r: listener(), "127.0.0.1", 0, transport=WAY)
    return f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@contextlib.contextmanager
def silent() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@contextlib.contextmanager
def full() -> Iterator[socket.socket]:
    """A listening socket that takes no more: the next connection is not answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        peers = [socket.socket() for _ in range(4)]
        for peer in peers:
            peer.setblocking(False)
            peer.connect_ex(listening.getsockname())
        yield listening
        for peer in peers:
            peer.close()


async def opening(url: str, **options: Any) -> None:
    asyncio.get_running_loop().call_later(0.05, ready)
    await ws_connect(WSListener, url, transport=WAY, open_timeout=None, **options)


async def phase() -> None:
    """Reach the phase, say so, and stay there."""
    if PHASE == "connecting":
        with full() as listening:
            await opening(f"ws://127.0.0.1:{listening.getsockname()[1]}/")
    elif PHASE == "tls":
        with silent() as listening:
            port = listening.getsockname()[1]
            await opening(f"wss://127.0.0.1:{port}/", ssl_context=context())
    elif PHASE == "http":
        with silent() as listening:
            port = listening.getsockname()[1]
            await opening(f"ws://127.0.0.1:{port}/", websocket_handshake_timeout=None)
    elif PHASE == "serving":
        await serving()
        ready()
        await asyncio.Event().wait()
    elif PHASE in ("idle", "busy idle"):
        busy = 1.0 if PHASE == "busy idle" else 0.0
        client, listener = await ws_connect(
            Recorder, await serving(), transport=WAY, busy_poll=busy
        )
        client.send(WSMsgType.TEXT, "x")
        await listener.frames.get()
        ready()
        await client.wait_disconnected()
    elif PHASE in ("flood", "busy flood"):
        busy = 1.0 if PHASE == "busy flood" else 0.0
        client, _ = await ws_connect(Flooding, await serving(), transport=WAY, busy_poll=busy)
        await client.wait_disconnected()
    elif PHASE == "closing":
        client, _ = await ws_connect(
            WSListener, await serving(Deaf), transport=WAY, close_timeout=None
        )
        client.send_close(1000)
        client.send_ping()  # after a CLOSE nothing is sent
        ready()
        await client.wait_disconnected()
    else:
        raise AssertionError(PHASE)


async def still_works() -> None:
    client, listener = await ws_connect(Recorder, await serving(), transport=WAY)
    client.send(WSMsgType.TEXT, "still")
    assert bytes(await listener.frames.get()) == b"still"
    client.disconnect()
    await client.wait_disconnected()


def run(main: Any) -> None:
    """Run as asyncio.run() did before CPython 3.11: the signal strikes wherever Python runs."""
    loop = new_loop(KIND)
    loop.set_exception_handler(lambda _loop, _context: None)  # of tasks that were interrupted
    asyncio.set_event_loop(loop)
    # A signal just before the system call of an asyncio loop would not end the call.
    woken, waking = socket.socketpair()
    if KIND == "asyncio":
        woken.setblocking(False)
        waking.setblocking(False)
        loop.add_reader(woken, woken.recv, 100)
        signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
    try:
        loop.run_until_complete(main)
    finally:
        # Another signal may have been sent; none may strike what follows.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if KIND == "asyncio":
            signal.set_wakeup_fd(-1)
            loop.remove_reader(woken)
        woken.close()
        waking.close()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()


def descriptors() -> int:
    gc.collect()
    gc.collect()
    return len(os.listdir("/dev/fd"))


def main() -> None:
    if WAY == "loop":
        # A signal within asyncio's write() may tear a frame, and the peer complains of it.
        logging.disable(logging.CRITICAL)
    run(still_works())
    before = descriptors()
    for _ in range(ROUNDS):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            run(phase())
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        else:
            raise AssertionError("it ended by itself")
        run(still_works())
    assert descriptors() == before, (before, os.listdir("/dev/fd"))
    assert threading.active_count() == 1, threading.enumerate()
    print("ok", flush=True)


main()
