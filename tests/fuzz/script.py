"""The peer of a session: what it sends, valid and not, in pieces, and what it received."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import zlib
from typing import Any, Optional

from wire import accept_for, frame_bytes, read_head, request_bytes
from wireparse import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, WireParser

SIZES = [0, 1, 2, 3, 16, 124, 125, 126, 127, 128, 129, 500, 1000, 4096, 16383, 65535, 65536, 70001]


def payload_of(rng: random.Random, is_text: bool, most: int = 1 << 20) -> bytes:
    n = rng.choice(SIZES) if rng.random() < 0.97 else rng.choice([200_000, 1_000_000])
    n = min(n, most)
    if is_text:
        piece = rng.choice(["a", "text ", "\u00e9", "\u20ac", "\U0001f600", "x\u00e9y"]).encode()
        return piece * (n // len(piece))
    if rng.random() < 0.5:
        return bytes([rng.randrange(256)]) * n
    return rng.randbytes(n)


class Deflater:
    """What the peer compresses its messages with."""

    def __init__(self, bits: int, takeover: bool) -> None:
        self.bits, self.takeover = bits, takeover
        self._context: Any = None

    def __call__(self, payload: bytes) -> bytes:
        if self._context is None or not self.takeover:
            self._context = zlib.compressobj(6, zlib.DEFLATED, -self.bits)
        made = self._context.compress(payload) + self._context.flush(zlib.Z_SYNC_FLUSH)
        return made[:-4]


class Peer:
    """One end of a byte stream, driven by a generator of random numbers."""

    def __init__(self, rng: random.Random, is_client: bool, assembles: bool, note: Any) -> None:
        self.rng = rng
        self.is_client = is_client
        self.assembles = assembles
        self.note = note
        self.reader: Any = None
        self.writer: Any = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.deflater: Optional[Deflater] = None
        self.in_takeover = True
        self.parser = WireParser(not is_client, False)
        # What was sent until the first byte that is not valid: (opcode, payload, fin).
        self.valid: list[tuple[int, bytes, bool]] = []
        self.is_broken = False
        self.close_sent = False
        self.clean_end = False
        self.was_reset = False
        self.is_finishing = False
        self.handshake_is_broken = rng.random() < 0.04
        self._writing = asyncio.Lock()  # one frame at a time

    # ---- the handshake ----

    async def open(self, offer: Optional[str]) -> bool:
        """Shake hands as a client; return whether it was done."""
        if self.handshake_is_broken:
            self.writer.write(self._garbage_head())
            return False
        headers = {"Sec-WebSocket-Extensions": offer} if offer else {}
        request = request_bytes("/", **headers)
        # Frames may be glued to the request.
        glued = b"".join(self.frames_next()) if not offer and self.rng.random() < 0.3 else b""
        await self._write(request + glued)
        first, answer = await read_head(self.reader)
        if not first.startswith("HTTP/1.1 101"):
            return False
        self._agreed(answer.get("sec-websocket-extensions", ""))
        return True

    async def accept(self) -> bool:
        """Shake hands as a server; return whether it was done."""
        _, headers = await read_head(self.reader)
        if self.handshake_is_broken:
            self.writer.write(self._garbage_head())
            return False
        offer = headers.get("sec-websocket-extensions", "")
        agreed = ""
        if "permessage-deflate" in offer and self.rng.random() < 0.8:
            agreed = "permessage-deflate"
            if "server_max_window_bits" in offer:
                agreed += f"; server_max_window_bits={self.rng.choice([9, 10, 12])}"
            for name in ("server_no_context_takeover", "client_no_context_takeover"):
                if name in offer or self.rng.random() < 0.3:
                    agreed += f"; {name}"
        answer = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_for(headers['sec-websocket-key'])}\r\n"
        )
        if agreed:
            answer += f"Sec-WebSocket-Extensions: {agreed}\r\n"
        self._agreed(agreed)
        glued = b"".join(self.frames_next()) if self.rng.random() < 0.3 else b""
        await self._write(answer.encode() + b"\r\n" + glued)
        return True

    def _garbage_head(self) -> bytes:
        return self.rng.choice(
            [
                b"",
                b"\x16\x03\x01\x02\x00",
                b"GET / HTTP/1.1\r\n\r\n",
                b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
                b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + b"a" * 20000,
                self.rng.randbytes(200),
            ]
        )

    def _agreed(self, extensions: str) -> None:
        if "permessage-deflate" not in extensions:
            return
        side, other = ("client", "server") if self.is_client else ("server", "client")
        bits = 15
        for part in extensions.split(";"):
            name, _, value = part.strip().partition("=")
            if name == f"{side}_max_window_bits" and value:
                bits = int(value)
        self.deflater = Deflater(bits, f"{side}_no_context_takeover" not in extensions)
        self.in_takeover = f"{other}_no_context_takeover" not in extensions
        self.parser.compressed = True

    # ---- sending ----

    def frame(self, opcode: int, payload: bytes, **options: Any) -> bytes:
        mask = self.rng.randbytes(4) if self.is_client else None
        return frame_bytes(opcode, payload, **{"mask": mask, **options})

    def frames_next(self) -> list[bytes]:
        """Make one or more valid frames."""
        if self.close_sent:
            return []
        rng, kind = self.rng, self.rng.random()
        if kind < 0.15:
            payload = rng.randbytes(rng.choice([0, 1, 5, 125]))
            return [self.frame(rng.choice([PING, PONG]), payload)]
        is_text = rng.random() < 0.5
        opcode = TEXT if is_text else BINARY
        payload = payload_of(rng, is_text)
        rsv, wire = 0, payload
        if self.deflater is not None and rng.random() < 0.6:
            rsv, wire = 4, self.deflater(payload)
        parts = 1 if rng.random() < 0.7 else rng.randrange(2, 6)
        cuts = sorted(rng.randrange(len(wire) + 1) for _ in range(parts - 1))
        made = []
        for i, (begin, end) in enumerate(zip([0, *cuts], [*cuts, len(wire)])):
            fin = i == parts - 1
            code = CONTINUATION if i else opcode
            made.append(self.frame(code, wire[begin:end], fin=fin, rsv=0 if i else rsv))
            if not self.is_broken and not self.assembles:
                self.valid.append((code, wire[begin:end], fin))
            if not fin and rng.random() < 0.2:
                made.append(self.frame(PING, b"between"))
        if not self.is_broken and self.assembles:
            self.valid.append((opcode, payload, True))
        return made

    def broken_next(self) -> bytes:
        """Make bytes that are not, or no longer, valid."""
        self.is_broken = True
        rng = self.rng
        mask = rng.randbytes(4)
        fine = bytearray(self.frame(BINARY, rng.randbytes(rng.choice([0, 10, 200, 70000]))))
        kind = rng.randrange(12)
        if kind == 0:
            fine[rng.randrange(len(fine))] ^= 1 << rng.randrange(8)
            return bytes(fine)
        if kind == 1:
            return bytes(fine[: rng.randrange(len(fine) + 1)])
        if kind == 2:
            return self.frame(rng.choice([3, 4, 7, 11, 15]), b"x")
        if kind == 3:
            return self.frame(TEXT, b"x", rsv=rng.randrange(1, 8))
        if kind == 4:
            return self.frame(TEXT, b"x", mask=None if self.is_client else mask)
        if kind == 5:
            return self.frame(TEXT, b"x" * 5, length_size=rng.choice([2, 8]))
        if kind == 6:
            return self.frame(BINARY, b"x", length=rng.choice([1 << 40, 1 << 63, (1 << 64) - 1]))
        if kind == 7:
            return self.frame(PING, b"x" * 126)
        if kind == 8:
            return self.frame(PING, b"", fin=False)
        if kind == 9:
            payload = rng.choice([b"\x03", b"\x03\xed", b"\x03\xe8\xff", b"\x13\x88", b"\0\0"])
            return self.frame(CLOSE, payload)
        if kind == 10:
            return self.frame(TEXT, rng.choice([b"\xff", b"\xed\xa0\x80", b"a\xc3"]))
        return rng.randbytes(rng.choice([1, 2, 10, 100, 5000]))

    async def _write(self, data: bytes) -> None:
        async with self._writing:
            await self._write_pieces(data)

    async def _write_pieces(self, data: bytes) -> None:
        rng, at = self.rng, 0
        whole = rng.random() < 0.4
        while at < len(data):
            n = len(data) if whole else rng.choice([1, 2, 3, 14, 100, 1000, 65536, 1 << 20])
            if self.writer.is_closing():  # uvloop's transports raise RuntimeError
                raise ConnectionResetError("the peer closed before")
            self.writer.write(data[at : at + n])
            at += n
            if n > 14 or rng.random() < 0.3:
                await asyncio.sleep(0)
        await self.writer.drain()

    async def play(self) -> None:
        """Do this and that for a while."""
        rng = self.rng
        breaks = rng.random() < 0.3
        for _ in range(rng.choice([0, 1, 3, 6, 12])):
            kind = rng.random()
            if kind < 0.6:
                self.note("peer sends")
                await self._write(b"".join(self.frames_next()))
            elif kind < 0.7 and not self.is_finishing:
                self.note("peer stops reading")
                self.gate.clear()
            elif kind < 0.8:
                self.note("peer reads")
                self.gate.set()
            elif kind < 0.9 and breaks:
                self.note("peer breaks the rules")
                await self._write(self.broken_next())
            for _ in range(rng.choice([0, 0, 1, 3])):
                await asyncio.sleep(0)
        kind = rng.random()
        if kind < 0.15:
            self.note("peer sends CLOSE")
            await self._close()
        elif kind < 0.2:
            self.note("peer ends the stream")
            self.writer.close()
        elif kind < 0.25:
            self.note("peer resets")
            self.reset()

    async def _close(self) -> None:
        if not self.close_sent:
            payload = self.rng.choice(
                [b"", b"\x03\xe8", b"\x0f\xa0because", b"\x03\xe9\xe2\x82\xac"]
            )
            data = self.frame(CLOSE, payload)
            self.close_sent = True
            await self._write(data)

    def reset(self) -> None:
        self.was_reset = True
        with contextlib.suppress(OSError, AttributeError, ValueError):  # once it is closed
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    # ---- receiving ----

    async def read(self) -> None:
        """Read to the end; answer a CLOSE."""
        while True:
            await self.gate.wait()
            data = await self.reader.read(self.rng.choice([100, 4096, 1 << 18]))
            if not data:
                # An end of its own is no sign of what the other side had to say.
                self.clean_end = not self.writer.is_closing()
                break
            if any(frame.opcode == CLOSE for frame in self.parser.feed(data)):
                with contextlib.suppress(ConnectionError):
                    await self._close()
                if not self.is_client:
                    # RFC 6455, 7.1.1: the server closes TCP first.
                    self.writer.close()

    async def run(self) -> None:
        """Play and read until the other side has ended."""
        playing = asyncio.ensure_future(self.play())
        try:
            # asyncio's TLS transport forgets its protocol when it is closed twice.
            with contextlib.suppress(OSError, AttributeError):
                await self.read()
        finally:
            playing.cancel()
            done = await asyncio.gather(playing, return_exceptions=True)
            self.writer.transport.abort()
            for error in done:
                if isinstance(error, Exception) and not isinstance(error, OSError):
                    raise error


class Tunnel:
    """An HTTPS proxy that asks for nothing: CONNECT, then bytes both ways."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.server: Any = None
        self.tasks: set[asyncio.Task[Any]] = set()

    async def listen(self) -> int:
        """Begin; return the port."""
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.context)
        port: int = self.server.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        if self.server is not None:
            self.server.close()
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
            await self.server.wait_closed()

    async def _serve(self, reader: Any, writer: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        writers = [writer]
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            port = int(head.split()[1].rpartition(b":")[2])
            back, forth = await asyncio.open_connection("127.0.0.1", port)
            writers.append(forth)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await asyncio.gather(self._pipe(reader, forth), self._pipe(back, writer))
        except (OSError, EOFError, AttributeError, RuntimeError, asyncio.CancelledError):
            pass  # one of both has ended
        finally:
            for each in writers:
                each.transport.abort()
            self.tasks.discard(task)

    async def _pipe(self, reader: Any, writer: Any) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()
