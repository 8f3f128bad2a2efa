"""The bytes of RFC 6455 by hand, without a library."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import struct
from typing import Any, Optional

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def xor(payload: bytes, key: bytes) -> bytes:
    """Mask or unmask, in one go."""
    n = len(payload)
    keys = (key * (n // 4 + 1))[:n]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")).to_bytes(n, "big")


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
    return head + mask + xor(payload, mask)


def client_frame(opcode: int, payload: bytes = b"", **options: Any) -> bytes:
    """Build a masked frame, as a client sends it."""
    options.setdefault("mask", os.urandom(4))
    return frame_bytes(opcode, payload, **options)


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bool, bytes, bool]:
    """Read one frame: opcode, fin, unmasked payload, masked."""
    first, payload, masked = await read_any_frame(reader)
    return first & 0x0F, bool(first & 0x80), payload, masked


async def read_any_frame(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Read one frame: its first byte, unmasked payload, masked."""
    first, second = await reader.readexactly(2)
    n = second & 0x7F
    if n == 126:
        (n,) = struct.unpack("!H", await reader.readexactly(2))
    elif n == 127:
        (n,) = struct.unpack("!Q", await reader.readexactly(8))
    masked = bool(second & 0x80)
    key = await reader.readexactly(4) if masked else b"\0\0\0\0"
    payload = await reader.readexactly(n)
    return first, xor(payload, key), masked


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
