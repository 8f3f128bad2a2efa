"""Mixed traffic: a server of every kind, and workers that verify each payload that comes back."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import struct
import sys
import traceback
from collections import deque
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent))

from wire import client_frame, request_bytes

from picows_c import WSError, WSListener, WSMsgType, ws_connect, ws_create_server

SCHEMES, WAYS, KINDS = ("ws", "wss"), ("auto", "loop"), ("frames", "messages")
COMPRESSED: dict[str, Any] = {"assemble_messages": True, "compression": True}
OPTIONS: dict[str, dict[str, Any]] = {"frames": {}, "messages": COMPRESSED}
LARGEST = 1 << 20
WINDOW = 8
# An honest connection that takes longer hangs.
PATIENCE = 300
DATA = (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION)
# Payloads are pieces of these: one does not compress, the other does, and is text.
NOISE = random.Random(1).randbytes(2 * LARGEST)
WORDS = ("the quick brown fox und der flinke Dachs " * (2 * LARGEST // 40)).encode()


class Quiet(WSListener):
    def pause_writing(self) -> None:
        """Say nothing of it."""

    resume_writing = pause_writing


# ---- the server ----


class Echo(Quiet):
    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type in DATA:
            transport.send(frame.msg_type, frame, frame.fin)


async def serve(folder: Path) -> dict[str, int]:
    """Start a server of each kind; return its port by ``scheme way kind``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    ports = {}
    for scheme in SCHEMES:
        for way in WAYS:
            for kind in KINDS:
                server = await ws_create_server(
                    lambda request: Echo(),
                    "127.0.0.1",
                    0,
                    ssl=context if scheme == "wss" else None,
                    transport=way,
                    enable_auto_ping=True,
                    close_timeout=5,
                    **OPTIONS[kind],
                )
                ports[f"{scheme} {way} {kind}"] = server.sockets[0].getsockname()[1]
    return ports


# ---- its clients ----


class Counts:
    """What was done so far."""

    def __init__(self) -> None:
        self.messages = self.bytes = self.connections = self.broken = self.pings = 0
        self.problems: list[str] = []


class Verifier(Quiet):
    """Sends messages, a window of them on their way, and compares what comes back."""

    def __init__(self, dice: random.Random, counts: Counts, kind: str) -> None:
        self.dice, self.counts, self.kind = dice, counts, kind
        self.left = int(2 ** dice.uniform(0, 8))
        self.largest = 2 ** dice.uniform(3, 20)
        self.expected: deque[memoryview] = deque()
        self.parts: list[bytes] = []
        self.complete = False

    def on_ws_connected(self, transport: Any) -> None:
        self.counts.connections += 1
        for _ in range(WINDOW):
            self.send(transport)

    def send(self, transport: Any) -> None:
        if self.left == 0:
            return
        self.left -= 1
        size = int(self.dice.random() ** 3 * self.largest)
        is_text = self.dice.random() < 0.5
        at = self.dice.randrange(LARGEST)
        payload = memoryview(WORDS if is_text else NOISE)[at : at + size]
        kind = WSMsgType.TEXT if is_text else WSMsgType.BINARY
        self.expected.append(payload)
        cuts = sorted(self.dice.randrange(size + 1) for _ in range(self.dice.randrange(4)))
        bounds = [0, size] if self.kind == "messages" else [0, *cuts, size]
        with transport.cork() if self.dice.random() < 0.3 else contextlib.nullcontext():
            for number, (start, end) in enumerate(zip(bounds, bounds[1:])):
                opcode = WSMsgType.CONTINUATION if number else kind
                transport.send(opcode, payload[start:end], number == len(bounds) - 2)
        if self.dice.random() < 0.05:
            self.counts.pings += 1
            transport.send_ping(b"soak")

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type not in DATA:
            return
        self.parts.append(frame.get_payload_as_bytes())
        if not frame.fin:
            return
        got = b"".join(self.parts)
        self.parts.clear()
        payload = self.expected.popleft()
        if got != payload:
            self.counts.problems.append(f"{self.kind}: {len(got)} bytes for {len(payload)}")
        self.counts.messages += 1
        self.counts.bytes += len(got)
        self.send(transport)
        if not self.expected:
            self.complete = True
            end = self.dice.randrange(3)
            if end == 0:
                transport.send_close(1000, "done")
            else:
                transport.disconnect(end == 1)


