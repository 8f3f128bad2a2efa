"""TLS on the poller: a filter of our own around ssl.SSLObject."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import re
import socket
import ssl
import weakref
from collections.abc import AsyncIterator
from typing import Any, Callable, Optional

import pytest
from conftest import Net
from helpers import EchoListener, Recorder, accept_for, client_frame, frame_bytes, request_bytes

import picows_c
from picows_c import WSHandshakeError, WSInvalidMessageError, WSMsgType, ws_connect
from picows_c.poller import poller_of
from picows_c.stream import connect_stream, start_tls

pytestmark = pytest.mark.skipif(picows_c._core.POLLER is None, reason="no poller here")

PATIENCE = 20.0
BINARY = 2


async def soon(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE)


@pytest.fixture
def net(certificates: Any) -> Net:
    return Net("wss", "auto", certificates)


def pattern(size: int) -> bytes:
    period = bytes(i * 7 % 251 for i in range(251))
    return (period * (size // 251 + 1))[:size]


async def echo_once(transport: Any, listener: Any, payload: bytes = b"hello") -> None:
    transport.send(WSMsgType.BINARY, payload)
    assert bytes(await soon(listener.frames.get())) == payload


async def goodbye(transport: Any) -> None:
    transport.send_close(1000)
    await soon(transport.wait_disconnected())


async def idle(count: int = 0) -> None:
    """Wait until the poller has ``count`` sockets."""
    loop = asyncio.get_running_loop()
    poller, end = poller_of(loop), loop.time() + PATIENCE
    while poller.count != count:
        assert loop.time() < end, poller.count
        await asyncio.sleep(0.002)


# ---- the relay ----


class Relay:
    """Forwards bytes between our client and our server, in runs that ``cut`` decides."""

    def __init__(self, port: int, cut: Callable[[int], int]) -> None:
        self.target = port
        self.cut = cut
        self.port = 0
        self.total = [0, 0]
        self._tasks: list[Any] = []

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: Any, writer: Any) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        for one in (writer, back):
            one.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tasks.append(asyncio.ensure_future(self._pump(0, reader, back)))
        self._tasks.append(asyncio.ensure_future(self._pump(1, there, writer)))

    async def _pump(self, direction: int, reader: Any, writer: Any) -> None:
        n = 0
        try:
            while True:
                data = await reader.read(65536)
                if not data:
                    break
                self.total[direction] += len(data)
                while data:
                    size = self.cut(n)
                    n += 1
                    writer.write(data[:size])
                    data = data[size:]
                    await writer.drain()
                    await asyncio.sleep(0)
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("size", [1, 2, 7, "mixed"])
async def test_partial_records(net, version, size):
    """The handshake and the frames arrive in little pieces: every split is met."""
    server_ssl = net.certificates.server()
    server_ssl.minimum_version = server_ssl.maximum_version = getattr(ssl.TLSVersion, version)
    mixed = [1, 3, 5, 4096, 1, 17, 2]

    def cut(n: int) -> int:
        return mixed[n % len(mixed)] if size == "mixed" else size

    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(net.serve(lambda r: EchoListener(), ssl=server_ssl))
        relay = await stack.enter_async_context(Relay(net.port, cut))
        net.port = relay.port
        transport, listener = await net.connect(Recorder, websocket_handshake_timeout=20)
        for n in (0, 1, 100, 500 if size == 1 else 40_000 if size == "mixed" else 5_000):
            await echo_once(transport, listener, pattern(n))
        await goodbye(transport)
        assert listener.events[-2:] == ["CLOSE", "disconnected"]
        assert min(relay.total) > 1000


# ---- versions, extensions, contexts ----


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_versions(net, version):
    client_ssl = net.certificates.client()
    client_ssl.minimum_version = client_ssl.maximum_version = getattr(ssl.TLSVersion, version)
    async with net.serve(lambda r: EchoListener()):
        transport, listener = await net.connect(Recorder, ssl_context=client_ssl)
        info = transport.underlying_transport.get_extra_info
        assert info("ssl_object").version() == version.replace("_", ".")
        assert info("cipher") is not None
        assert transport.is_secure is True
        for n in (0, 1, 16383, 16384, 16385, 100_000):
            await echo_once(transport, listener, pattern(n))
        await goodbye(transport)


async def test_no_common_version(net):
    server_ssl, client_ssl = net.certificates.server(), net.certificates.client()
    server_ssl.minimum_version = ssl.TLSVersion.TLSv1_3
    client_ssl.maximum_version = ssl.TLSVersion.TLSv1_2
    async with net.serve(lambda r: EchoListener(), ssl=server_ssl):
        with pytest.raises(ssl.SSLError, match=r"(?i)version"):
            await soon(net.connect(Recorder, ssl_context=client_ssl))
        await idle(1)


async def test_alpn(net):
    server_ssl, client_ssl = net.certificates.server(), net.certificates.client()
    server_ssl.set_alpn_protocols(["http/1.1"])
    client_ssl.set_alpn_protocols(["h2", "http/1.1"])
    chosen = []

    class Listener(Recorder):
        def on_ws_connected(self, transport):
            super().on_ws_connected(transport)
            tls = transport.underlying_transport.get_extra_info("ssl_object")
            chosen.append(tls.selected_alpn_protocol())

    async with net.serve(lambda r: Listener(), ssl=server_ssl):
        transport, _ = await net.connect(Listener, ssl_context=client_ssl)
        assert chosen == ["http/1.1"] * 2
        await goodbye(transport)


async def test_server_name(net):
    """The name goes out (RFC 6066), the server's callback may choose another context."""
    names = []
    first, second = net.certificates.server(), net.certificates.server()

    def chose(tls: ssl.SSLObject, name: Optional[str], context: ssl.SSLContext) -> None:
        names.append(name)
        assert context is first
        tls.context = second

    first.sni_callback = chose
    contexts = []

    class Listener(Recorder):
        def on_ws_connected(self, transport):
            super().on_ws_connected(transport)
            info = transport.underlying_transport.get_extra_info
            contexts.append(info("ssl_object").context)

    async with net.serve(lambda r: Listener(), ssl=first):
        transport, _ = await net.connect(Recorder, server_hostname="localhost")
        await goodbye(transport)
        transport, _ = await net.connect(Recorder)
        await goodbye(transport)
    assert names == ["localhost", None]  # an address is no name
    assert contexts == [second, second]


