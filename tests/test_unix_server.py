"""ws_create_unix_server: the file, its permissions and its end; the connections are as ever."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import inspect
import os
import socket
import stat
import sys

import pytest
from helpers import EchoListener, Recorder, request_bytes
from raw import CLOSE, TEXT, Peer, complaints, row, soon

from picows_c import WSListener, ws_create_server, ws_create_unix_server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no unix sockets on Windows")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")


class Room:
    """Serves on unix sockets, one of the ways; each server is closed in the end."""

    def __init__(self, way, folder):
        self.way = way
        self.folder = folder
        self.path = str(folder / "s")

    @contextlib.asynccontextmanager
    async def serve(self, factory, *path, **options):
        path = path or (() if "sock" in options else (self.path,))
        options.setdefault("transport", self.way)
        server = await ws_create_unix_server(factory, *path, **options)
        try:
            yield server
        finally:
            server.close()
            server.abort_clients()
            await soon(server.wait_closed())

    async def upgraded(self, path=None, **options):
        # uvloop's own connect knows no abstract names.
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        await soon(asyncio.get_running_loop().sock_connect(sock, path or self.path))
        opening = asyncio.open_unix_connection(sock=sock, **options)
        peer = Peer(*await soon(opening), is_client=True)
        peer.write(request_bytes())
        first, _ = await peer.read_head()
        assert first == "HTTP/1.1 101 Switching Protocols"
        return peer

    async def check_echo(self, path=None, **options):
        peer = await self.upgraded(path, **options)
        peer.send(TEXT, b"hello")
        await peer.expect(TEXT, b"hello")
        peer.abort()


@pytest.fixture
def room(way, tmp_path):
    return Room(way, tmp_path)


def echo(request):
    return EchoListener()


async def test_echo(room):
    async with room.serve(echo) as server:
        await room.check_echo()
        assert server.is_serving()
        assert server.sockets[0].getsockname() == room.path
        assert stat.S_ISSOCK(os.stat(room.path).st_mode)
    assert not os.path.exists(room.path)


async def test_tls(room, certificates):
    async with room.serve(echo, ssl=certificates.server()):
        context = certificates.client()
        await room.check_echo(ssl=context, server_hostname="localhost")


async def test_transport(room):
    listener = Recorder()
    async with room.serve(lambda request: listener):
        peer = await room.upgraded()
        await soon(listener.connected.wait())
        underlying = listener.transport.underlying_transport
        assert underlying.get_extra_info("sockname") == room.path
        assert underlying.get_extra_info("socket").family == socket.AF_UNIX
        assert listener.transport.is_secure is False
        peer.abort()
        await soon(listener.disconnected.wait())


@pytest.mark.parametrize(
    "kind", [os.fsencode, os.fspath, lambda path: path], ids=["bytes", "str", "Path"]
)
async def test_kinds_of_paths(room, kind):
    async with room.serve(echo, kind(room.folder / "other")):
        await room.check_echo(str(room.folder / "other"))
    assert os.listdir(room.folder) == []


@on_linux
@pytest.mark.parametrize("kind", [str, os.fsencode])
async def test_abstract_names(room, kind):
    name = f"\0picows_c-{os.getpid()}-{room.way}"
    async with room.serve(echo, kind(name)):
        await room.check_echo(name)
        with pytest.raises(OSError) as caught:
            await ws_create_unix_server(echo, name, transport=room.way)
        assert caught.value.errno == errno.EADDRINUSE
        with pytest.raises(ValueError, match=r"mode.*abstract"):
            await ws_create_unix_server(echo, name + "x", mode=0o600, transport=room.way)
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(ConnectionRefusedError):
        sock.connect(name)


# ---- the file ----


async def test_stale_file_is_replaced(room):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(room.path)
    async with room.serve(echo):
        await room.check_echo()


async def test_nothing_else_is_replaced(room):
    with open(room.path, "w") as file:
        file.write("precious")
    with pytest.raises(OSError, match="is already in use") as caught:
        await ws_create_unix_server(echo, room.path, transport=room.way)
    assert caught.value.errno == errno.EADDRINUSE
    assert room.path in str(caught.value)
    with open(room.path) as file:
        assert file.read() == "precious"


async def test_no_such_folder(room):
    with pytest.raises(FileNotFoundError):
        await ws_create_unix_server(echo, room.path + "/no/such", transport=room.way)


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o777, 0o0])
async def test_mode(room, mode):
    async with room.serve(echo, mode=mode, start_serving=False) as server:
        # So it is before anybody can connect.
        assert stat.S_IMODE(os.stat(room.path).st_mode) == mode
        await server.start_serving()
        assert stat.S_IMODE(os.stat(room.path).st_mode) == mode


async def test_without_mode_the_umask_counts(room):
    before = os.umask(0o027)
    try:
        async with room.serve(echo):
            assert stat.S_IMODE(os.stat(room.path).st_mode) == 0o750
    finally:
        os.umask(before)


async def test_file_is_removed_with_the_server(room):
    async with room.serve(echo) as server:
        peer = await room.upgraded()
        server.close()
        assert not os.path.exists(room.path)
        # Connections go on.
        peer.send(TEXT, b"still here")
        await peer.expect(TEXT, b"still here")
        peer.abort()


async def test_file_of_a_successor_is_left_alone(room):
    async with room.serve(echo) as server:
        async with room.serve(echo):
            server.close()
            await room.check_echo()
        assert not os.path.exists(room.path)


async def test_file_that_is_gone_already(room, caplog):
    async with room.serve(echo):
        os.unlink(room.path)
    assert complaints(caplog) == []


async def test_file_that_cannot_be_removed_is_logged(room, caplog, monkeypatch):
    async with room.serve(echo) as server:
        monkeypatch.setattr(os, "unlink", lambda path: (_ for _ in ()).throw(PermissionError("no")))
        server.close()
        monkeypatch.undo()
    (record,) = complaints(caplog)
    assert room.path in record.getMessage()


async def test_cleanup_socket_false_leaves_the_file(room):
    async with room.serve(echo, cleanup_socket=False):
        pass
    assert stat.S_ISSOCK(os.stat(room.path).st_mode)
    async with room.serve(echo):
        await room.check_echo()


@pytest.mark.parametrize("cleanup", [True, False])
async def test_socket_of_the_users(room, cleanup):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(room.path)
    async with room.serve(echo, sock=sock, cleanup_socket=cleanup):
        await room.check_echo()
    assert sock.fileno() == -1
    assert os.path.exists(room.path) is not cleanup


async def test_socket_in_ws_create_server_leaves_the_file(room):
    """As with loop.create_server()."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(room.path)
    server = await ws_create_server(echo, sock=sock, transport=room.way)
    await room.check_echo()
    server.close()
    server.abort_clients()
    await soon(server.wait_closed())
    assert os.path.exists(room.path)


