"""Resets at every stage: who heard on_ws_connected hears on_ws_disconnected, and nothing stays."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import os
import socket
import ssl
import struct
import sys
from typing import Any

import pytest
from conftest import Net
from helpers import Recorder, accept_for, client_frame, frame_bytes, request_bytes

from picows_c import WSFrame, WSHandshakeError, WSListener, WSMsgType, WSTransport
from picows_c.poller import poller_of

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="plain sockets only"),
    # What a loop's own TLS transports leave unclosed when they are reset is theirs.
    pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning"),
]

PATIENCE = 20.0
HEAD = request_bytes()
BINARY = 2


async def soon(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE)


def reset(sock: socket.socket) -> None:
    """Close a socket with a TCP reset, now."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Count:
    """What the listeners of one test heard."""

    def __init__(self) -> None:
        self.connected = 0
        self.disconnected = 0
        self.frames = 0
        self.paused = 0
        self.unread: list[WSTransport] = []

    def resume(self) -> None:
        """Have everybody read who paused."""
        for transport in self.unread:
            if not transport.underlying_transport.is_closing():
                transport.underlying_transport.resume_reading()
        self.unread.clear()


class Listener(WSListener):
    """Counts; does what the stage wants when it is connected."""

    def __init__(self, count: Count, stage: str) -> None:
        self.count = count
        self.stage = stage
        self.heard = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.count.connected += 1
        if self.stage == "paused":
            # What comes before the reset waits for this, and is not lost.
            transport.underlying_transport.pause_reading()
            self.count.unread.append(transport)
        elif self.stage == "writing":
            sock = transport.underlying_transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            for _ in range(4):
                transport.send(WSMsgType.BINARY, bytes(100_000))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        assert not self.heard, "a frame after on_ws_disconnected"
        self.count.frames += 1

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.heard += 1
        assert self.heard == 1
        self.count.disconnected += 1
        # Whatever is asked afterwards: no exception, no second end.
        transport.send(WSMsgType.BINARY, b"x")
        transport.disconnect(False)

    def pause_writing(self) -> None:
        self.count.paused += 1

    def resume_writing(self) -> None:
        pass


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


async def inventory() -> tuple[int, int]:
    """Count what is open, and what is alive."""
    loop = asyncio.get_running_loop()
    for _ in range(200):
        loop.call_later(1000, print).cancel()  # asyncio drops them when they are many
    await asyncio.sleep(0)
    gc.collect()
    gc.collect()
    # asyncio forgets cancelled timers, and their contexts with them, only by and by: each
    # connection has had some.
    passing = (asyncio.TimerHandle, contextvars.Context)
    return descriptors(), sum(type(found) not in passing for found in gc.get_objects())


def check_inventory(before: tuple[int, int], now: tuple[int, int]) -> None:
    assert now[0] == before[0], "descriptors"
    # It would be more if one connection of ten left anything behind.
    assert now[1] - before[1] < 20, f"{now[1] - before[1]} objects"


async def settled(server: Any) -> None:
    """Wait until the server has no connection left that it has accepted."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    poller = poller_of(loop)
    while server._connections or (poller is not None and poller.count > 1):
        assert loop.time() < end, "connections stay behind"
        await asyncio.sleep(0.001)
    for _ in range(5):
        await asyncio.sleep(0)


async def unheard_closed(expected: int) -> None:
    """Wait for a loop's TLS transports that are still closing, and that no server has heard of."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while descriptors() > expected and loop.time() < end:
        await asyncio.sleep(0.01)