async def test_server_name_callback_that_refuses(net):
    server_ssl = net.certificates.server()
    server_ssl.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    async with net.serve(lambda r: EchoListener(), ssl=server_ssl):
        with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
            await soon(net.connect(Recorder, server_hostname="localhost"))
        await idle(1)


async def test_own_ssl_object(net):
    """Any SSLContext works: the methods of its sslobject_class are the ones that are called."""
    calls: dict[str, int] = {}

    class Counting(ssl.SSLObject):
        def do_handshake(self, *args: Any) -> Any:
            calls["do_handshake"] = calls.get("do_handshake", 0) + 1
            return super().do_handshake(*args)

        def read(self, *args: Any) -> Any:
            calls["read"] = calls.get("read", 0) + 1
            return super().read(*args)

        def write(self, *args: Any) -> Any:
            calls["write"] = calls.get("write", 0) + 1
            return super().write(*args)

        def unwrap(self, *args: Any) -> Any:
            calls["unwrap"] = calls.get("unwrap", 0) + 1
            return super().unwrap(*args)

    client_ssl = net.certificates.client()
    client_ssl.sslobject_class = Counting
    async with net.serve(lambda r: EchoListener()):
        transport, listener = await net.connect(Recorder, ssl_context=client_ssl)
        assert isinstance(transport.underlying_transport.get_extra_info("ssl_object"), Counting)
        before = calls["write"]
        await echo_once(transport, listener)
        assert calls["write"] == before + 1
        await goodbye(transport)
    assert set(calls) == {"do_handshake", "read", "write", "unwrap"}
    assert calls["do_handshake"] < 5


@pytest.mark.parametrize("where", ["do_handshake", "read", "write"])
@pytest.mark.parametrize("answer", [ZeroDivisionError, "nonsense", -1, 1 << 40])
async def test_own_ssl_object_that_fails(net, where, answer):
    """An exception, or what no SSLObject returns: an end, no crash."""
    if where == "do_handshake" and not isinstance(answer, type):
        pytest.skip("nobody looks at what it returns")
    loop = asyncio.get_running_loop()
    active = False

    class Failing(ssl.SSLObject):
        pass

    def fail(self: Any, *args: Any) -> Any:
        if not active:
            return getattr(ssl.SSLObject, where)(self, *args)
        if isinstance(answer, type):
            raise answer("mine")
        return answer

    setattr(Failing, where, fail)
    client_ssl = net.certificates.client()
    client_ssl.sslobject_class = Failing
    handler = loop.get_exception_handler()
    async with net.serve(lambda r: EchoListener()):
        loop.set_exception_handler(lambda *_: None)
        try:
            if where == "do_handshake":
                active = True
                with pytest.raises(answer):
                    await soon(net.connect(Recorder, ssl_context=client_ssl))
            else:
                transport, listener = await net.connect(Recorder, ssl_context=client_ssl)
                active = True
                if where == "write":
                    with contextlib.suppress(ZeroDivisionError, TypeError, OSError, ValueError):
                        transport.send(WSMsgType.BINARY, b"x" * 1000)
                    active = False
                    transport.disconnect(False)
                else:
                    transport.send(WSMsgType.BINARY, b"x" * 1000)
                await soon(listener.disconnected.wait())
                assert listener.events.count("disconnected") == 1
            await idle(1)
        finally:
            loop.set_exception_handler(handler)


async def test_a_view_that_an_ssl_object_keeps(net):
    """It reads into the ring; whoever keeps that view keeps memory, and breaks nothing."""
    kept: list[memoryview] = []

    class Keeping(ssl.SSLObject):
        def read(self, len: int = 1024, buffer: Any = None) -> Any:
            if buffer is not None:
                kept.append(buffer)
            return super().read(len, buffer)

    client_ssl = net.certificates.client()
    client_ssl.sslobject_class = Keeping
    async with net.serve(lambda r: EchoListener()):
        transport, listener = await net.connect(Recorder, ssl_context=client_ssl)
        for i in range(20):
            await echo_once(transport, listener, bytes([i]) * 3000)
        await goodbye(transport)
    assert kept
    del transport, listener
    gc.collect()
    for view in kept:
        view[0:1] = b"!"


