"""What is logged of a connection, and how loud: ERROR is for the user's own code."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys

import pytest
from helpers import EchoListener, Recorder, request_bytes
from raw import (
    PING,
    ROLES,
    TEXT,
    Peer,
    RawServer,
    against,
    answer_bytes,
    complaints,
    exchange,
    soon,
)

from picows_c import (
    WSHandshakeError,
    WSListener,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_connect,
    ws_create_unix_server,
)


def said(caplog, text):
    """The records of ours that have ``text`` in them."""
    ours = [record for record in caplog.records if record.name.startswith("picows_c")]
    return [record for record in ours if text in record.getMessage()]


# ---- the opening ----


async def test_a_refused_client_was_never_connected(net, caplog):
    caplog.set_level(logging.DEBUG)
    async with RawServer(net) as server:
        for answer in ("HTTP/1.1 403 Forbidden", "HTTP/1.1 200 OK"):
            connecting = asyncio.ensure_future(net.connect(Recorder))
            peer = await server.accept()
            await peer.read_head()
            peer.write(answer_bytes(peer.key, answer, more=("Content-Length: 0",)))
            with pytest.raises(WSHandshakeError):
                await soon(connecting)
            await peer.gone()
    assert said(caplog, "established") == []


async def test_established_comes_once_and_first(net, caplog):
    caplog.set_level(logging.INFO)

    class Saying(Recorder):
        def on_ws_connected(self, transport):
            super().on_ws_connected(transport)
            assert len(said(caplog, "WS connection established")) == 1

    async with against(net, "client", Saying()):
        pass
    (record,) = said(caplog, "WS connection established")
    assert record.levelno == logging.INFO
    assert record.name == "picows_c.client"


def not_here(status):
    response = WSUpgradeResponse.create_error_response(status, b"why")
    return WSUpgradeResponseWithListener(response, None)


@pytest.mark.parametrize(
    ("answer", "status"), [(None, 404), (not_here(403), 403), (not_here(503), 503)]
)
async def test_what_the_factory_refuses_is_logged_once(net, caplog, answer, status):
    caplog.set_level(logging.INFO)
    async with net.serve(lambda request: answer):
        for request in (
            request_bytes("/nowhere?token=secret"),
            b"GET /nowhere?token=secret HTTP/1.1\r\nHost: h\r\n\r\n",
        ):
            caplog.clear()
            first, _, _ = await exchange(net, request)
            assert first.split()[1] == str(status)
            (record,) = said(caplog, "refused")
            assert record.levelno == logging.INFO
            assert f"{status} for '/nowhere'" in record.getMessage()
            assert "127.0.0.1" in record.getMessage()
            assert "secret" not in caplog.text


async def test_pages_are_no_refusals(plain, caplog):
    caplog.set_level(logging.INFO)
    page = WSUpgradeResponseWithListener(WSUpgradeResponse.create_ok_response(b"fine"), None)
    async with plain.serve(lambda request: page):
        assert (await exchange(plain, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"))[2] == b"fine"
    assert said(caplog, "refused") == []


# ---- what the peer does wrong ----


class Reading(Recorder):
    def on_ws_frame(self, transport, frame):
        super().on_ws_frame(transport, frame)
        frame.get_payload_as_utf8_text()


NO_FRAMES = {
    "no UTF-8": (lambda peer: peer.frame(TEXT, b"\xff"), 1007),
    "reserved bit": (lambda peer: peer.frame(TEXT, b"x", rsv=4), 1002),
    "long ping": (lambda peer: peer.frame(PING, bytes(126)), 1002),
    "too large": (lambda peer: peer.frame(TEXT, bytes(200)), 1009),
    "empty close code": (lambda peer: peer.frame(8, b"\x03"), 1002),
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", NO_FRAMES)
@pytest.mark.parametrize("assembles", [False, True])
async def test_a_peer_causes_no_error(net, role, caplog, name, assembles):
    make, code = NO_FRAMES[name]
    options = {"max_frame_size": 128, "assemble_messages": assembles}
    async with against(net, role, Reading(), **options) as peer:
        peer.write(make(peer))
        await peer.expect_close(code)
        assert await peer.rest() == b""
    (record,) = complaints(caplog)
    assert record.levelno == logging.WARNING
    assert record.exc_info is None


@pytest.mark.parametrize("role", ROLES)
async def test_what_goes_on_after_text_that_is_none(plain, role, caplog):
    """Its own exceptions are errors again."""

    class Two(Reading):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            raise ValueError("mine")

    async with against(plain, role, Two(), disconnect_on_exception=False) as peer:
        peer.write(peer.frame(TEXT, b"\xff"), peer.frame(TEXT, b"x"), peer.frame(PING))
        await peer.next()
    assert [record.levelno for record in complaints(caplog)] == [logging.WARNING, logging.ERROR]


# ---- what a callback raises ----


@pytest.mark.parametrize("where", ["on_ws_connected", "on_ws_frame", "on_ws_disconnected"])
async def test_a_client_that_nobody_waits_for(net, caplog, where):
    error = RuntimeError("told")

    def fail(*_):
        raise error

    class Failing(Recorder):
        def on_ws_disconnected(self, transport):
            super().on_ws_disconnected(transport)
            if where == "on_ws_disconnected":
                fail()

    listener = Failing()
    if where == "on_ws_frame":
        listener.on_ws_frame = fail
    elif where == "on_ws_connected":
        listener.on_ws_connected = fail
    async with net.serve(lambda request: Talking()):
        await net.connect(lambda: listener)
        await soon(listener.disconnected.wait())
    (record,) = [r for r in complaints(caplog) if r.name == "picows_c.client"]
    assert record.levelno == logging.ERROR
    assert record.exc_info[1] is error
    assert "in fail" in caplog.text


class Talking(WSListener):
    def on_ws_connected(self, transport):
        transport.send(1, "x")
        transport.send_close()


# ---- whose it is ----


@pytest.mark.skipif(sys.platform == "win32", reason="no unix sockets on Windows")
@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("abstract", [False, True])
async def test_prefixes_over_unix_sockets(way, scheme, abstract, tmp_path, certificates, caplog):
    if abstract and sys.platform != "linux":
        pytest.skip("abstract names are Linux's")
    caplog.set_level(logging.INFO)
    path = f"\0picows-{os.getpid()}-{way}-{scheme}" if abstract else str(tmp_path / "s")
    tls = scheme == "wss"
    server = await ws_create_unix_server(
        EchoListener, path, transport=way, ssl=certificates.server() if tls else None
    )
    try:
        if abstract:
            # (uvloop's own connect knows no abstract names.)
            await served_over(path, certificates.client() if tls else None)
        else:
            transport, _ = await ws_connect(
                Recorder,
                f"{scheme}://localhost/",
                unix_path=path,
                transport=way,
                ssl_context=certificates.client() if tls else None,
            )
            transport.send_close()
            await soon(transport.wait_disconnected())
    finally:
        server.close()
        server.abort_clients()
        await soon(server.wait_closed())
    shown = path.replace("\0", "@")
    servers = [record for record in caplog.records if record.name == "picows_c.server"]
    assert len(servers) >= 2
    who = f" pid {os.getpid()} uid {os.getuid()}" if sys.platform == "linux" else ""
    for record in servers:
        assert record.getMessage().startswith(f"[{shown}{who}] ")
    for record in caplog.records:
        if record.name == "picows_c.client":
            assert record.getMessage().startswith(f"[{path}] ")


async def served_over(path, context):
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    await soon(asyncio.get_running_loop().sock_connect(sock, path))
    options = {"ssl": context, "server_hostname": "localhost"} if context else {}
    peer = Peer(*await soon(asyncio.open_unix_connection(sock=sock, **options)), is_client=True)
    peer.write(request_bytes())
    await peer.read_head()
    peer.write(peer.close_frame(1000))
    await peer.expect_close(1000)
    peer.abort()
