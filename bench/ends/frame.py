"""Frames that are ready to be sent (RFC 6455, 5.2)."""

from __future__ import annotations


def frame_of(payload: bytes, first: int = 0x82, key: bytes = b"") -> bytes:
    """Return a frame, with a mask where there is a key; ``first`` is its first byte."""
    n, bit = len(payload), 0x80 if key else 0
    if n < 126:
        head = bytes([first, bit | n])
    elif n < 65536:
        head = bytes([first, bit | 126]) + n.to_bytes(2, "big")
    else:
        head = bytes([first, bit | 127]) + n.to_bytes(8, "big")
    if not key:
        return head + payload
    keys = (key * (n // 4 + 1))[:n]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")
    return head + key + mixed.to_bytes(n, "big")