async def test_session_is_resumed(certificates):
    """Tickets come with the reads; a context whose wrap_bio() gives the session resumes it."""
    sessions: list[Any] = []

    class Resuming(ssl.SSLContext):
        def wrap_bio(self, *args: Any, **options: Any) -> Any:
            return super().wrap_bio(*args, session=sessions[-1] if sessions else None, **options)

    plain = certificates.client()
    client_ssl = Resuming(ssl.PROTOCOL_TLS_CLIENT)
    client_ssl.load_verify_locations(cadata=_authorities(plain))
    net = Net("wss", "auto", certificates)
    async with net.serve(lambda r: EchoListener()):
        reused = []
        for _ in range(3):
            transport, listener = await net.connect(Recorder, ssl_context=client_ssl)
            await echo_once(transport, listener)
            tls = transport.underlying_transport.get_extra_info("ssl_object")
            reused.append(tls.session_reused)
            sessions.append(tls.session)
            await goodbye(transport)
    assert reused == [False, True, True]


def _authorities(context: ssl.SSLContext) -> str:
    return "".join(ssl.DER_cert_to_PEM_cert(der) for der in context.get_ca_certs(binary_form=True))


# ---- refusals ----


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_client_certificate(net, version):
    server_ssl, client_ssl = net.certificates.server(), net.certificates.client()
    server_ssl.verify_mode = ssl.CERT_REQUIRED
    server_ssl.load_verify_locations(cadata=_authorities(client_ssl))
    server_ssl.maximum_version = getattr(ssl.TLSVersion, version)
    _own_certificate(net.certificates, client_ssl)
    peers = []

    class Listener(EchoListener):
        def on_ws_connected(self, transport):
            peers.append(transport.underlying_transport.get_extra_info("peercert"))

    async with net.serve(lambda r: Listener(), ssl=server_ssl):
        transport, listener = await net.connect(Recorder, ssl_context=client_ssl)
        await echo_once(transport, listener)
        await goodbye(transport)
    assert ("IP Address", "127.0.0.1") in peers[0]["subjectAltName"]


def _own_certificate(certificates: Any, context: ssl.SSLContext) -> None:
    own = certificates._cert
    if hasattr(own, "configure_cert"):
        own.configure_cert(context)
    else:
        context.load_cert_chain(own, certificates._key)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_client_certificate_refused(net, version, caplog):
    """Either side says why."""
    caplog.set_level(logging.INFO, "picows_c.server")
    server_ssl = net.certificates.server()
    server_ssl.verify_mode = ssl.CERT_REQUIRED
    server_ssl.maximum_version = getattr(ssl.TLSVersion, version)
    async with net.serve(lambda r: EchoListener(), ssl=server_ssl):
        with pytest.raises((ssl.SSLError, WSHandshakeError)) as caught:
            await soon(net.connect(Recorder))
        error: Any = caught.value
        if not isinstance(error, ssl.SSLError):
            error = error.__cause__  # TLS 1.3: the client is done before the server looks
        assert isinstance(error, ssl.SSLError)
        assert "certificate" in str(error).lower() or "handshake failure" in str(error).lower()
        await idle(1)
    said = [r.getMessage() for r in caplog.records if "TLS handshake failed" in r.getMessage()]
    assert len(said) == 1
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in said[0]


async def test_untrusted_certificate(net, caplog):
    assert net.certificates.authority
    caplog.set_level(logging.INFO, "picows_c.server")
    async with net.serve(lambda r: EchoListener()):
        context = ssl.create_default_context()
        with pytest.raises(ssl.SSLCertVerificationError):
            await soon(net.connect(Recorder, ssl_context=context))
        await idle(1)
        await asyncio.sleep(0)  # it is told in the loop's next iteration
        assert any("TLS handshake failed" in r.getMessage() for r in caplog.records)
        # The server goes on.
        transport, listener = await net.connect(Recorder)
        await echo_once(transport, listener)
        await goodbye(transport)


async def test_wrong_host_name(net):
    async with net.serve(lambda r: EchoListener()):
        with pytest.raises(ssl.SSLCertVerificationError, match=r"example\.org"):
            await soon(net.connect(Recorder, server_hostname="example.org"))
        await idle(1)