class Talk:
    """One end of a connection by hand: the socket stays ours. With a context, over TLS."""

    def __init__(self, sock: socket.socket, context: Any, server_side: bool) -> None:
        self.sock = sock
        self.loop = asyncio.get_running_loop()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls: Any = None
        if context is not None:
            name = None if server_side else "127.0.0.1"
            self.tls = context.wrap_bio(
                self.incoming, self.outgoing, server_side=server_side, server_hostname=name
            )

    async def send_raw(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.sock, data)

    async def recv_raw(self) -> bytes:
        data = await soon(self.loop.sock_recv(self.sock, 65536))
        assert data
        return data

    def flight(self) -> bytes:
        """Go on with the handshake; return what is to be sent, nothing when it is done."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
            return b""
        return self.outgoing.read()

    async def handshake(self) -> None:
        if self.tls is None:
            return
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
                break
            await self.send_raw(self.outgoing.read())
            self.incoming.write(await self.recv_raw())
        await self.send_raw(self.outgoing.read())

    async def send(self, data: bytes) -> None:
        if self.tls is not None and data:  # before CPython 3.10 writing nothing is an error
            self.tls.write(data)
            data = self.outgoing.read()
        await self.send_raw(data)

    async def until(self, what: bytes) -> bytes:
        got = b""
        while what not in got:
            if self.tls is None:
                got += await self.recv_raw()
                continue
            try:
                got += self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.incoming.write(await self.recv_raw())
        return got


class Attack:
    """Connects to a server and resets, a batch at a time."""

    def __init__(self, net: Any, stage: str, certificates: Any) -> None:
        self.net = net
        self.stage = stage
        self.loop = asyncio.get_running_loop()
        self.context = certificates.client() if net.scheme == "wss" else None
        self.count = Count()

    def listener(self, _request: Any = None) -> Listener:
        return Listener(self.count, self.stage)

    async def connect(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        if self.stage == "writing":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await self.loop.sock_connect(sock, ("127.0.0.1", self.net.port))
        return sock

    async def one(self, n: int) -> None:
        """One connection up to its stage, and its reset."""
        sock = await self.connect()
        try:
            await self.talk(n, Talk(sock, self.context, False))
            # The loop had no chance to take what was sent, or just had.
            if n % 2:
                await asyncio.sleep(0)
        finally:
            reset(sock)

    async def talk(self, n: int, peer: Talk) -> None:
        if self.stage == "accept":
            return
        if self.stage == "tls":
            hello = peer.flight()
            if n % 3:
                await peer.send_raw(hello[: n % len(hello)])
            else:
                await peer.send_raw(hello)
                assert await soon(self.loop.sock_recv(peer.sock, 1))
            return
        await peer.handshake()
        if self.stage == "head":
            await peer.send(HEAD[: n % len(HEAD)] or HEAD[:1])
            return
        await peer.send(HEAD)
        await peer.until(b"\r\n\r\n")
        frame = client_frame(BINARY, bytes(300))
        if self.stage == "frame":
            await peer.send(frame + frame[: n % len(frame)])
        elif self.stage == "paused":
            await peer.send(frame * 3)
        else:
            await peer.send(frame)

    async def run(self, total: int, batch: int = 50) -> None:
        for start in range(0, total, batch):
            await asyncio.gather(*(self.one(n) for n in range(start, min(start + batch, total))))
            # What came before the reset waits for this, and so does the reset.
            self.count.resume()
        self.count.unread.clear()


def number_of(way: str) -> int:
    """How many resets; fewer where the bytes go the loop's own way."""
    return 1000 if way == "auto" else 200


@pytest.mark.parametrize("stage", ["accept", "head", "frame", "paused", "writing"])
async def test_resets_of_clients(plain, certificates, stage):
    await many_resets(plain, certificates, stage)


@pytest.mark.parametrize("stage", ["accept", "tls", "head", "frame", "paused", "writing"])
async def test_resets_of_clients_over_tls(way, certificates, stage):
    await many_resets(Net("wss", way, certificates), certificates, stage)


async def many_resets(net: Any, certificates: Any, stage: str) -> None:
    loop = asyncio.get_running_loop()
    attack = Attack(net, stage, certificates)
    count, total = attack.count, number_of(net.way)
    async with net.serve(attack.listener) as server:
        idle = descriptors()
        await attack.run(60)  # whatever is made once is made
        await settled(server)
        await unheard_closed(idle)
        before = await inventory()
        count.connected = count.disconnected = count.frames = 0
        await attack.run(total)
        await settled(server)
        await unheard_closed(before[0])
        check_inventory(before, await inventory())
        if net.way == "auto":
            assert poller_of(loop).count == 1
        assert count.connected == count.disconnected
        if stage in ("accept", "tls", "head"):
            assert count.connected == 0
        else:
            assert count.connected == total
        if stage == "frame":
            # What came before the reset is still there, and is delivered.
            assert count.frames >= total
        if stage == "paused" and net.way == "auto":
            # What came before the reset waited, and is delivered.
            assert count.frames == 3 * total
        if stage == "writing" and net.way == "auto":
            assert count.paused > 0