async def test_failure_leaves_nothing(room, monkeypatch):
    def fail(*args):
        raise PermissionError(errno.EPERM, "no")

    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    monkeypatch.setattr(os, "chmod", fail)
    with pytest.raises(PermissionError):
        await ws_create_unix_server(echo, room.path, mode=0o600, transport=room.way)
    assert not os.path.exists(room.path)
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) <= before + (room.way == "auto")


# ---- what it shares with ws_create_server ----


async def test_limits_and_negotiation(room):
    options = {"origins": [None], "subprotocols": ["chat"], "max_connections": 1}
    async with room.serve(echo, **options) as server:
        peer = await room.upgraded()
        assert server.stats.open == 1
        other = Peer(*await soon(asyncio.open_unix_connection(room.path)), is_client=True)
        other.write(request_bytes())
        first, _ = await other.read_head()
        assert first == "HTTP/1.1 503 Service Unavailable"
        await other.rest()
        ending = asyncio.ensure_future(server.close_gracefully())
        await peer.expect_close(1001)
        peer.send(CLOSE, b"\x03\xe9")
        assert await peer.rest() == b""
        assert await soon(ending) == 0
        assert not os.path.exists(room.path)


async def test_socket_options_are_set_on_connections(room):
    listener = Recorder()
    option = (socket.SOL_SOCKET, socket.SO_SNDBUF, 54321)
    async with room.serve(lambda request: listener, socket_options=[option]) as server:
        wanted = server.sockets[0].getsockopt(*option[:2])
        assert wanted in (54321, 2 * 54321)
        peer = await room.upgraded()
        await soon(listener.connected.wait())
        sock = listener.transport.underlying_transport.get_extra_info("socket")
        assert sock.getsockopt(*option[:2]) == wanted
        peer.abort()
        await soon(listener.disconnected.wait())


def test_both_functions_take_the_same_options():
    tcp = inspect.signature(ws_create_server).parameters
    unix = inspect.signature(ws_create_unix_server).parameters
    own = {"path", "mode", "cleanup_socket"}
    addresses = {"host", "port", "family", "flags", "reuse_address", "reuse_port", "keep_alive"}
    assert set(tcp) - addresses == set(unix) - own
    for name in set(tcp) - addresses:
        assert tcp[name] == unix[name]


async def test_wrong_arguments(room):
    tcp, datagram = socket.socket(), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    stream = socket.socket(socket.AF_UNIX)
    with tcp, datagram, stream:
        rows = [
            (ValueError, "path and sock", (room.path,), {"sock": stream}),
            (ValueError, "mode and sock", (), {"sock": stream, "mode": 0o600}),
            (ValueError, "path was not specified, and no sock", (), {}),
            (ValueError, "path is empty", ("",), {}),
            (ValueError, "path is empty", (b"",), {}),
            (ValueError, "UNIX Domain Stream Socket", (), {"sock": tcp}),
            (ValueError, "UNIX Domain Stream Socket", (), {"sock": datagram}),
            (TypeError, "sock must be a socket", (), {"sock": 5}),
            (TypeError, "mode", (room.path,), {"mode": "600"}),
            (ValueError, "mode", (room.path,), {"mode": -1}),
            (ValueError, "mode", (room.path,), {"mode": 0o10000}),
            (TypeError, "PathLike", (5,), {}),
            (TypeError, "host", (room.path,), {"host": "127.0.0.1"}),
            (TypeError, "no_such_thing", (room.path,), {"no_such_thing": 1}),
            (ValueError, "ssl_handshake_timeout.*ssl", (room.path,), {"ssl_handshake_timeout": 1}),
            (ValueError, "max_connections", (room.path,), {"max_connections": 0}),
            (TypeError, "callable", (room.path,), {"factory": None}),
            (ValueError, "transport must be", (room.path,), {"transport": "other"}),
        ]
        for error, match, path, options in rows:
            factory = options.pop("factory", WSListener)
            options.setdefault("transport", room.way)
            with row((path, options)), pytest.raises(error, match=match):
                await ws_create_unix_server(factory, *path, **options)
        assert -1 not in (tcp.fileno(), datagram.fileno(), stream.fileno())
    assert os.listdir(room.folder) == []


async def test_platform_without_unix_sockets(room, monkeypatch):
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(NotImplementedError, match="unix sockets"):
        await ws_create_unix_server(echo, room.path, transport=room.way)
    monkeypatch.undo()