async def test_contexts_of_the_wrong_kind(net):
    for wrong in (object(), True, "context", ssl.SSLContext):
        with pytest.raises(TypeError):
            async with net.serve(lambda r: None, ssl=wrong):
                pass
    async with net.serve(lambda r: EchoListener()):
        for wrong in (object(), True, "context", ssl.SSLContext):
            with pytest.raises(TypeError):
                await net.connect(Recorder, ssl_context=wrong)
        # One for servers: the call that received it says so.
        with pytest.raises((ssl.SSLError, ValueError, TypeError)):
            await soon(net.connect(Recorder, ssl_context=net.certificates.server()))
        await idle(1)
        with pytest.raises(ValueError):
            await soon(net.connect(Recorder, server_hostname=".bad."))
        await idle(1)
        gc.collect()
    await idle(0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_clients_context_for_a_server(net):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(TypeError, match="client's context"):
        await picows_c.ws_create_server(lambda r: None, "127.0.0.1", 0, ssl=context)
    await idle(0)


async def test_a_servers_context_for_a_client(net):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(TypeError, match="server's context"):
        await picows_c.ws_connect(Recorder, "wss://127.0.0.1:1", ssl_context=context)


# ---- what is no TLS ----


async def test_plain_http_to_a_tls_port(net, caplog):
    caplog.set_level(logging.INFO, "picows_c.server")
    async with net.serve(lambda r: EchoListener()):
        reader, writer = await asyncio.open_connection("127.0.0.1", net.port)
        writer.write(request_bytes())
        with contextlib.suppress(ConnectionError):
            assert not (await soon(reader.read())).startswith(b"HTTP")
        writer.close()
        await idle(1)
    assert any("TLS handshake failed" in r.getMessage() for r in caplog.records)


async def test_tls_to_a_plain_port(net, certificates):
    plain = Net("ws", "auto", certificates)
    async with plain.serve(lambda r: EchoListener()):
        net.port = plain.port
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await soon(net.connect(Recorder))
        await idle(1)


async def test_plain_client_to_a_tls_port(net, certificates):
    async with net.serve(lambda r: EchoListener()):
        plain = Net("ws", "auto", certificates)
        plain.port = net.port
        with pytest.raises((WSHandshakeError, OSError)) as caught:
            await soon(plain.connect(Recorder))
        assert isinstance(caught.value, (WSInvalidMessageError, WSHandshakeError, OSError))
        await idle(1)


# ---- ends ----


@contextlib.asynccontextmanager
async def raw_server(talk: Callable[[Any], Any]) -> AsyncIterator[int]:
    """Serve plain sockets: ``talk(socket)`` is a coroutine."""
    loop = asyncio.get_running_loop()
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)

    async def serve() -> None:
        sock, _ = await loop.sock_accept(listening)
        try:
            await talk(sock)
        finally:
            sock.close()

    task = asyncio.ensure_future(serve())
    try:
        yield listening.getsockname()[1]
        await soon(task)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
        listening.close()


class ByHand:
    """One end of TLS over a plain socket, step by step."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_side: bool) -> None:
        self.sock = sock
        self.loop = asyncio.get_running_loop()
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server_side else "127.0.0.1"
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server_side, server_hostname=name
        )
        self.ended = False

    async def flush(self) -> None:
        data = self.outgoing.read()
        if data:
            await self.loop.sock_sendall(self.sock, data)

    async def step(self, call: Callable[[], Any]) -> Any:
        while True:
            try:
                result = call()
            except ssl.SSLWantReadError:
                await self.flush()
                data = await soon(self.loop.sock_recv(self.sock, 65536))
                if not data:
                    self.ended = True
                    self.incoming.write_eof()
                else:
                    self.incoming.write(data)
            else:
                await self.flush()
                return result

    async def handshake(self) -> None:
        await self.step(self.tls.do_handshake)

    async def write(self, data: bytes) -> None:
        self.tls.write(data)
        await self.flush()

    async def until(self, what: bytes) -> bytes:
        got = b""
        while what not in got:
            data = await self.step(lambda: self.tls.read(65536))
            assert data, got
            got += data
        return got

    async def upgrade(self) -> None:
        head = await self.until(b"\r\n\r\n")
        key = head.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0].decode()
        await self.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_for(key).encode() + b"\r\n\r\n"
        )


@pytest.mark.parametrize("block", [256, 1000, 65536])
async def test_records_longer_than_the_room(net, block):
    """What OpenSSL has decrypted and the ring has no room for is found without another event."""
    frames = b"".join(frame_bytes(BINARY, bytes([i]) * 100) for i in range(150))
    assert len(frames) < 16384

    async def talk(sock: socket.socket) -> None:
        peer = ByHand(sock, net.certificates.server(), True)
        await peer.handshake()
        await peer.upgrade()
        await peer.write(frames)  # one record
        await peer.until(b"\x88")
        await peer.write(frame_bytes(8, b"\x03\xe8"))

    async with raw_server(talk) as net.port:
        transport, listener = await soon(net.connect(Recorder, read_buffer_init_size=block))
        for i in range(150):
            assert bytes(await soon(listener.frames.get())) == bytes([i]) * 100
        await goodbye(transport)


@pytest.mark.parametrize("stage", ["nothing", "handshake", "head", "frame"])
async def test_truncated_close_of_a_server(net, stage):
    """TCP ends without close_notify: an error before the end of the handshake, an end later."""

    async def talk(sock: socket.socket) -> None:
        peer = ByHand(sock, net.certificates.server(), True)
        if stage == "nothing":
            return
        if stage == "handshake":
            peer.incoming.write(await soon(peer.loop.sock_recv(sock, 65536)))
            with contextlib.suppress(ssl.SSLWantReadError):
                peer.tls.do_handshake()
            await peer.loop.sock_sendall(sock, peer.outgoing.read()[:100])
            return
        await peer.handshake()
        if stage == "head":
            await peer.until(b"\r\n\r\n")
            await peer.write(b"HTTP/1.1 101 Swi")
            return
        await peer.upgrade()
        await peer.write(frame_bytes(BINARY, b"whole"))
        if stage == "frame":
            await peer.write(frame_bytes(BINARY, b"half of it")[:5])

    async with raw_server(talk) as net.port:
        if stage in ("nothing", "handshake"):
            with pytest.raises((ConnectionError, ssl.SSLError)):
                await soon(net.connect(Recorder))
        elif stage == "head":
            with pytest.raises(WSHandshakeError):
                await soon(net.connect(Recorder))
        else:
            transport, listener = await soon(net.connect(Recorder))
            await soon(transport.wait_disconnected())
            assert listener.events == ["connected", "BINARY", "disconnected"]
    await idle(0)


@pytest.mark.parametrize("stage", ["nothing", "handshake", "head", "frame"])
async def test_truncated_close_of_a_client(net, stage):
    listener = Recorder()
    loop = asyncio.get_running_loop()
    async with net.serve(lambda r: listener):
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", net.port))
            peer = ByHand(sock, net.certificates.client(), False)
            if stage == "handshake":
                with contextlib.suppress(ssl.SSLWantReadError):
                    peer.tls.do_handshake()
                await loop.sock_sendall(sock, peer.outgoing.read()[:100])
            elif stage != "nothing":
                await peer.handshake()
                await peer.write(request_bytes()[: 20 if stage == "head" else 1000])
            if stage == "frame":
                await peer.until(b"\r\n\r\n")
                await peer.write(client_frame(BINARY, b"whole"))
                await peer.write(client_frame(BINARY, b"half of it")[:9])
        if stage == "frame":
            await soon(listener.disconnected.wait())
            assert listener.events == ["connected", "BINARY", "disconnected"]
        await idle(1)
        if stage != "frame":
            assert listener.events == []


async def test_close_notify_from_the_peer(net):
    """The peer's close_notify is the end, and is answered with ours."""
    answered = []

    async def talk(sock: socket.socket) -> None:
        peer = ByHand(sock, net.certificates.server(), True)
        await peer.handshake()
        await peer.upgrade()
        await peer.write(frame_bytes(BINARY, b"last"))
        await peer.step(peer.tls.unwrap)  # raises unless the answer comes
        answered.append(not peer.ended)

    async with raw_server(talk) as net.port:
        transport, listener = await soon(net.connect(Recorder))
        await soon(transport.wait_disconnected())
        assert listener.events == ["connected", "BINARY", "disconnected"]
    assert answered == [True]


