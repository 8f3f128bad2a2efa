"""The end of TLS on the poller is bounded: by ssl_shutdown_timeout, and by close_timeout."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from typing import Any, Callable

import pytest
from conftest import Net
from helpers import Recorder, request_bytes
from test_tls import ByHand, raw_server, soon

import picows_c
from picows_c import WSMsgType
from picows_c.poller import poller_of
from picows_c.stream import connect_stream, start_tls

pytestmark = pytest.mark.skipif(picows_c._core.POLLER is None, reason="no poller here")

# More than the buffers of two sockets hold.
PLENTY = 16_000_000


@pytest.fixture
def net(certificates: Any) -> Net:
    return Net("wss", "auto", certificates)


async def timed(end: Callable[[], Any], listener: Recorder) -> float:
    """Begin the end; return how long it took."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    end()
    await soon(listener.disconnected.wait())
    assert listener.events.count("disconnected") == 1
    return loop.time() - begun


@contextlib.asynccontextmanager
async def ours(net: Net, side: str, **options: Any) -> Any:
    """A listener of ours on ``side``; its peer reads nothing after the handshake."""
    over = asyncio.Event()
    listener = Recorder()
    if side == "client":

        async def talk(sock: socket.socket) -> None:
            peer = ByHand(sock, net.certificates.server(), True)
            await peer.handshake()
            await peer.upgrade()
            await soon(over.wait())

        async with raw_server(talk) as net.port:
            await soon(net.connect(lambda: listener, **options))
            try:
                yield listener
            finally:
                over.set()
        return
    async with net.serve(lambda r: listener, **options):
        with socket.create_connection(("127.0.0.1", net.port)) as sock:
            sock.setblocking(False)
            peer = ByHand(sock, net.certificates.client(), False)
            await peer.handshake()
            await peer.write(request_bytes())
            await soon(listener.connected.wait())
            yield listener


@pytest.mark.parametrize("side", ["client", "server"])
async def test_no_answer_to_close_notify(net, side):
    """Less than what our last byte is given otherwise."""
    async with ours(net, side, ssl_shutdown_timeout=0.2) as listener:
        assert 0.15 < await timed(listener.transport.disconnect, listener) < 0.8


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("how", ["disconnect", "close", "write_eof"])
async def test_close_notify_that_cannot_leave(net, side, how):
    """It stands behind what the peer does not read, for no longer than it may."""
    options = {"close_timeout": None, "ssl_shutdown_timeout": 0.2}
    async with ours(net, side, **options) as listener:
        transport = listener.transport
        transport.send(WSMsgType.BINARY, bytes(PLENTY))
        assert transport.underlying_transport.get_write_buffer_size() > 0
        end = transport if how == "disconnect" else transport.underlying_transport
        assert 0.15 < await timed(getattr(end, how), listener) < 5


@pytest.mark.parametrize("side", ["client", "server"])
async def test_close_timeout_is_the_shorter_one(net, side):
    options = {"close_timeout": 0.2, "ssl_shutdown_timeout": 60.0}
    async with ours(net, side, **options) as listener:
        listener.transport.send(WSMsgType.BINARY, bytes(PLENTY))
        assert 0.15 < await timed(listener.transport.disconnect, listener) < 5


@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
@pytest.mark.parametrize("seconds", [0, -1])
async def test_timeouts_are_positive(net, name, seconds):
    net.port = 1  # nothing is asked
    with pytest.raises(ValueError, match="must be positive seconds"):
        await net.connect(Recorder, **{name: seconds})
    with pytest.raises(ValueError, match="must be positive seconds"):
        async with net.serve(lambda r: Recorder(), **{name: seconds}):
            pass


async def test_no_timer_is_left(net):
    """Whoever ends in time leaves nothing behind that fires, or that keeps the stream."""
    listener = Recorder()
    async with net.serve(lambda r: listener, ssl_shutdown_timeout=0.05):
        transport, _ = await net.connect(Recorder, ssl_shutdown_timeout=0.05)
        await soon(listener.connected.wait())
        streams = [t.underlying_transport for t in (transport, listener.transport)]
        transport.disconnect()
        await soon(transport.wait_disconnected())
        await soon(listener.disconnected.wait())
        assert [stream._end_timer for stream in streams] == [None, None]


@pytest.mark.parametrize("how", ["close", "write_eof"])
async def test_both_of_tls_inside_tls_end(net, how):
    """The inner close_notify goes out, then the outer one, before any FIN."""
    loop = asyncio.get_running_loop()
    ends = []

    async def talk(sock: socket.socket) -> None:
        outer = ByHand(sock, net.certificates.server(), True)
        await outer.handshake()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        inner = net.certificates.server().wrap_bio(incoming, outgoing, server_side=True)

        async def pass_on() -> None:
            data = outgoing.read()
            if data:
                await outer.write(data)

        call: Callable[[], Any] = inner.do_handshake
        while "inner" not in ends:
            try:
                result = call()
            except ssl.SSLWantReadError:
                await pass_on()
                incoming.write(await outer.step(lambda: outer.tls.read(65536)))
            except ssl.SSLZeroReturnError:
                ends.append("inner")
            else:
                await pass_on()
                if result == b"":
                    ends.append("inner")
                call = functools.partial(inner.read, 65536)
        with contextlib.suppress(ssl.SSLZeroReturnError):
            assert await outer.step(lambda: outer.tls.read(65536)) == b""
        ends.append("FIN" if outer.ended else "outer")

    async with raw_server(talk) as port:
        sock = socket.create_connection(("127.0.0.1", port))
        client = net.certificates.client()
        stream, _ = await connect_stream(
            poller_of(loop), loop, asyncio.Protocol, sock, ssl=client, server_hostname="127.0.0.1"
        )
        done = loop.create_future()
        start_tls(
            stream, loop, client, done.set_result, server_side=False, server_hostname="127.0.0.1"
        )
        assert await soon(done) is None
        stream.write(b"hello")
        getattr(stream, how)()
    assert ends == ["inner", "outer"]
    stream.abort()
