"""OpenSSL called past the ssl module's objects: when it is, and that it is the same to the user."""

from __future__ import annotations

import _ssl
import asyncio
import contextlib
import gc
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Net
from helpers import EchoListener, Recorder, client_frame, request_bytes
from test_tls import ByHand, echo_once, goodbye, pattern, raw_server, soon

import picows_c
from picows_c import WSMsgType

# A free-threaded ssl module has locks of its own; one that is built in has no file.
HAS_DIRECT = (
    getattr(_ssl, "__file__", None) is not None
    and getattr(sys, "_is_gil_enabled", lambda: True)()
    and os.environ.get("PICOWS_C_TLS") != "objects"
)

pytestmark = pytest.mark.skipif(picows_c._core.POLLER is None, reason="no poller here")


@pytest.fixture
def net(certificates: Any) -> Net:
    return Net("wss", "auto", certificates)


def is_direct(transport: Any) -> bool:
    return transport.underlying_transport._tls_is_direct()


@pytest.mark.skipif(not HAS_DIRECT, reason="not here")
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
async def test_stock_objects_are_passed_by(net, version):
    client_ssl = net.certificates.client()
    client_ssl.maximum_version = getattr(ssl.TLSVersion, version)
    peer = Recorder()
    async with net.serve(lambda r: peer):
        transport, _ = await net.connect(Recorder, ssl_context=client_ssl)
        await soon(peer.connected.wait())
        assert is_direct(transport)
        assert is_direct(peer.transport)
        await goodbye(transport)


@pytest.mark.parametrize("method", ["read", "write", "pending"])
async def test_methods_of_its_own_are_called(net, method):
    class Own(ssl.SSLObject):
        pass

    def own(self: Any, *args: Any) -> Any:
        return getattr(ssl.SSLObject, method)(self, *args)

    setattr(Own, method, own)
    client_ssl = net.certificates.client()
    client_ssl.sslobject_class = Own
    async with net.serve(lambda r: EchoListener()):
        transport, listener = await net.connect(Recorder, ssl_context=client_ssl)
        assert not is_direct(transport)
        for size in (0, 1, 20_000, 300_000):
            await echo_once(transport, listener, pattern(size))
        await goodbye(transport)


class Odd(ssl.SSLContext):
    """Makes more than one object, or none, or one over other BIOs."""

    kind = ""

    def wrap_bio(self, incoming: Any, outgoing: Any, **options: Any) -> ssl.SSLObject:
        if self.kind == "kept":
            return self.kept
        found = super().wrap_bio(incoming, outgoing, **options)
        if self.kind == "two":
            self.other = super().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), **options)
        return found