@pytest.mark.parametrize("answers", [True, False])
async def test_close_notify_from_us(net, answers):
    """disconnect() sends what waits, then close_notify; the end waits for the peer, not long."""
    got = []
    loop = asyncio.get_running_loop()

    async def talk(sock: socket.socket) -> None:
        peer = ByHand(sock, net.certificates.server(), True)
        await peer.handshake()
        await peer.upgrade()
        data = b""
        while True:
            try:
                part = await peer.step(lambda: peer.tls.read(65536))
            except ssl.SSLZeroReturnError:
                part = b""
            if not part:
                break
            data += part
        got.append((len(data), peer.ended))
        # No FIN of ours before the peer's end: some peers would drop what they have not read.
        await asyncio.sleep(0.05)
        with pytest.raises(BlockingIOError):
            sock.recv(1)
        if answers:
            peer.tls.unwrap()
            await peer.flush()
        else:
            await soon(loop.sock_recv(sock, 1))  # until the other side gives up

    async with raw_server(talk) as net.port:
        # Who does not answer is given up after the shorter of a second and close_timeout.
        timeout = 10.0 if answers else 0.3
        transport, listener = await soon(net.connect(Recorder, close_timeout=timeout))
        transport.send(WSMsgType.BINARY, bytes(300_000))
        begun = loop.time()
        transport.disconnect()
        await soon(listener.disconnected.wait())
        assert loop.time() - begun < (0.9 if answers else 5.0)
    # All of it, a masked head included, and close_notify before any FIN.
    assert got == [(300_000 + 14, False)]


@pytest.mark.parametrize("side", ["client", "server"])
async def test_handshake_timeout(net, side):
    """A silent peer."""
    if side == "client":

        async def talk(sock: socket.socket) -> None:
            while await soon(asyncio.get_running_loop().sock_recv(sock, 65536)):
                pass

        async with raw_server(talk) as net.port:
            with pytest.raises(ConnectionAbortedError, match=r"(?i)handshake"):
                await soon(net.connect(Recorder, ssl_handshake_timeout=0.05))
        return
    async with net.serve(lambda r: EchoListener(), ssl_handshake_timeout=0.05):
        reader, writer = await asyncio.open_connection("127.0.0.1", net.port)
        writer.write(b"\x16\x03\x01")
        with contextlib.suppress(ConnectionError):
            assert await soon(reader.read()) == b""
        writer.close()
        await idle(1)


async def test_no_handshake_timeout_afterwards(net):
    """The timer ends with the handshake."""
    async with net.serve(lambda r: EchoListener(), ssl_handshake_timeout=0.3):
        transport, listener = await net.connect(Recorder, ssl_handshake_timeout=0.3)
        await asyncio.sleep(0.4)
        await echo_once(transport, listener)
        await goodbye(transport)


async def test_cancelled_in_the_handshake(net):
    """Nothing stays behind, and nobody is told."""

    async def talk(sock: socket.socket) -> None:
        while await soon(asyncio.get_running_loop().sock_recv(sock, 65536)):
            pass

    async with raw_server(talk) as net.port:
        connecting = asyncio.ensure_future(net.connect(Recorder))
        while poller_of(asyncio.get_running_loop()).count == 0:
            await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await idle(0)


# ---- much data, new keys ----


