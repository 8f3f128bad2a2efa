"""Listeners and raw frames for the tests."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import struct
from typing import Any, Optional

from picows_c import WSFrame, WSListener, WSMsgType, WSTransport

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


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


def frame_bytes(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: Optional[bytes] = None,
    length: Optional[int] = None,
    length_size: Optional[int] = None,
) -> bytes:
    """Build a frame by hand; length and length_size (0, 2, 8) may lie."""
    n = len(payload) if length is None else length
    if length_size is None:
        length_size = 0 if n < 126 else 2 if n < 65536 else 8
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit = 0x80 if mask is not None else 0
    if length_size == 0:
        head = struct.pack("!BB", first, bit | n)
    elif length_size == 2:
        head = struct.pack("!BBH", first, bit | 126, n)
    else:
        head = struct.pack("!BBQ", first, bit | 127, n)
    if mask is None:
        return head + payload
    return head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def client_frame(opcode: int, payload: bytes = b"", **options: Any) -> bytes:
    """Build a masked frame, as a client sends it."""
    options.setdefault("mask", os.urandom(4))
    return frame_bytes(opcode, payload, **options)


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bool, bytes, bool]:
    """Read one frame: opcode, fin, unmasked payload, masked."""
    first, second = await reader.readexactly(2)
    n = second & 0x7F
    if n == 126:
        (n,) = struct.unpack("!H", await reader.readexactly(2))
    elif n == 127:
        (n,) = struct.unpack("!Q", await reader.readexactly(8))
    masked = bool(second & 0x80)
    key = await reader.readexactly(4) if masked else b"\0\0\0\0"
    payload = await reader.readexactly(n)
    payload = bytes(b ^ key[i % 4] for i, b in enumerate(payload))
    return first & 0x0F, bool(first & 0x80), payload, masked


def request_bytes(path: str = "/", drop: tuple[str, ...] = (), **replace: str) -> bytes:
    """Build an upgrade request; keyword names replace headers (- as _), drop leaves them out."""
    headers = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    for name, value in replace.items():
        headers[name.replace("_", "-")] = value
    lines = [f"GET {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items() if name not in drop]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def accept_for(key: str) -> str:
    digest = hashlib.sha1(key.encode() + GUID).digest()
    return base64.b64encode(digest).decode()


async def read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    """Read an HTTP head: its first line, and its headers in lower case."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head[:-4].split("\r\n")
    return first, {k.strip().lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}