async def honest(dice: random.Random, counts: Counts, ports: dict[str, int], folder: Path) -> None:
    """Live one connection from its opening to its end."""
    which = dice.choice(list(ports))
    scheme, _, kind = which.split()
    listener = Verifier(dice, counts, kind)
    context = None
    if scheme == "wss":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(folder / "ca.pem")
    transport, _ = await ws_connect(
        lambda: listener,
        f"{scheme}://127.0.0.1:{ports[which]}/",
        ssl_context=context,
        transport=dice.choice(WAYS),
        open_timeout=120,
        websocket_handshake_timeout=60,
        close_timeout=60,
        **OPTIONS[kind],
    )
    if dice.random() < 0.1:
        with contextlib.suppress(ConnectionError):
            await transport.measure_roundtrip_time(2)
    await transport.wait_disconnected()
    if not listener.complete:
        counts.problems.append(f"{which}: {transport.disconnect_cause}")


# ---- peers that break the rules ----


def attack(dice: random.Random) -> list[bytes]:
    """Return what to send, piece by piece."""
    request = request_bytes()
    return dice.choice([
        [dice.randbytes(dice.randrange(1, 300))],
        [request[: dice.randrange(len(request))]],
        [request, dice.randbytes(dice.randrange(1, 3000))],
        [request, client_frame(9, b"x" * 125) * 500],
        [request, client_frame(2, b"", length=1 << 62)],
        [request, client_frame(2, bytes(5000), length=9_000_000)],
        [request, client_frame(1, b"", fin=False), client_frame(0, b"", fin=False) * 2000],
        [request, client_frame(2, bytes(70_000))[: dice.randrange(70_000)]],
        [b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * dice.randrange(5000)],
        [bytes([byte]) for byte in request],
    ])  # fmt: skip


async def broken_client(dice: random.Random, counts: Counts, ports: dict[str, int]) -> None:
    """Attack a server, and leave in one way or another."""
    counts.broken += 1
    reader, writer = await asyncio.open_connection("127.0.0.1", dice.choice(list(ports.values())))
    with contextlib.suppress(OSError):
        for piece in attack(dice):
            writer.write(piece)
            await asyncio.wait_for(writer.drain(), 10)
        end = dice.randrange(3)
        if end == 0:
            sock = writer.get_extra_info("socket")
            if sock is not None:  # uvloop knows it no more once the server has closed
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif end == 1:
            writer.write_eof()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(reader.read(dice.randrange(1, 5000)), 2)
    writer.transport.abort()


async def broken_server(dice: random.Random, counts: Counts) -> None:
    """Have our client connect to a server that answers nonsense."""
    counts.broken += 1

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\n" * dice.randrange(2))
            writer.write(dice.randbytes(dice.randrange(3000)))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        await ws_connect(Quiet, f"ws://127.0.0.1:{port}/", transport=dice.choice(WAYS))
        counts.problems.append("a nonsensical answer was accepted")
    except (WSError, OSError):
        pass
    finally:
        server.close()


async def work(
    number: int, until: float, counts: Counts, ports: dict[str, int], folder: Path
) -> None:
    """Do one thing after the other, by a die of its own."""
    dice = random.Random(number)
    loop = asyncio.get_running_loop()
    while loop.time() < until:
        choice = dice.random()
        try:
            if choice < 0.75:
                await asyncio.wait_for(honest(dice, counts, ports, folder), PATIENCE)
            elif choice < 0.9:
                await broken_client(dice, counts, ports)
            else:
                await broken_server(dice, counts)
        except Exception:
            counts.problems.append(traceback.format_exc())
        if len(counts.problems) > 20:
            return