@pytest.mark.parametrize("way", ["to", "from", "echo"])
async def test_a_large_message_through_small_buffers(net, way, caplog):
    caplog.set_level(logging.ERROR)
    size = 16 << 20
    payload = pattern(size)
    got = []

    class Server(EchoListener):
        def on_ws_connected(self, transport):
            self.small(transport)
            if way == "from":
                transport.send(WSMsgType.BINARY, payload)

        @staticmethod
        def small(transport):
            sock = transport.underlying_transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

        def on_ws_frame(self, transport, frame):
            if way == "echo":
                super().on_ws_frame(transport, frame)
            elif frame.msg_type is WSMsgType.BINARY:
                got.append(bytes(frame) == payload)
                transport.send(WSMsgType.BINARY, b"got it")

    options = {"max_frame_size": size}
    async with net.serve(lambda r: Server(), **options) as server:
        # Segments that fit a small window: else TCP waits 40 ms for each acknowledgement.
        server.sockets[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
        transport, listener = await net.connect(Recorder, **options)
        Server.small(transport)
        if way != "from":
            transport.send(WSMsgType.BINARY, payload)
        frame = await soon(listener.frames.get())
        if way == "to":
            assert bytes(frame) == b"got it"
            assert got == [True]
        else:
            assert bytes(frame) == payload
        await goodbye(transport)


@pytest.mark.parametrize("request_back", [False, True])
async def test_key_update(net, need, tmp_path, request_back):
    """TLS 1.3: the peer takes new keys in mid-stream, and may ask us for new ones."""
    program = need.program("openssl")
    received = asyncio.Event()
    listener = Recorder()
    authority = tmp_path / "ca.pem"
    authority.write_text(_authorities(net.certificates.client()))
    async with net.serve(lambda r: listener):
        peer = await asyncio.create_subprocess_exec(
            *(program, "s_client", "-connect", f"127.0.0.1:{net.port}", "-tls1_3"),
            *("-CAfile", str(authority), "-msg"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        output = bytearray()

        async def read_all() -> None:
            while True:
                data = await peer.stdout.read(65536)
                if not data:
                    break
                output.extend(data)
                received.set()

        async def until(condition: Callable[[], Any]) -> None:
            async def wait() -> None:
                while not condition():
                    received.clear()
                    await received.wait()

            await soon(wait())

        reading = asyncio.ensure_future(read_all())
        try:
            peer.stdin.write(request_bytes())
            await until(lambda: b"101 Switching" in output)
            for i in range(3):
                # A line that begins with k or K is a command: new keys, K asks for ours, too.
                peer.stdin.write(b"K\n" if request_back else b"k\n")
                sent = b">>> TLS 1.3, Handshake [length 0005], KeyUpdate"
                await until(lambda i=i, sent=sent: output.count(sent) > i)
                frame = client_frame(BINARY, b"after %d" % i, mask=b"\x01\x02\x03\x04")
                assert frame[:1] not in b"kKqQrRB"
                peer.stdin.write(frame)
                assert bytes(await soon(listener.frames.get())) == b"after %d" % i
                listener.transport.send(WSMsgType.TEXT, f"answer {i}")
                await until(lambda i=i: b"answer %d" % i in output)
            if request_back:
                # Ours: received by the peer.
                assert output.count(b"<<< TLS 1.3, Handshake [length 0005], KeyUpdate") == 3
        finally:
            peer.kill()
            await peer.wait()
            await soon(reading)
            await soon(listener.disconnected.wait())


# ---- a new handshake in mid-stream ----


class OpenSSL:
    """The openssl program as a peer: its output, and lines or bytes for its input."""

    def __init__(self, *command: str) -> None:
        self.command = command
        self.output = bytearray()
        self._received = asyncio.Event()

    async def __aenter__(self) -> OpenSSL:
        self.process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._reading = asyncio.ensure_future(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await soon(self._reading)

    async def _read(self) -> None:
        while True:
            data = await self.process.stdout.read(65536)
            self._received.set()
            if not data:
                break
            self.output.extend(data)

    def write(self, data: bytes) -> None:
        self.process.stdin.write(data)

    async def until(self, condition: Callable[[], Any]) -> None:
        async def wait() -> None:
            while not condition():
                assert not self._reading.done(), bytes(self.output)
                self._received.clear()
                await self._received.wait()

        await soon(wait())

    def numbers(self) -> list[int]:
        """Return the numbers that it received as <number>."""
        return [int(n) for n in re.findall(rb"<(\d+)>", self.output)]

    async def has_numbers(self, count: int) -> None:
        """Wait until it has received so many, each once and in order."""
        await self.until(lambda: len(self.numbers()) >= count)
        assert self.numbers() == list(range(count))


class Waits(ssl.SSLObject):
    """Counts how often it was asked for input, and how often it could not encrypt."""

    reads = 0
    waits = 0

    def read(self, *args: Any) -> Any:
        self.reads += 1
        return super().read(*args)

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except ssl.SSLWantReadError:
            self.waits += 1
            raise


async def send_while_it_waits(tls: Waits, reads: int, send: Callable[[], None]) -> None:
    """Send in each iteration of the loop from the first new input on, 50 times or more."""
    loop, waits = asyncio.get_running_loop(), tls.waits
    end = loop.time() + PATIENCE
    while tls.reads == reads:
        assert loop.time() < end, "nobody asks for a new handshake"
        await asyncio.sleep(0)
    for _ in range(50):
        send()
        await asyncio.sleep(0)
    assert tls.waits > waits, "nothing had to wait"


def renegotiating(context: ssl.SSLContext) -> ssl.SSLContext:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.options &= ~ssl.OP_NO_RENEGOTIATION
    context.sslobject_class = Waits
    return context


# OpenSSL takes no data between its request for a new handshake and its beginning: until the
# request is here our side is silent.


async def test_renegotiation_that_a_client_asks_for(net, need):
    """TLS 1.2: while it lasts nothing can be encrypted; what is sent waits, in its order."""
    program = need.program("openssl")
    server_ssl = renegotiating(net.certificates.server())
    if ssl.OPENSSL_VERSION_INFO >= (3,):
        server_ssl.options |= 1 << 8  # SSL_OP_ALLOW_CLIENT_RENEGOTIATION
    listener = Recorder()
    sent = 0

    def send() -> None:
        nonlocal sent
        listener.transport.send(WSMsgType.BINARY, b"<%d>" % sent)
        sent += 1

    async with net.serve(lambda r: listener, ssl=server_ssl):
        command = (program, "s_client", "-connect", f"127.0.0.1:{net.port}", "-tls1_2")
        async with OpenSSL(*command) as peer:
            peer.write(request_bytes())
            await peer.until(lambda: b"101 Switching" in peer.output)
            tls = listener.transport.underlying_transport.get_extra_info("ssl_object")
            for i in range(4):
                peer.write(client_frame(BINARY, b"before %d" % i, mask=bytes(4)))
                assert bytes(await soon(listener.frames.get())) == b"before %d" % i
                reads = tls.reads
                peer.write(b"R\n")  # a command where a read begins with it
                await send_while_it_waits(tls, reads, send)
                await peer.has_numbers(sent)
                peer.write(client_frame(BINARY, b"after %d" % i, mask=bytes(4)))
                assert bytes(await soon(listener.frames.get())) == b"after %d" % i
        await soon(listener.disconnected.wait())
    assert peer.output.count(b"RENEGOTIATING") == 4


async def test_renegotiation_that_a_server_asks_for(net, need, tmp_path):
    program = need.program("openssl")
    assert net.certificates.authority
    files = str(tmp_path / "server.pem")
    net.certificates._cert.private_key_and_cert_chain_pem.write_to_path(files)
    loop = asyncio.get_running_loop()
    sent = 0

    class Client(asyncio.Protocol):
        def __init__(self) -> None:
            self.reader = asyncio.StreamReader()

        def data_received(self, data: bytes) -> None:
            self.reader.feed_data(data)

        def connection_lost(self, exc: Any) -> None:
            self.reader.feed_eof()

    def send() -> None:
        nonlocal sent
        stream.write(b"<%d>" % sent)
        sent += 1

    command = (program, "s_server", "-accept", "127.0.0.1:0", "-cert", files, "-tls1_2")
    async with OpenSSL(*command, "-naccept", "1") as peer:
        accepts = re.compile(rb"ACCEPT 127.0.0.1:(\d+)")
        await peer.until(lambda: accepts.search(peer.output))
        sock = socket.create_connection(("127.0.0.1", int(accepts.search(peer.output)[1])))
        stream, client = await connect_stream(
            poller_of(loop),
            loop,
            Client,
            sock,
            ssl=renegotiating(net.certificates.client()),
            server_hostname="127.0.0.1",
        )
        tls = stream.get_extra_info("ssl_object")
        for i in range(4):
            stream.write(b"<%d>" % sent)
            sent += 1
            await peer.has_numbers(sent)
            reads = tls.reads
            peer.write(b"r\n")
            await send_while_it_waits(tls, reads, send)
            await peer.has_numbers(sent)
            peer.write(b"after %d\n" % i)
            assert await soon(client.reader.readline()) == b"after %d\n" % i
        stream.close()
        assert await soon(client.reader.read()) == b""


class Stubborn(ssl.SSLObject):
    """Cannot encrypt what comes now and then, as in a new handshake; the next time it can."""

    calls = 0
    every = 3

    def write(self, data: Any) -> int:
        self.calls += 1
        if self.calls % self.every == 0:
            raise ssl.SSLWantReadError("new handshake")
        return super().write(data)


async def next_frame(server: Recorder) -> bytes:
    """Return the next frame; the other side gets input meanwhile, after which it tries again."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while server.frames.empty():
        assert loop.time() < end, "it never came"
        server.transport.send(WSMsgType.TEXT, b"x")
        await asyncio.sleep(0)
    return bytes(server.frames.get_nowait())


@pytest.mark.parametrize("every", [2, 3, 5])
async def test_what_cannot_be_encrypted_yet_keeps_its_place(net, every):
    """Whatever is sent before and behind it: no byte is lost, and the order stays."""
    client_ssl = net.certificates.client()
    client_ssl.sslobject_class = type("Ours", (Stubborn,), {"every": every})
    sizes = [1, 100, 16_384 - 8, 16_385, 40_000, 7]
    server = Recorder()
    async with net.serve(lambda r: server):
        transport, _ = await net.connect(Recorder, ssl_context=client_ssl)
        sent = 0
        for i in range(120):
            transport.send(WSMsgType.BINARY, pattern(sizes[i % len(sizes)]) + b"%d" % i)
            sent += 1
            if i % 4 == 0:
                server.transport.send(WSMsgType.TEXT, b"x")
                await asyncio.sleep(0)
        for i in range(sent):
            expected = pattern(sizes[i % len(sizes)]) + b"%d" % i
            assert await next_frame(server) == expected
        tls = transport.underlying_transport.get_extra_info("ssl_object")
        assert tls.calls > sent
        transport.disconnect(False)
        await soon(transport.wait_disconnected())


# ---- TLS inside TLS ----


class Bytes(asyncio.Protocol):
    """Keeps what it receives."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.changed = asyncio.Event()
        self.lost = asyncio.Event()
        self.error: Any = None

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.changed.set()

    def connection_lost(self, exc: Any) -> None:
        self.error = exc
        self.lost.set()

    async def until(self, size: int) -> bytes:
        while len(self.data) < size:
            self.changed.clear()
            await soon(self.changed.wait())
        found = bytes(self.data)
        self.data.clear()
        return found


@contextlib.asynccontextmanager
async def two_filters(net: Net, outer: ssl.SSLContext) -> AsyncIterator[tuple[Any, Bytes]]:
    """A stream with two filters: the outer one ends at a relay, the inner one at our server."""
    loop = asyncio.get_running_loop()
    pumps = []

    async def terminate(reader: Any, writer: Any) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", net.port)

        async def pump(source: Any, target: Any) -> None:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while True:
                    data = await source.read(3000)
                    if not data:
                        break
                    target.write(data)
                    await target.drain()
            target.close()

        pumps.append(asyncio.ensure_future(pump(reader, back)))
        pumps.append(asyncio.ensure_future(pump(there, writer)))

    relay = await asyncio.start_server(terminate, "127.0.0.1", 0, ssl=net.certificates.server())
    sock = socket.socket()
    sock.setblocking(False)
    await loop.sock_connect(sock, relay.sockets[0].getsockname())
    stream, client = await connect_stream(
        poller_of(loop), loop, Bytes, sock, ssl=outer, server_hostname="127.0.0.1"
    )
    try:
        below = stream.get_extra_info("ssl_object")
        done = loop.create_future()
        start_tls(
            stream,
            loop,
            net.certificates.client(),
            done.set_result,
            server_side=False,
            server_hostname="localhost",
        )
        assert await soon(done) is None
        assert stream.get_extra_info("ssl_object") is not below
        stream.write(request_bytes())
        head = await client.until(100)
        assert head.startswith(b"HTTP/1.1 101")
        yield stream, client
        stream.write(client_frame(8, b"\x03\xe8"))
        await soon(client.lost.wait())
    finally:
        stream.abort()
        relay.close()
        await soon(asyncio.gather(*pumps))


async def test_tls_inside_tls(net):
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(net.serve(lambda r: EchoListener()))
        filters = two_filters(net, net.certificates.client())
        stream, client = await stack.enter_async_context(filters)
        for size in (1, 1000, 60_000):
            payload = pattern(size)
            stream.write(client_frame(BINARY, payload))
            expected = frame_bytes(BINARY, payload)
            assert await client.until(len(expected)) == expected


async def test_the_outer_one_cannot_encrypt_yet(net):
    """What the upper filter made waits in the lower one."""
    outer = net.certificates.client()
    outer.sslobject_class = type("Ours", (Stubborn,), {"every": 1 << 30})
    server = Recorder()
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(net.serve(lambda r: server))
        stream, _ = await stack.enter_async_context(two_filters(net, outer))
        outer.sslobject_class.every = 3
        for i in range(50):
            stream.write(client_frame(BINARY, pattern(2000) + b"%d" % i))
        for i in range(50):
            assert await next_frame(server) == pattern(2000) + b"%d" % i
        outer.sslobject_class.every = 1 << 30


async def test_the_outer_one_gives_too_much(net):
    """Nothing of it is taken for what the peer sent, and nothing is cut off in silence."""
    active = False

    class Generous(ssl.SSLObject):
        def read(self, len: int = 1024, buffer: Any = None) -> Any:
            data = super().read(len, buffer)
            return data + bytes(len) if active and isinstance(data, bytes) else data

    outer = net.certificates.client()
    outer.sslobject_class = Generous
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(net.serve(lambda r: EchoListener()))
        stream, client = await stack.enter_async_context(two_filters(net, outer))
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        active = True
        stream.write(client_frame(BINARY, b"x"))
        await soon(client.lost.wait())
        assert isinstance(client.error, ValueError)


async def test_nothing_keeps_a_connection(net):
    """Contexts, objects and BIOs go with it."""
    async with net.serve(lambda r: EchoListener()):
        transport, listener = await net.connect(Recorder)
        await echo_once(transport, listener)
        stream = transport.underlying_transport
        alive = [weakref.ref(stream), weakref.ref(stream.get_extra_info("ssl_object"))]
        await goodbye(transport)
        del transport, listener, stream
        await asyncio.sleep(0)
        gc.collect()
        assert [ref() for ref in alive] == [None, None]


async def test_ws_connect_uses_a_default_context(net):
    """No ssl_context: the system's trust, which does not know ours."""
    async with net.serve(lambda r: EchoListener()):
        with pytest.raises(ssl.SSLCertVerificationError):
            await soon(ws_connect(Recorder, net.url()))
        await idle(1)
