"""WSServer: as asyncio.Server is one in CPython 3.13, on every version and either way."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import struct
import sys
from typing import Any

import pytest
from conftest import Net
from helpers import EchoListener, Recorder, needs_poller, request_bytes

from picows_c import WSMsgType, WSServer, ws_connect, ws_create_server
from picows_c.listening import bind_sockets

has_reuse_port = pytest.mark.skipif(
    not hasattr(socket, "SO_REUSEPORT"), reason="no SO_REUSEPORT on this system"
)


@pytest.fixture
def create(way):
    """ws_create_server on one of the ways; what it made is closed in the end."""

    async def make(*args: Any, factory: Any = EchoListener, **options: Any) -> WSServer:
        return await ws_create_server(lambda r: factory(), *args, transport=way, **options)

    return make


async def check_echo(host, port, way="auto"):
    host = f"[{host}]" if ":" in host else host
    transport, listener = await ws_connect(Recorder, f"ws://{host}:{port}/", transport=way)
    transport.send(WSMsgType.TEXT, "x")
    frame = await listener.frames.get()
    assert bytes(frame) == b"x"
    transport.disconnect()
    await transport.wait_disconnected()


async def finish(server):
    server.close()
    server.abort_clients()
    await server.wait_closed()


def port_of(server, index=0):
    return server.sockets[index].getsockname()[1]


async def is_refused(address):
    try:
        _, writer = await asyncio.open_connection(*address)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def pending(task, turns=20):
    for _ in range(turns):
        await asyncio.sleep(0)
    return not task.done()


# ---- addresses ----


async def test_several_addresses(create):
    server = await create(["127.0.0.1", "127.0.0.2"], 0)
    addresses = [sock.getsockname() for sock in server.sockets]
    assert {host for host, _ in addresses} == {"127.0.0.1", "127.0.0.2"}
    for address in addresses:
        await check_echo(*address)
    await finish(server)
    for address in addresses:
        assert await is_refused(address)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
async def test_ipv6(create, way):
    server = await create("::1", 0)
    assert server.sockets[0].family == socket.AF_INET6
    await check_echo("::1", port_of(server), way)
    await finish(server)


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
async def test_both_families_on_one_port(create):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    server = await create(["127.0.0.1", "::1"], port)
    assert {s.family for s in server.sockets} == {socket.AF_INET, socket.AF_INET6}
    await check_echo("127.0.0.1", port)
    await check_echo("::1", port)
    await finish(server)


@pytest.mark.parametrize("host", [None, ""])
async def test_no_host_means_all_addresses(create, host):
    server = await create(host, 0, family=socket.AF_INET)
    assert [s.getsockname()[0] for s in server.sockets] == ["0.0.0.0"]
    await check_echo("127.0.0.1", port_of(server))
    await finish(server)


async def test_the_same_address_twice_is_one_socket(create):
    server = await create(["127.0.0.1", "127.0.0.1"], 0)
    assert len(server.sockets) == 1
    await finish(server)


async def test_a_tcp_socket_of_the_users(create):
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    server = await create(sock=sock)
    assert server.sockets[0].fileno() == sock.fileno()
    await check_echo("127.0.0.1", port)
    await finish(server)
    assert sock.fileno() == -1
    assert await is_refused(("127.0.0.1", port))


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no unix sockets")
async def test_a_unix_socket(create, tmp_path, way):
    sock = socket.socket(socket.AF_UNIX)
    path = str(tmp_path / "s")
    sock.bind(path)
    listeners = []

    def factory():
        listeners.append(Recorder())
        return listeners[-1]

    server = await create(sock=sock, factory=factory)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request_bytes())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    (listener,) = listeners
    assert listener.transport.underlying_transport.get_extra_info("sockname") == path
    listener.transport.send(WSMsgType.TEXT, b"hello")
    assert await reader.readexactly(7) == b"\x81\x05hello"
    writer.close()
    await listener.disconnected.wait()
    await finish(server)


@has_reuse_port
async def test_reuse_port(create):
    first = await create("127.0.0.1", 0, reuse_port=True)
    port = port_of(first)
    second = await create("127.0.0.1", port, reuse_port=True)
    for _ in range(10):
        await check_echo("127.0.0.1", port)
    await finish(first)
    for _ in range(3):
        await check_echo("127.0.0.1", port)
    await finish(second)
    assert await is_refused(("127.0.0.1", port))


async def test_a_port_in_use(create):
    server = await create("127.0.0.1", 0)
    port = port_of(server)
    with pytest.raises(OSError, match="error while attempting to bind on address") as caught:
        await create("127.0.0.1", port)
    assert caught.value.errno == errno.EADDRINUSE
    assert str(port) in str(caught.value)
    # Of several sockets none is left.
    with pytest.raises(OSError, match="error while attempting to bind on address"):
        await create(["127.0.0.3", "127.0.0.1"], port)
    assert await is_refused(("127.0.0.3", port))
    await finish(server)


async def test_an_address_of_somebody_else(create):
    for hosts in ("192.0.2.1", ["192.0.2.1", "127.0.0.1"], ["127.0.0.1", "192.0.2.1"]):
        with pytest.raises(OSError, match="error while attempting to bind on address") as caught:
            await create(hosts, 0)
        assert caught.value.errno == errno.EADDRNOTAVAIL


def infos(*hosts):
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in hosts]


@pytest.mark.parametrize("hosts", [["192.0.2.1", "127.0.0.1"], ["127.0.0.1", "192.0.2.1"]])
async def test_an_address_of_a_name_that_is_not_here_is_left_out(create, monkeypatch, hosts):
    """localhost is ::1, too, where there is no IPv6."""

    async def getaddrinfo(host, port, **options):
        return infos(*hosts)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    server = await create("name", 0)
    assert [sock.getsockname()[0] for sock in server.sockets] == ["127.0.0.1"]
    await finish(server)


async def test_a_name_without_an_address_here(create, monkeypatch):
    async def getaddrinfo(host, port, **options):
        return infos("192.0.2.1", "203.0.113.9")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    with pytest.raises(OSError, match=r"203\.0\.113\.9"):
        await create("name", 0)


async def test_a_family_that_is_not_here_is_left_out(create, monkeypatch):
    class Socket(socket.socket):
        def __init__(self, family=-1, *args, **options):
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *args, **options)

    async def getaddrinfo(host, port, **options):
        six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0))
        return [six, *infos("127.0.0.1")]

    loop = asyncio.get_running_loop()
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", Socket)
        patch.setattr(loop, "getaddrinfo", getaddrinfo, raising=False)
        bound = await bind_sockets(loop, "name", 0)
    assert [sock.getsockname()[0] for sock in bound.sockets] == ["127.0.0.1"]
    bound.close()


async def test_an_ip_address_is_no_name(create, monkeypatch):
    """No resolver is asked: its thread may keep the loop when everything is over."""

    async def getaddrinfo(*args, **options):
        raise AssertionError(args)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    server = await create("127.0.0.1", 0)
    assert [sock.getsockname()[0] for sock in server.sockets] == ["127.0.0.1"]
    await finish(server)


# ---- socket options ----

OPTIONS = [
    (socket.SOL_SOCKET, socket.SO_RCVBUF, 54_321),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 7, 0)),
]


@pytest.mark.parametrize("own", [False, True], ids=["host", "sock"])
async def test_socket_options_are_set_and_inherited(create, own):
    listener = Recorder()
    if own:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        server = await create(sock=sock, socket_options=OPTIONS, factory=lambda: listener)
    else:
        server = await create("127.0.0.1", 0, socket_options=OPTIONS, factory=lambda: listener)
    (listening,) = server.sockets

    def get(sock, option):
        return sock.getsockopt(*option[:2], *([16] if isinstance(option[2], bytes) else []))

    assert get(listening, OPTIONS[0]) in (54_321, 2 * 54_321)
    assert get(listening, OPTIONS[1]) != 0
    assert get(listening, OPTIONS[2]) == OPTIONS[2][2]
    transport, _ = await ws_connect(Recorder, f"ws://127.0.0.1:{port_of(server)}/")
    await listener.connected.wait()
    accepted = listener.transport.underlying_transport.get_extra_info("socket")
    for option in OPTIONS:
        if sys.platform == "linux":
            assert get(accepted, option) == get(listening, option)
    # This one is ours in any case.
    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    transport.disconnect()
    await transport.wait_disconnected()
    await finish(server)


@has_reuse_port
async def test_a_socket_option_is_set_before_bind(create):
    """An address that is in use: SO_REUSEPORT is no help afterwards."""
    option = (socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    first = await create("127.0.0.1", 0, socket_options=[option])
    second = await create("127.0.0.1", port_of(first), socket_options=[option])
    await finish(first)
    await finish(second)


async def test_a_socket_option_that_cannot_be_set(create):
    option = (socket.IPPROTO_TCP, 9999, 1)
    with pytest.raises(OSError, match=r"cannot set the socket option \(6, 9999, 1\)") as caught:
        await create("127.0.0.1", 0, socket_options=[option])
    assert caught.value.errno == errno.ENOPROTOOPT


async def test_keep_alive(create):
    for keep_alive in (True, False):
        server = await create("127.0.0.1", 0, keep_alive=keep_alive)
        value = server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert bool(value) is keep_alive
        await finish(server)


async def test_backlog(create):
    # Not accepting: so many connections and one more wait in the kernel.
    server = await create("127.0.0.1", 0, backlog=3)
    address = server.sockets[0].getsockname()
    peers = [socket.socket() for _ in range(10)]
    connected = 0
    for peer in peers:  # the loop does not run meanwhile
        peer.settimeout(0.05)
        try:
            peer.connect(address)
            connected += 1
        except (TimeoutError, socket.timeout):
            break
    assert connected == 4
    for peer in peers:
        peer.close()
    await finish(server)


# ---- serving ----


async def test_start_serving_later(create):
    server = await create("127.0.0.1", 0, start_serving=False)
    assert not server.is_serving()
    assert len(server.sockets) == 1
    address = server.sockets[0].getsockname()
    assert await is_refused(address)
    await server.start_serving()
    assert server.is_serving()
    await server.start_serving()
    await check_echo(*address)
    await finish(server)
    assert not server.is_serving()
    with pytest.raises(RuntimeError, match="closed"):
        await server.start_serving()


async def test_closing_a_server_that_never_served(create):
    server = await create("127.0.0.1", 0, start_serving=False)
    await finish(server)
    assert server.sockets == ()


async def test_what_a_server_says(create):
    server = await create("127.0.0.1", 0)
    assert isinstance(server, asyncio.AbstractServer)
    assert server.get_loop() is asyncio.get_running_loop()
    assert server.is_serving()
    assert isinstance(server.sockets, tuple)
    assert str(port_of(server)) in repr(server)
    server.close()
    assert not server.is_serving()
    assert server.sockets == ()
    assert "WSServer" in repr(server)
    server.close()
    await server.wait_closed()


async def test_close_leaves_connections(plain):
    async with plain.serve(lambda r: EchoListener()) as server:
        transport, listener = await plain.connect(Recorder)
        address = server.sockets[0].getsockname()
        server.close()
        assert await is_refused(address)
        transport.send(WSMsgType.TEXT, "x")
        frame = await listener.frames.get()
        assert bytes(frame) == b"x"
        transport.disconnect()
        await transport.wait_disconnected()
        await server.wait_closed()


async def test_wait_closed_waits_for_close_and_for_the_last_connection(net):
    async with net.serve(lambda r: EchoListener()) as server:
        # Before close(), with no connection: it waits all the same.
        waiters = [asyncio.ensure_future(server.wait_closed()) for _ in range(2)]
        assert await pending(waiters[0])
        made = [await net.connect(Recorder) for _ in range(2)]
        assert await pending(waiters[0])
        server.close()
        waiters.append(asyncio.ensure_future(server.wait_closed()))
        assert await pending(waiters[0])
        made[0][0].disconnect()
        await made[0][0].wait_disconnected()
        assert await pending(waiters[0])
        assert not any(w.done() for w in waiters)
        made[1][0].disconnect()
        await asyncio.gather(*waiters)
        await server.wait_closed()  # and it stays so
        await made[1][0].wait_disconnected()


async def test_a_cancelled_wait_closed_hurts_nobody(plain):
    async with plain.serve(lambda r: EchoListener()) as server:
        waiters = [asyncio.ensure_future(server.wait_closed()) for _ in range(2)]
        assert await pending(waiters[0])
        waiters[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiters[0]
        assert len(server._waiters) == 1  # whoever asks for years does not fill the memory
        server.close()
        await waiters[1]


@pytest.mark.parametrize("graceful", [True, False])
async def test_clients_are_ended(net, graceful):
    listeners = []

    def factory(request):
        listeners.append(Recorder())
        return listeners[-1]

    async with net.serve(factory) as server:
        made = [await net.connect(Recorder) for _ in range(3)]
        for listener in listeners:
            await listener.connected.wait()
            listener.transport.send(WSMsgType.TEXT, b"last words")
        server.close()
        if graceful:
            server.close_clients()
        else:
            server.abort_clients()
        for transport, listener in made:
            await transport.wait_disconnected()
            if graceful:
                assert listener.events == ["connected", "TEXT", "disconnected"]
        await server.wait_closed()
        for listener in listeners:
            assert listener.events == ["connected", "disconnected"]


async def test_clients_in_the_opening_handshake_are_ended(net):
    async with net.serve(lambda r: EchoListener()) as server:
        reader, writer = await net.open()
        writer.write(request_bytes()[:20])
        assert await pending(asyncio.ensure_future(asyncio.sleep(0)), 5) is False
        await asyncio.sleep(0.02)
        server.close()
        waiter = asyncio.ensure_future(server.wait_closed())
        assert await pending(waiter)
        server.abort_clients()
        await asyncio.wait_for(waiter, 5)
        with contextlib.suppress(ConnectionResetError, ssl.SSLError):
            assert await reader.read() == b""
        writer.close()


@needs_poller
@pytest.mark.parametrize("graceful", [True, False])
async def test_clients_in_the_tls_handshake_are_ended(certificates, graceful):
    net = Net("wss", "auto", certificates)
    async with net.serve(lambda r: EchoListener()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", net.port)
        writer.write(b"\x16\x03\x01")
        await asyncio.sleep(0.02)
        server.close()
        waiter = asyncio.ensure_future(server.wait_closed())
        assert await pending(waiter)
        if graceful:
            server.close_clients()
        else:
            server.abort_clients()
        await asyncio.wait_for(waiter, 5)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_close_clients_is_no_close(plain):
    async with plain.serve(lambda r: EchoListener()) as server:
        transport, _ = await plain.connect(Recorder)
        server.close_clients()
        await transport.wait_disconnected()
        assert server.is_serving()
        await check_echo("127.0.0.1", plain.port)
        server.abort_clients()
        assert server.is_serving()


async def test_serve_forever_until_cancelled(create):
    server = await create("127.0.0.1", 0, start_serving=False)
    address = server.sockets[0].getsockname()
    task = asyncio.ensure_future(server.serve_forever())
    assert await pending(task)
    assert server.is_serving()
    await check_echo(*address)
    with pytest.raises(RuntimeError, match="already being awaited"):
        await server.serve_forever()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not server.is_serving()
    assert await is_refused(address)
    await server.wait_closed()


async def test_close_ends_serve_forever(create):
    server = await create("127.0.0.1", 0)
    task = asyncio.ensure_future(server.serve_forever())
    assert await pending(task)
    server.close()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    with pytest.raises(RuntimeError, match="closed"):
        await server.serve_forever()
    await server.wait_closed()


async def test_async_with(create):
    server = await create("127.0.0.1", 0)
    async with server as same:
        assert same is server
        address = server.sockets[0].getsockname()
        await check_echo(*address)
    assert not server.is_serving()
    assert await is_refused(address)


# ---- bad arguments ----


async def test_bad_arguments(create, certificates):
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    context, client = certificates.server(), certificates.client()
    with sock:
        for error, args, options in [
            (ValueError, ("127.0.0.1", 0), {"sock": sock}),
            (ValueError, (None, 0), {"sock": sock}),
            (ValueError, (), {}),
            (ValueError, ("127.0.0.1", 0), {"ssl_handshake_timeout": 1}),
            (ValueError, ("127.0.0.1", 0), {"ssl_shutdown_timeout": 1}),
            (ValueError, ("127.0.0.1", 0), {"ssl": context, "ssl_handshake_timeout": 0}),
            (ValueError, ("127.0.0.1", 0), {"ssl": context, "ssl_handshake_timeout": -1}),
            (TypeError, ("127.0.0.1", 0), {"ssl": True}),
            (TypeError, ("127.0.0.1", 0), {"ssl": "context"}),
            (TypeError, ("127.0.0.1", 0), {"ssl": client}),
            (TypeError, ("127.0.0.1", 0), {"unknown": 1}),
            (TypeError, ("127.0.0.1", 0), {"backlog": "5"}),
            (TypeError, (), {"sock": "socket"}),
            (TypeError, ("127.0.0.1", 0), {"use_aiofastnet": "yes"}),
        ]:
            # Both of what contradicts each other are named.
            named = [name for name in ("sock", "ssl_handshake_timeout") if name in options]
            with pytest.raises(error, match=".*".join(named) or None):
                await create(*args, **options)
        assert sock.fileno() >= 0


@pytest.mark.parametrize("transport", ["poller", "", None, "AUTO"])
async def test_an_unknown_way(transport):
    with pytest.raises(ValueError, match="transport must be"):
        await ws_create_server(lambda r: None, "127.0.0.1", 0, transport=transport)


async def test_a_datagram_socket(create):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        with pytest.raises(ValueError, match="Stream Socket was expected"):
            await create(sock=sock)
        assert sock.fileno() >= 0


async def test_a_closed_socket(create):
    sock = socket.socket()
    sock.close()
    with pytest.raises((OSError, ValueError)):
        await create(sock=sock)


async def test_a_factory_that_cannot_be_called(way):
    with pytest.raises(TypeError, match="callable"):
        await ws_create_server(None, "127.0.0.1", 0, transport=way)


async def test_a_failure_leaves_no_descriptors(create):
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    for _ in range(5):
        with pytest.raises(OSError):
            await create(["127.0.0.1", "192.0.2.1"], 0)
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before
