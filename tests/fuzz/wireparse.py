"""A strict reader of what one endpoint sent (RFC 6455, RFC 7692), independent of the package."""

from __future__ import annotations

import zlib
from typing import NamedTuple, Optional

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
DATA = (CONTINUATION, TEXT, BINARY)


class WireError(AssertionError):
    """The endpoint broke the protocol."""


def must(cond: object, what: str) -> None:
    if not cond:
        raise WireError(what)


class Frame(NamedTuple):
    opcode: int
    payload: bytes
    fin: bool
    rsv1: bool


def unmasked(payload: bytes, key: bytes) -> bytes:
    n = len(payload)
    keys = (key * (n // 4 + 1))[:n]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")).to_bytes(n, "big")


class WireParser:
    """Takes bytes in any pieces; ``frames`` has what was complete, ``rest`` what was not."""

    def __init__(self, from_client: bool, compressed: bool) -> None:
        self.from_client = from_client
        self.compressed = compressed
        self.frames: list[Frame] = []
        self.rest = bytearray()
        self._in_message = False
        self._is_closed = False

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that are complete now."""
        self.rest += data
        begun = len(self.frames)
        while self._frame():
            pass
        return self.frames[begun:]

    def _frame(self) -> bool:
        data = self.rest
        if len(data) < 2:
            return False
        fin, rsv, opcode = data[0] >= 0x80, data[0] >> 4 & 7, data[0] & 15
        masked, n, at = data[1] >= 0x80, data[1] & 0x7F, 2
        if opcode not in (*DATA, CLOSE, PING, PONG):
            raise WireError(f"opcode {opcode}")
        if masked is not self.from_client:
            raise WireError("masked" if masked else "not masked")
        if opcode in (CLOSE, PING, PONG) and (n > 125 or not fin or rsv):
            raise WireError(f"control frame {opcode} with {n} bytes, fin {fin}, rsv {rsv}")
        if n >= 126:
            size = 2 if n == 126 else 8
            if len(data) < at + size:
                return False
            n = int.from_bytes(data[at : at + size], "big")
            at += size
            if n < (126 if size == 2 else 65536) or n >= 1 << 63:
                raise WireError(f"length {n} in {size} bytes")
        key_size = 4 if masked else 0
        if len(data) < at + key_size + n:
            return False
        payload = bytes(data[at + key_size : at + key_size + n])
        if masked:
            payload = unmasked(payload, bytes(data[at : at + 4]))
        del data[: at + key_size + n]
        self._order(opcode, fin, rsv)
        self.frames.append(Frame(opcode, payload, fin, rsv == 4))
        return True

    def _order(self, opcode: int, fin: bool, rsv: int) -> None:
        if self._is_closed and opcode != PONG:
            raise WireError(f"opcode {opcode} behind a CLOSE")
        self._is_closed |= opcode == CLOSE
        if opcode in DATA:
            if (opcode == CONTINUATION) is not self._in_message:
                raise WireError(f"opcode {opcode}, in a message: {self._in_message}")
            if rsv not in ((0, 4) if self.compressed and opcode != CONTINUATION else (0,)):
                raise WireError(f"rsv {rsv}")
            self._in_message = not fin


class Inflater:
    """Messages out of data frames, inflated where they are compressed."""

    def __init__(self, takeover: bool) -> None:
        self.takeover = takeover
        self._context: Optional[zlib._Decompress] = None

    def messages(self, frames: list[Frame]) -> list[tuple[int, bytes]]:
        """Join the complete messages among the frames."""
        done: list[tuple[int, bytes]] = []
        first: Optional[Frame] = None
        parts: list[bytes] = []
        for frame in frames:
            if frame.opcode not in DATA:
                continue
            if frame.opcode != CONTINUATION:
                first, parts = frame, []
            assert first is not None
            parts.append(frame.payload)
            if frame.fin:
                payload = b"".join(parts)
                done.append((first.opcode, self._inflate(payload) if first.rsv1 else payload))
        return done

    def _inflate(self, payload: bytes) -> bytes:
        if self._context is None or not self.takeover:
            self._context = zlib.decompressobj(-15)
        # RFC 7692, 7.2.2: append what the sender removed.
        try:
            return self._context.decompress(payload + b"\0\0\xff\xff")
        except zlib.error as error:
            raise WireError(f"deflate: {error}") from error