class RawServer:
    """Accepts our clients and resets them, each at the stage."""

    def __init__(self, stage: str, certificates: Any, scheme: str) -> None:
        self.stage = stage
        self.context = certificates.server() if scheme == "wss" else None
        self.loop = asyncio.get_running_loop()
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.sock.setblocking(False)
        self.port = self.sock.getsockname()[1]

    async def serve(self, start: int, count: int) -> None:
        talks = []
        for n in range(start, start + count):
            sock, _ = await soon(self.loop.sock_accept(self.sock))
            talks.append(asyncio.ensure_future(self.one(n, sock)))
        await asyncio.gather(*talks)

    async def one(self, n: int, sock: socket.socket) -> None:
        try:
            await self.talk(n, Talk(sock, self.context, True))
        finally:
            reset(sock)

    async def talk(self, n: int, peer: Talk) -> None:
        if self.stage == "accept":
            return
        if self.stage == "tls":
            peer.incoming.write(await peer.recv_raw())
            flight = peer.flight()
            await peer.send_raw(flight[: n % len(flight)])
            return
        await peer.handshake()
        head = await peer.until(b"\r\n\r\n")
        key = head.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0].decode()
        answer = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_for(key)}\r\n\r\n"
        ).encode()
        frame = frame_bytes(BINARY, bytes(300))
        if self.stage == "head":
            await peer.send(answer[: n % len(answer)])
        elif self.stage == "frame":
            await peer.send(answer + frame + frame[: n % len(frame)])
        else:
            await peer.send(answer)
            if self.stage == "writing":
                await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("scheme", "stage"),
    [
        *(("ws", stage) for stage in ("accept", "head", "frame", "paused", "writing")),
        *(("wss", stage) for stage in ("accept", "tls", "head", "frame", "paused", "writing")),
    ],
)
async def test_resets_of_servers(way, certificates, scheme, stage):
    """Our client: ws_connect() says what happened, or its listener hears both."""
    total, batch = number_of(way), 50
    raw = RawServer(stage, certificates, scheme)
    net = Net(scheme, way, certificates)
    net.port = raw.port
    context = certificates.client()
    count = Count()
    failed: list[BaseException] = []

    async def client() -> None:
        options = {"ssl_context": context} if scheme == "wss" else {}
        try:
            transport, _ = await net.connect(lambda: Listener(count, stage), **options)
        except (OSError, WSHandshakeError) as exc:
            failed.append(exc)
            return
        if stage != "paused":
            for _ in range(3):
                transport.send(WSMsgType.BINARY, b"y" * 1000)
                await asyncio.sleep(0)
        await soon(transport.wait_disconnected())
        assert transport.is_disconnected
        transport.send(WSMsgType.BINARY, b"z")

    async def serve(start: int) -> None:
        await raw.serve(start, batch)
        if stage == "paused":
            # What came before the reset (over TLS there are session tickets) waits for this.
            while count.connected + len(failed) < start + batch:
                await asyncio.sleep(0)
            count.resume()

    async def some(number: int) -> None:
        count.connected = count.disconnected = count.frames = 0
        failed.clear()
        for start in range(0, number, batch):
            await asyncio.gather(serve(start), *(client() for _ in range(batch)))
        count.unread.clear()
        for _ in range(5):
            await asyncio.sleep(0)

    try:
        await some(50)
        failed.clear()
        before = await inventory()
        await some(total)
        failures = len(failed)
        failed.clear()
        now = await inventory()
    finally:
        raw.sock.close()
    check_inventory(before, now)
    assert count.connected == count.disconnected
    assert count.connected + failures == total
    if stage in ("accept", "tls", "head"):
        assert count.connected == 0
    elif scheme == "ws":
        assert count.connected == total
    if stage == "frame":
        assert count.frames == count.connected
    poller = poller_of(asyncio.get_running_loop())
    assert poller is None or poller.count == 0


@pytest.mark.parametrize("frames", [0, 1, 500])
async def test_sending_after_a_reset(plain, frames):
    """send() never raises; what the peer sent before its reset is delivered; one end."""
    listener = Recorder()
    async with plain.serve(lambda r: listener):
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", plain.port))
        await loop.sock_sendall(sock, HEAD)
        await soon(loop.sock_recv(sock, 1000))
        assert listener.events == ["connected"]
        transport = listener.transport
        sock.setblocking(True)
        sock.sendall(client_frame(BINARY, b"before") * frames)
        reset(sock)
        for _ in range(10):
            transport.send(WSMsgType.BINARY, bytes(1000))
            transport.send(WSMsgType.TEXT, "x")
            transport.send_ping(b"p")
        assert listener.events == ["connected"]
        if plain.way == "auto":
            assert transport.underlying_transport.get_write_buffer_size() == 0
        await soon(listener.disconnected.wait())
        transport.send(WSMsgType.BINARY, b"y")
        transport.send_close(1000)
        await soon(transport.wait_disconnected())
    expected = ["BINARY"] * frames
    if plain.way == "loop":
        # A loop's transport may notice that it cannot send, and drop its input.
        expected = listener.events[1:-1]
    assert listener.events == ["connected", *expected, "disconnected"]


async def test_sending_from_on_ws_frame_after_a_reset(plain):
    """Each delivered frame answers: the first answer fails, the frames still come."""
    answers = 0

    class Answering(Recorder):
        def on_ws_frame(self, transport, frame):
            nonlocal answers
            super().on_ws_frame(transport, frame)
            transport.send(WSMsgType.BINARY, b"answer")
            answers += 1

    listener = Answering()
    async with plain.serve(lambda r: listener) as server:
        # Room for all of it: what waits at the sender is lost when it resets.
        server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", plain.port))
        await loop.sock_sendall(sock, HEAD)
        await soon(loop.sock_recv(sock, 1000))
        sock.setblocking(True)
        # More than one read brings.
        sock.sendall(client_frame(BINARY, bytes(1000)) * 150)
        reset(sock)
        await soon(listener.disconnected.wait())
    assert listener.events[0] == "connected"
    assert listener.events[-1] == "disconnected"
    assert listener.events.count("disconnected") == 1
    if plain.way == "auto":
        assert answers == 150


async def test_disconnecting_in_on_ws_disconnected(plain):
    """It is over: disconnect() arms no timer that keeps the connection's objects."""

    class Late(Recorder):
        def on_ws_disconnected(self, transport):
            super().on_ws_disconnected(transport)
            owners.append(transport._owner)
            transport.disconnect()

    owners: list[Any] = []
    async with plain.serve(lambda r: Recorder()) as server:
        transport, _ = await plain.connect(Late)
        server.abort_clients()
        await soon(transport.wait_disconnected())
        timer = owners[0]._timer
        owners[0]._disarm()
    assert timer is None
