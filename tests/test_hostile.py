"""Attacks on a server in a process of its own: it stays up, serves honest peers, memory is bounded.

What a single malformed head or frame does is in test_handshake_*_refusals.py and
test_frames_broken.py, for clients too; attacks on a client are in test_hostile_servers.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import sys
import zlib
from pathlib import Path

import pytest
from helpers import Recorder, client_frame, request_bytes
from raw import pattern, soon
from scripts import script

from picows_c import WSMsgType, ws_connect

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc"
)

ATTACKERS = 100
# What an attacker may cost us: a read block of 64 KiB, its objects, and what the system's allocator
# wastes; beside it the server's own growth.
PER_ATTACKER = 128 * 1024
SLACK = 12 << 20
MIB = 1 << 20
DEFLATE = {"Sec-WebSocket-Extensions": "permessage-deflate"}
REQUEST = request_bytes(**DEFLATE)
TEXT, BINARY, CONTINUATION, PING = 1, 2, 0, 9


def deflated(size: int) -> bytes:
    """Return so many zeros as the payload of a compressed message."""
    deflate = zlib.compressobj(9, wbits=-15)
    data = b"".join(deflate.compress(bytes(MIB)) for _ in range(size // MIB))
    return (data + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


def bomb(size: int) -> bytes:
    return client_frame(BINARY, deflated(size), rsv=4)


def garbage(number: int) -> bytes:
    return random.Random(number).randbytes(2000)


# What an attacker sends, and how much of it may still be open afterwards.
ATTACKS = {
    "silence": lambda n: b"",
    "half a head": lambda n: request_bytes()[:-10],
    "a head without end": lambda n: b"GET / HTTP/1.1\r\n" + b"X-Y: z\r\n" * 5000,
    "garbage": garbage,
    "garbage after the handshake": lambda n: REQUEST + garbage(n),
    "a claim of 2**62 bytes": lambda n: REQUEST + client_frame(BINARY, length=1 << 62),
    "a claim of 9 MB": lambda n: REQUEST + client_frame(BINARY, bytes(10), length=9_000_000),
    "empty frames": lambda n: REQUEST + client_frame(BINARY) * 5000,
    "empty fragments": lambda n: (
        REQUEST + client_frame(TEXT, fin=False) + client_frame(CONTINUATION, fin=False) * 5000
    ),
    "tiny fragments": lambda n: (
        REQUEST
        + client_frame(TEXT, b"a", fin=False)
        + client_frame(CONTINUATION, b"a", fin=False) * 5000
    ),
    "pings": lambda n: REQUEST + client_frame(PING, bytes(125)) * 1000,
    "a compression bomb": lambda n: REQUEST + BOMB,
    "bombs of the largest message": lambda n: REQUEST + SMALL_BOMB * 20,
    "no deflate at all": lambda n: REQUEST + client_frame(BINARY, garbage(n), rsv=4),
}
BOMB = bomb(64 * MIB)
SMALL_BOMB = bomb(MIB)


async def attack(port: int, number: int, data: bytes) -> socket.socket:
    """Connect and send, without ever reading; what the server does not take is dropped."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await loop.sock_connect(sock, ("127.0.0.1", port))
    view = memoryview(data)
    with contextlib.suppress(OSError):
        while view:
            try:
                view = view[sock.send(view) :]
            except BlockingIOError:
                await asyncio.sleep(0.01)
                with contextlib.suppress(BlockingIOError):
                    view = view[sock.send(view) :]
                    continue
                break
    return sock


async def served(port: int) -> None:
    """Be honest: the right answers come."""
    transport, listener = await ws_connect(
        Recorder,
        f"ws://127.0.0.1:{port}/",
        assemble_messages=True,
        compression=True,
        open_timeout=None,
        websocket_handshake_timeout=None,
    )
    for size in (0, 1, 200, 70_000):
        transport.send(WSMsgType.BINARY, pattern(size))
        assert bytes(await soon(listener.frames.get())) == pattern(size)
    transport.disconnect()
    await soon(transport.wait_disconnected())


def resident(pid: int) -> int:
    """Return a process's resident bytes; 0 where AddressSanitizer keeps what is freed."""
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        return 0
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("how", ATTACKS)
async def test_attacks(loop_kind, way, how):
    with script("attacked.py", loop_kind, way) as process:
        port = int(process.stdout.readline())
        await served(port)
        before = resident(process.pid)
        sockets = []
        try:
            for number in range(ATTACKERS):
                sockets.append(await attack(port, number, ATTACKS[how](number)))
                if number % 20 == 0:
                    await served(port)
            await served(port)
            grown = resident(process.pid) - before
        finally:
            for sock in sockets:
                sock.close()
        # The attackers have gone, and the server is what it was.
        await served(port)
        assert process.poll() is None
        process.stdin.close()
        process.stdin = None
        _, complaint = process.communicate()
    print(f"{how}: {grown / ATTACKERS / 1024:.1f} KiB each", file=sys.stderr)
    assert process.returncode == 0
    assert complaint == ""
    assert grown <= ATTACKERS * PER_ATTACKER + SLACK, f"{grown / ATTACKERS:.0f} bytes each"


async def test_a_storm_of_handshakes(loop_kind, way):
    """Thousands connect, say half of it and leave; honest peers are served meanwhile."""
    with script("attacked.py", loop_kind, way) as process:
        port = int(process.stdout.readline())
        await served(port)
        before = resident(process.pid)
        request = request_bytes()
        for number in range(2000):
            sock = await attack(port, number, request[: number % len(request)])
            sock.close()
            if number % 500 == 0:
                await served(port)
        await served(port)
        grown = resident(process.pid) - before
        assert process.poll() is None
    assert grown <= SLACK, grown