@pytest.mark.parametrize("kind", ["one", "two"])
async def test_an_object_that_is_not_known_for_sure(net, kind):
    context = Odd(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.kind = kind
    async with net.serve(lambda r: EchoListener()):
        transport, listener = await net.connect(Recorder, ssl_context=context)
        assert is_direct(transport) == (HAS_DIRECT and kind == "one")
        await echo_once(transport, listener)
        await goodbye(transport)


async def test_an_object_over_other_bios(net):
    """It is not taken for ours; nothing comes of it, as with asyncio."""
    context = Odd(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.kept = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    context.kind = "kept"
    async with net.serve(lambda r: EchoListener()):
        with pytest.raises(ConnectionAbortedError):
            await soon(net.connect(Recorder, ssl_context=context, ssl_handshake_timeout=0.1))


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("own", [False, True])
async def test_a_record_that_was_changed(net, version, own, caplog):
    """The same error either way, for the one who finds it and for the one who hears of it."""

    class Own(ssl.SSLObject):
        def pending(self) -> int:
            return super().pending()

    server_ssl = net.certificates.server()
    server_ssl.maximum_version = getattr(ssl.TLSVersion, version)
    if own:
        server_ssl.sslobject_class = Own
    caplog.set_level("INFO", logger="picows_c.server")
    listener = Recorder()

    async with net.serve(lambda r: listener, ssl=server_ssl):
        with socket.create_connection(("127.0.0.1", net.port)) as sock:
            sock.setblocking(False)
            peer = ByHand(sock, net.certificates.client(), False)
            await peer.handshake()
            await peer.write(request_bytes())
            await soon(listener.connected.wait())
            peer.tls.write(client_frame(2, b"hello"))
            data = bytearray(peer.outgoing.read())
            data[-1] ^= 1
            sock.send(data)
            await soon(listener.disconnected.wait())
            assert "SSLError(1, '[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC] " in caplog.text
            with pytest.raises(ssl.SSLError) as caught:
                await peer.until(b"never")
            assert caught.value.reason in (
                "SSLV3_ALERT_BAD_RECORD_MAC",
                "SSL/TLS_ALERT_BAD_RECORD_MAC",
            )


async def test_an_alert_of_the_peer(net, caplog):
    """It is no clean end: its text reaches connection_lost()."""
    caplog.set_level("INFO", logger="picows_c.client")
    listener = Recorder()

    async def talk(sock: socket.socket) -> None:
        peer = ByHand(sock, net.certificates.server(), True)
        await peer.handshake()
        await peer.upgrade()
        # A record that is none makes an alert.
        peer.incoming.write(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(ssl.SSLError):
            peer.tls.read(1)
        await peer.flush()
        await soon(listener.disconnected.wait())

    async with raw_server(talk) as net.port:
        await soon(net.connect(lambda: listener))
        await soon(listener.disconnected.wait())
    assert "Disconnected: SSLError(1, '[SSL: " in caplog.text
    assert "ALERT_BAD_RECORD_MAC" in caplog.text


async def test_errors_of_others_in_the_queue(net):
    """What somebody left in OpenSSL's queue of errors is not taken for ours."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with net.serve(lambda r: EchoListener()):
        transport, listener = await net.connect(Recorder)
        for _ in range(20):
            with pytest.raises(ssl.SSLError):
                context.load_verify_locations(cadata=b"nonsense")
            await echo_once(transport, listener)
        await goodbye(transport)


@pytest.mark.parametrize("ending", ["goodbye", "abort"])
async def test_an_object_that_outlives_its_connection(net, ending):
    """It can be asked still; nothing crashes where somebody reads or writes through it."""
    async with net.serve(lambda r: EchoListener()):
        transport, listener = await net.connect(Recorder)
        await echo_once(transport, listener)
        tls = transport.underlying_transport.get_extra_info("ssl_object")
        if ending == "goodbye":
            await goodbye(transport)
        else:
            transport.disconnect(False)
            await soon(transport.wait_disconnected())
        del transport, listener
        await asyncio.sleep(0)
        gc.collect()
        assert tls.version() is not None
        for call in (lambda: tls.read(100), lambda: tls.write(b"x"), tls.unwrap):
            with contextlib.suppress(OSError):
                call()


@pytest.mark.parametrize("size", [8_000, 16_384, 50_000, 1_000_000])
async def test_sizes_around_what_is_encrypted_at_once(net, size):
    async with net.serve(lambda r: EchoListener()):
        transport, listener = await net.connect(Recorder)
        for n in range(size - 2, size + 3):
            payload = pattern(n)
            transport.send(WSMsgType.BINARY, payload)
            assert bytes(await soon(listener.frames.get())) == payload
        await goodbye(transport)


@pytest.mark.skipif(not HAS_DIRECT, reason="these are the objects")
def test_without_it():
    """Everything about TLS again, through the objects' methods."""
    here = Path(__file__).parent
    files = [
        str(here / name) for name in ("test_tls.py", "test_tls_shutdown.py", Path(__file__).name)
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not peer", *files],
        env={**os.environ, "PICOWS_C_TLS": "objects"},
        # Not where a picows_c lies: -m looks there first.
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
