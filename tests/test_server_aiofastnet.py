"""use_aiofastnet=True: the same server on aiofastnet's transports."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import sys

import pytest
from conftest import Net
from helpers import EchoListener, Recorder, request_bytes
from raw import TEXT, exchange, soon, upgraded

from picows_c import ws_create_server, ws_create_unix_server


@pytest.fixture(autouse=True)
def aiofastnet(need, request):
    if "missing" not in request.node.name:
        need("aiofastnet", importlib.util.find_spec("aiofastnet"))


@pytest.fixture(params=["ws", "wss"])
def served(request, certificates):
    return Net(request.param, "auto", certificates)


def is_theirs(transport):
    return type(transport.underlying_transport).__module__.startswith("aiofastnet")


async def test_echo(served, way):
    listener = Recorder()
    async with served.serve(lambda request: listener, transport=way, use_aiofastnet=True):
        transport, echoed = await served.connect(Recorder)
        await soon(listener.connected.wait())
        assert is_theirs(listener.transport)
        assert listener.transport.is_secure is (served.scheme == "wss")
        for size in (0, 1, 125, 126, 65_536, 1_000_000):
            transport.send(TEXT, b"x" * size)
            frame = await soon(listener.frames.get())
            assert frame.payload_size == size
            listener.transport.send(TEXT, frame.get_payload_as_memoryview())
            assert (await soon(echoed.frames.get())).payload_size == size
        transport.send_close(1000)
        await soon(transport.wait_disconnected())
        await soon(listener.disconnected.wait())
    assert transport.close_handshake.recv.code == 1000


@pytest.mark.parametrize("use", [None, False])
async def test_otherwise_it_is_not_used(served, way, use):
    listener = Recorder()
    async with served.serve(lambda request: listener, transport=way, use_aiofastnet=use):
        peer = await upgraded(served)
        await soon(listener.connected.wait())
        assert not is_theirs(listener.transport)
        peer.abort()
        await soon(listener.disconnected.wait())


async def test_limits_and_graceful_end(served):
    options = {"use_aiofastnet": True, "max_connections": 1, "max_pending_connections": 2}
    async with served.serve(lambda request: EchoListener(), **options) as server:
        transport, _ = await served.connect(Recorder)
        first, _, _ = await exchange(served, request_bytes())
        assert first.startswith("HTTP/1.1 503 ")
        silent = [await served.open() for _ in range(4)]
        assert await soon(silent[0][0].read()) == b""
        assert await soon(silent[1][0].read()) == b""
        assert server.stats.dropped == 2
        assert await soon(server.close_gracefully()) == 0
        await soon(transport.wait_disconnected())
        assert transport.close_handshake.recv.code == 1001
        for _, writer in silent:
            writer.close()


async def test_several_addresses_and_options(served):
    option = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    server = await ws_create_server(
        lambda request: EchoListener(),
        ["127.0.0.1", "127.0.0.2"],
        0,
        socket_options=[option],
        use_aiofastnet=True,
        start_serving=False,
    )
    assert not server.is_serving()
    await server.start_serving()
    assert len(server.sockets) == 2
    for sock in server.sockets:
        assert sock.getsockopt(*option[:2]) != 0
        _, writer = await asyncio.open_connection(*sock.getsockname())
        writer.close()
    server.close()
    server.abort_clients()
    await soon(server.wait_closed())


@pytest.mark.skipif(sys.platform == "win32", reason="no unix sockets on Windows")
async def test_unix_sockets(tmp_path):
    path = str(tmp_path / "s")
    listener = Recorder()
    server = await ws_create_unix_server(lambda request: listener, path, use_aiofastnet=True)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request_bytes())
    assert (await soon(reader.readuntil(b"\r\n\r\n"))).startswith(b"HTTP/1.1 101 ")
    assert is_theirs(listener.transport)
    writer.close()
    await soon(listener.disconnected.wait())
    server.close()
    await soon(server.wait_closed())
    assert not (tmp_path / "s").exists()


async def test_missing_package(monkeypatch, way):
    monkeypatch.setitem(sys.modules, "aiofastnet", None)
    with pytest.raises(ImportError, match=r"picows_c\[aiofastnet\]"):
        await ws_create_server(
            lambda request: None, "127.0.0.1", 0, transport=way, use_aiofastnet=True
        )
