"""What TLS cannot encrypt yet: it counts as waiting, and the end of the connection comes behind it.

The peer asks for a new handshake (TLS 1.2) and our OpenSSL takes no data until that is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any, Optional

import pytest
from conftest import Net
from helpers import EchoListener, Recorder, client_frame, frame_bytes, request_bytes
from test_tls import (
    BINARY,
    PATIENCE,
    ByHand,
    Bytes,
    OpenSSL,
    Relay,
    Waits,
    pattern,
    renegotiating,
    soon,
    two_filters,
)

import picows_c
from picows_c import WSDisconnectKind, WSMsgType

pytestmark = pytest.mark.skipif(picows_c._core.POLLER is None, reason="no poller here")


@pytest.fixture
def net(certificates: Any) -> Net:
    return Net("wss", "auto", certificates)


async def until(condition: Any) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while not condition():
        assert loop.time() < end, "it never came true"
        await asyncio.sleep(0)


# ---- a new handshake of OpenSSL's own ----


class Held(Relay):
    """Holds back what our server says while it is told so."""

    def __init__(self, port: int) -> None:
        super().__init__(port, lambda n: 1 << 20)
        self.open = asyncio.Event()
        self.open.set()

    async def _pump(self, direction: int, reader: Any, writer: Any) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                self.total[direction] += len(data)
                if direction == 1:
                    await self.open.wait()
                writer.write(data)
        writer.close()


@pytest.mark.parametrize("sslobject", [ssl.SSLObject, Waits])  # past the object, and through it
@pytest.mark.parametrize("how", ["disconnect", "close", "close, paused", "write_eof"])
async def test_the_end_waits_for_the_new_handshake(net, need, sslobject, how):
    program = need.program("openssl")
    server_ssl = renegotiating(net.certificates.server())
    server_ssl.sslobject_class = sslobject
    if ssl.OPENSSL_VERSION_INFO >= (3,):
        server_ssl.options |= 1 << 8  # SSL_OP_ALLOW_CLIENT_RENEGOTIATION
    listener = Recorder()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(net.serve(lambda r: listener, ssl=server_ssl))
        relay = await stack.enter_async_context(Held(net.port))
        command = (program, "s_client", "-connect", f"127.0.0.1:{relay.port}", "-tls1_2")
        peer = await stack.enter_async_context(OpenSSL(*command))
        peer.write(request_bytes())
        await peer.until(lambda: b"101 Switching" in peer.output)
        transport = listener.transport
        stream = transport.underlying_transport
        relay.open.clear()
        said = relay.total[1]
        peer.write(b"R\n")
        await until(lambda: relay.total[1] > said)
        # It asked, we answered, and the answer does not arrive yet.
        for i in range(100):
            transport.send(WSMsgType.BINARY, b"<%d>" % i)
        assert stream.get_write_buffer_size() > 0
        if how == "disconnect":
            transport.disconnect()
        elif how == "write_eof":
            stream.write_eof()
        else:
            if how == "close, paused":
                stream.pause_reading()
            stream.close()
        relay.open.set()
        await peer.has_numbers(100)
        # close_notify came behind it: without, it says "unexpected eof".
        await peer.until(lambda: b"closed" in peer.output)
        await soon(listener.disconnected.wait())
    assert b"unexpected eof" not in peer.output


# ---- one that never ends ----


class Stuck(ssl.SSLObject):
    """Cannot encrypt as long as it is told so; counts what it decrypts."""

    stuck: Optional[Exception] = None
    got = 0

    def read(self, size: int = 1024, buffer: Any = None) -> Any:
        found = super().read(size, buffer)
        self.got += len(found) if buffer is None else found
        return found

    def write(self, data: Any) -> int:
        if self.stuck is not None:
            raise self.stuck
        return super().write(data)


class Watched(Recorder):
    """Hears of the watermarks."""

    def pause_writing(self) -> None:
        self.events.append("pause_writing")

    def resume_writing(self) -> None:
        self.events.append("resume_writing")


@contextlib.asynccontextmanager
async def stuck(net: Net, **options: Any) -> AsyncIterator[tuple[Watched, ByHand, Any]]:
    """A listener of our server whose TLS cannot encrypt, the peer, and the SSLObject."""
    listener = Watched()
    context = net.certificates.server()
    context.sslobject_class = Stuck
    async with net.serve(lambda r: listener, ssl=context, **options):
        with socket.create_connection(("127.0.0.1", net.port)) as sock:
            sock.setblocking(False)
            peer = ByHand(sock, net.certificates.client(), False)
            await peer.handshake()
            await peer.write(request_bytes())
            await peer.until(b"\r\n\r\n")
            await soon(listener.connected.wait())
            tls = listener.transport.underlying_transport.get_extra_info("ssl_object")
            tls.stuck = ssl.SSLWantReadError("new handshake")
            yield listener, peer, tls


# Nothing else may end it.
ENDLESS = {"close_timeout": None, "ssl_shutdown_timeout": 600.0}


def end(listener: Recorder, how: str) -> None:
    transport = listener.transport
    getattr(transport if how == "disconnect" else transport.underlying_transport, how)()


@pytest.mark.parametrize("how", ["disconnect", "close", "write_eof"])
async def test_what_comes_before_the_end_is_thrown_away(net, how):
    """It is read all the same: what is waited for may stand behind it."""
    async with stuck(net, **ENDLESS) as (listener, peer, tls):
        listener.transport.send(WSMsgType.BINARY, b"last words")
        end(listener, how)
        stream = listener.transport.underlying_transport
        assert not stream.is_reading()
        frames = [client_frame(BINARY, pattern(3000) + b"%d" % i) for i in range(20)]
        expected = tls.got + sum(map(len, frames))
        for frame in frames:
            await peer.write(frame)
        await until(lambda: tls.got == expected)
        assert "disconnected" not in listener.events
        assert stream.get_write_buffer_size() == len(frame_bytes(BINARY, b"last words"))
        tls.stuck = None
        await peer.write(client_frame(BINARY, b"now"))
        assert await peer.until(b"last words") == frame_bytes(BINARY, b"last words")
        with contextlib.suppress(ssl.SSLZeroReturnError):
            assert await peer.step(lambda: peer.tls.read(100)) == b""
        assert not peer.ended  # close_notify, before any FIN
        peer.sock.shutdown(socket.SHUT_WR)
        await soon(listener.disconnected.wait())
        assert listener.events == ["connected", "disconnected"]


@pytest.mark.parametrize("how", ["disconnect", "close", "write_eof"])
async def test_frames_that_were_held_back_do_not_hold_the_end(net, how):
    async with stuck(net, **ENDLESS) as (listener, peer, tls):

        def pause(transport: Any, frame: Any) -> None:
            if "frame" not in listener.events:
                paused = transport if how == "disconnect" else transport.underlying_transport
                paused.pause_reading()
            listener.events.append("frame")

        listener.on_ws_frame = pause
        await peer.write(b"".join(client_frame(BINARY, b"%d" % i) for i in range(3)))
        await until(lambda: "frame" in listener.events)
        listener.transport.send(WSMsgType.BINARY, b"last words")
        end(listener, how)
        expected = tls.got + len(client_frame(BINARY, b"more"))
        await peer.write(client_frame(BINARY, b"more"))
        await until(lambda: tls.got == expected)
        tls.stuck = None
        await peer.write(client_frame(BINARY, b"now"))
        assert await peer.until(b"last words") == frame_bytes(BINARY, b"last words")
        peer.sock.shutdown(socket.SHUT_WR)
        if how == "write_eof":
            listener.transport.underlying_transport.resume_reading()  # it ends our side alone
        await soon(listener.disconnected.wait())
        assert listener.events[:2] == ["connected", "frame"]
        assert how == "write_eof" or listener.events == ["connected", "frame", "disconnected"]


@pytest.mark.parametrize("how", ["disconnect", "close", "write_eof"])
async def test_the_end_is_tried_without_further_input(net, how):
    """What is needed may have been read by the call that ends it."""
    async with stuck(net, **ENDLESS) as (listener, peer, tls):
        listener.transport.send(WSMsgType.BINARY, b"last words")
        end(listener, how)
        tls.stuck = None
        assert await peer.until(b"last words") == frame_bytes(BINARY, b"last words")
        peer.sock.shutdown(socket.SHUT_WR)
        await soon(listener.disconnected.wait())


@pytest.mark.parametrize("how", ["disconnect", "close", "write_eof"])
@pytest.mark.parametrize("peers", ["FIN", "close_notify", "reset", "FIN before"])
async def test_the_peers_end_does_not_wait(net, how, peers):
    async with stuck(net, **ENDLESS) as (listener, peer, _):
        listener.transport.send(WSMsgType.BINARY, b"last words")
        if peers != "FIN before":
            end(listener, how)
        if peers == "close_notify":
            with contextlib.suppress(ssl.SSLWantReadError):
                peer.tls.unwrap()
            await peer.flush()
        elif peers == "reset":
            linger = b"\1\0\0\0\0\0\0\0"
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            peer.sock.close()
        else:
            peer.sock.shutdown(socket.SHUT_WR)
        await soon(listener.disconnected.wait())
        end(listener, how)  # afterwards it does nothing
        assert listener.events.count("disconnected") == 1


@pytest.mark.parametrize("how", ["disconnect", "close", "write_eof", "nothing"])
async def test_an_abort_does_not_wait(net, how):
    async with stuck(net, **ENDLESS) as (listener, _, _):
        listener.transport.send(WSMsgType.BINARY, b"last words")
        if how != "nothing":
            end(listener, how)
        listener.transport.underlying_transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert listener.events == ["connected", "disconnected"]


@pytest.mark.parametrize("how", ["disconnect", "close", "write_eof"])
async def test_the_shutdown_timeout_bounds_it(net, how):
    options = {"close_timeout": None, "ssl_shutdown_timeout": 0.05}
    async with stuck(net, **options) as (listener, _, _):
        listener.transport.send(WSMsgType.BINARY, b"last words")
        end(listener, how)
        assert not listener.disconnected.is_set()
        await soon(listener.disconnected.wait())


async def test_close_timeout_bounds_it(net):
    options = {"close_timeout": 0.05, "ssl_shutdown_timeout": 600.0}
    async with stuck(net, **options) as (listener, _, _):
        listener.transport.send(WSMsgType.BINARY, b"last words")
        listener.transport.disconnect()
        await soon(listener.disconnected.wait())


async def test_a_new_handshake_that_fails(net):
    """There is nothing left to wait for."""
    async with stuck(net, **ENDLESS) as (listener, peer, tls):
        listener.transport.send(WSMsgType.BINARY, b"last words")
        listener.transport.disconnect()
        tls.stuck = ssl.SSLError(1, "no renegotiation")
        await peer.write(client_frame(BINARY, b"x"))
        await soon(listener.disconnected.wait())


# ---- it counts ----


async def test_what_cannot_be_encrypted_is_counted(net):
    payload = pattern(10_000)
    frame = frame_bytes(BINARY, payload)
    async with stuck(net) as (listener, peer, tls):
        transport = listener.transport
        stream = transport.underlying_transport
        for n in range(1, 7):
            transport.send(WSMsgType.BINARY, payload)
            assert stream.get_write_buffer_size() == transport.write_buffer_size == n * len(frame)
        assert listener.events == ["connected"]
        drain = asyncio.ensure_future(transport.drain())
        await soon(drain)  # below the high watermark
        transport.send(WSMsgType.BINARY, payload)
        assert listener.events == ["connected", "pause_writing"]
        drain = asyncio.ensure_future(transport.drain())
        await peer.write(client_frame(BINARY, b"x"))
        assert bytes(await soon(listener.frames.get())) == b"x"
        assert not drain.done()
        tls.stuck = None
        await peer.write(client_frame(BINARY, b"y"))
        got = b""
        while len(got) < 7 * len(frame):
            got += await peer.step(lambda: peer.tls.read(65536))
        assert got == 7 * frame
        await soon(drain)
        assert listener.events == [
            "connected",
            "pause_writing",
            "BINARY",
            "BINARY",
            "resume_writing",
        ]
        assert stream.get_write_buffer_size() == 0


async def test_new_limits_look_at_it(net):
    async with stuck(net) as (listener, _, _):
        listener.transport.send(WSMsgType.BINARY, bytes(1000))
        assert listener.events == ["connected"]
        listener.transport.underlying_transport.set_write_buffer_limits(high=500)
        assert listener.events == ["connected", "pause_writing"]


async def test_max_write_buffer_size_bounds_it(net):
    async with stuck(net, max_write_buffer_size=100_000) as (listener, _, _):
        transport = listener.transport
        for _ in range(9):
            transport.send(WSMsgType.BINARY, bytes(11_000))
        assert transport.write_buffer_size > 99_000
        transport.send(WSMsgType.BINARY, bytes(11_000))
        await soon(listener.disconnected.wait())
        assert transport.disconnect_cause.kind is WSDisconnectKind.WRITE_OVERFLOW


# ---- TLS inside TLS ----


async def test_what_waits_in_the_outer_one(net):
    """It is counted, and the end of both comes behind it."""
    outer = net.certificates.client()
    made: list[Any] = []

    class Kept(Stuck):
        @classmethod
        def _create(cls, *args: Any, **options: Any) -> Any:
            made.append(super()._create(*args, **options))
            return made[-1]

    outer.sslobject_class = Kept
    server = Recorder()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(net.serve(lambda r: server))
        stream, client = await stack.enter_async_context(two_filters(net, outer))
        made[0].stuck = ssl.SSLWantReadError("new handshake")
        for i in range(5):
            stream.write(client_frame(BINARY, b"%d" % i))
        assert stream.get_write_buffer_size() > 5 * len(client_frame(BINARY, b"0"))
        stream.close()
        assert not client.lost.is_set()
        made[0].stuck = None
        for i in range(5):
            assert bytes(await soon(server.frames.get())) == b"%d" % i
        await soon(client.lost.wait())


async def test_the_inner_handshake_waits_in_the_outer_one(net):
    """The input that lets it go on is the outer one's: here its tickets."""

    class Once(ssl.SSLObject):
        waits = 1

        def write(self, data: Any) -> int:
            if self.waits:
                self.waits -= 1
                raise ssl.SSLWantReadError("new handshake")
            return super().write(data)

    outer = net.certificates.client()
    outer.minimum_version = ssl.TLSVersion.TLSv1_3
    outer.sslobject_class = Once
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(net.serve(lambda r: EchoListener()))
        stream, client = await stack.enter_async_context(two_filters(net, outer))
        assert isinstance(client, Bytes)
        stream.write(client_frame(BINARY, b"hello"))
        assert await client.until(7) == frame_bytes(BINARY, b"hello")
