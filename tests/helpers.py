"""Listeners and raw frames for the tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from typing import Any, Optional

import pytest
from wire import accept_for, client_frame, frame_bytes, read_frame, read_head, request_bytes

from picows_c import WSFrame, WSListener, WSMsgType, WSTransport
from picows_c.poller import has_poller

__all__ = [
    "EchoListener",
    "Recorder",
    "accept_for",
    "client_frame",
    "frame_bytes",
    "needs_poller",
    "read_frame",
    "read_head",
    "request_bytes",
    "without_descriptors",
]


needs_poller = pytest.mark.skipif(not has_poller(), reason="there is no poller on this system")


@contextlib.contextmanager
def without_descriptors() -> Iterator[None]:
    """Take every descriptor that this process may have, and give them back."""
    taken = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for fd in taken:
            os.close(fd)


class EchoListener(WSListener):
    """Answers each data frame with itself."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            transport.send(frame.msg_type, frame.get_payload_as_memoryview(), frame.fin)


class Recorder(WSListener):
    """Keeps every frame in a queue, and what else happened in a list of names."""

    def __init__(self, *_: Any) -> None:
        self.frames: asyncio.Queue[WSFrame] = asyncio.Queue()
        self.events: list[str] = []
        self.transport: Optional[WSTransport] = None
        self.connected = asyncio.Event()
        self.disconnected = asyncio.Event()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self.events.append("connected")
        self.connected.set()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.events.append(frame.msg_type.name)
        self.frames.put_nowait(frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.events.append("disconnected")
        self.disconnected.set()
