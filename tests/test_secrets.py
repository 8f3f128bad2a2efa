"""No text of ours shows credentials: errors and all that hangs on them, logs, repr()."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import socket
import tempfile
import traceback
from pathlib import Path

import pytest
from helpers import EchoListener, Recorder
from raw import Never, RawServer, row, soon

from picows_c import (
    WSHandshakeError,
    WSInvalidURL,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_connect,
    ws_create_server,
)
from picows_c.cli.connecting import add_options
from picows_c.cli.problems import explain
from picows_c.url import parse_proxy_url, parse_url, shown_url

SECRET = "s3cret"


def texts(error):
    """Everything that somebody could print of an error."""
    seen, todo = [], [error]
    while todo:
        one = todo.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        yield from (str(one), repr(one), repr(one.args), str(getattr(one, "url", "")))
        yield "".join(traceback.format_exception_only(type(one), one))
        todo += [one.__cause__, one.__context__]


def check(error, name=""):
    with row(name):
        for text in texts(error):
            assert SECRET not in text
            assert "et@" not in text


@pytest.fixture
def log(caplog):
    """All that is logged, at every level; it is looked through in the end."""
    caplog.set_level(1, logger="picows_c")
    yield caplog
    for record in caplog.records:
        assert SECRET not in record.getMessage()
        assert SECRET not in repr(record.args)


# What stands for a host and what is before it; {} is the password.
USERINFO = [
    "{scheme}://bob:{}@h:x/",
    "{scheme}://bob:{}@h:99999/",
    "{scheme}://bob:s3cr#et@h:1/",
    "{scheme}://bob:s3cr/et@h:1/",
    "{scheme}://bob:s3cr?et@h:1/",
    "{scheme}://bob:s3cr et@h:1/",
    "{scheme}://bob:s3cr@et@h:1/#",
    "{scheme}://bob:s3cr[et@h:1/",
    "{scheme}://bob:s3cr\\et@h:99999",
    "{scheme}://bob:s3cr\u2100et@h:1/",
    "{scheme}://bob:s3cr\ud800et@h:1/",
    "{scheme}://bob:{}@\u2603\xdf..h/",
    "{scheme}://bob:{}@[::1%25lo]/",
    "{scheme}://bob:{}@",
    "{scheme}://{}@",
    "{scheme}://bob:{}",
    "{scheme}://bob:{}#x@h",
    "{scheme}://h:0/?token={}",
    "{scheme}://h/?token={}#",
    "{scheme}://h/#access_token={}",
    "{scheme}:/bob:{}@h/",
    "{scheme}:bob:{}@h/",
    "ftp://bob:{}@h",
    "bob:{}@h:1",
    "//bob:{}@h:1",
]


@pytest.mark.parametrize("text", USERINFO, ids=ascii)
async def test_urls_that_are_none(text, monkeypatch, log):
    for scheme in ("ws", "wss"):
        with pytest.raises(WSInvalidURL) as caught:
            await ws_connect(Never(), text.format(SECRET, scheme=scheme))
        check(caught.value, scheme)
        check(copy.deepcopy(caught.value), scheme)
    for scheme in ("http", "https", "socks4", "socks5"):
        proxy = text.format(SECRET, scheme=scheme)
        with pytest.raises(WSInvalidURL) as caught:
            await ws_connect(Never(), "ws://127.0.0.1:1/", proxy=proxy)
        check(caught.value, scheme)
        if "\ud800" in proxy or not text.startswith("{scheme}://"):
            continue  # no such environment; what is taken for a host and port there
        monkeypatch.setenv("all_proxy", proxy)
        with pytest.raises(WSInvalidURL) as caught:
            await ws_connect(Never(), "ws://127.0.0.1:1/", proxy=True)
        check(caught.value, scheme)


PROXIES = [
    "http://bob%3A:s3cret@h",
    "http://bob:s3cret%0A@h",
    "socks5://s3cret@h",
    "socks5://bob:s3cret%ff@h",
    "socks5://bob:s3cret%C3%A9@h",
    "socks4://s3cret%00@h",
    "socks5://bob:" + SECRET * 50 + "@h",
]


@pytest.mark.parametrize("proxy", PROXIES)
async def test_credentials_that_cannot_be_sent(proxy):
    with pytest.raises(ValueError) as caught:
        await ws_connect(Never(), "ws://127.0.0.1:1/", proxy=proxy)
    check(caught.value)


@pytest.mark.parametrize("kind", ["http", "socks4", "socks5"])
async def test_proxies_that_fail(plain, log, kind):
    """Whatever they answer; and one that is not there."""
    async with RawServer(plain) as server:
        for password in ("s3cret", ""):
            userinfo = f"{SECRET}:{password}@" if kind != "socks4" else f"{SECRET}@"
            if kind == "socks5" and not password:
                continue
            connecting = asyncio.ensure_future(
                plain_connect(plain, proxy=f"{kind}://{userinfo}127.0.0.1:{plain.port}")
            )
            peer = await server.accept()
            await peer.reader.read(10)
            peer.write(b"HTTP/1.1 407 No\r\n\r\n")
            peer.writer.close()
            with pytest.raises(WSHandshakeError) as caught:
                await soon(connecting)
            check(caught.value)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        with pytest.raises(ConnectionRefusedError) as refused:
            await soon(plain_connect(plain, proxy=f"{kind}://bob:{SECRET}@127.0.0.1:{port}"))
    check(refused.value)


async def plain_connect(net, url="ws://127.0.0.1:1/", **options):
    return await ws_connect(Never(), url, transport=net.way, **options)


ARGUMENTS = {
    "value": {"extra_headers": {"Authorization": "Bearer s3cret\n"}},
    "surrogate": {"extra_headers": {"Authorization": "Bearer s3cret\ud800"}},
    "cookie": {"extra_headers": [("Cookie", "a=s3cret\0")]},
    "name": {"extra_headers": {"Authorization: Bearer s3cret": ""}},
    "name with a line": {"extra_headers": [("Authorization:s3cret\r\n", "x")]},
    "bytes": {"extra_headers": {"Authorization": b"Bearer s3cret"}},
    "user_agent": {"user_agent": "s3cret\n"},
    "origin": {"origin": "https://bob:s3cret@h /"},
    "origin's query": {"origin": "https://h /?s3cret"},
    "subprotocol": {"subprotocols": ["Bearer s3cret"]},
    "subprotocols": {"subprotocols": ["bearer.s3cret", "bearer.s3cret"]},
    "user": {"url": "ws://bob%3A:s3cret@127.0.0.1:1/"},
    "password": {"url": "ws://bob:s3cret%0a@127.0.0.1:1/"},
}


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_arguments(plain, log, name):
    with pytest.raises((ValueError, TypeError)) as caught:
        await plain_connect(plain, **ARGUMENTS[name])
    check(caught.value)


async def test_arguments_of_servers():
    for origins in (["https://bob:s3cret@h"], ["https://h/?s3cret"]):
        with pytest.raises(ValueError) as caught:
            await ws_create_server(Never(), "127.0.0.1", 0, origins=origins)
        check(caught.value)


def test_messages_made_by_hand():
    request = WSUpgradeRequest(path=b"/?token=s3cret x")
    with pytest.raises(ValueError, match="without spaces") as caught:
        request.to_bytes()
    check(caught.value)
    for header in ("Set-Cookie", "Location"):
        with pytest.raises(ValueError) as caught:
            WSUpgradeResponse.create_error_response(403, None, {header: "s3cret\n"})
        check(caught.value)
    with pytest.raises(ValueError) as caught:
        WSUpgradeResponse.create_redirect_response(302, "/?s3cret\n")
    check(caught.value)


def test_what_is_told_of_a_header():
    with pytest.raises(ValueError, match=r"token.*' ' at position 13"):
        WSUpgradeResponse.create_ok_response(None, {"Authorization ": "x"})
    with pytest.raises(ValueError, match="empty"):
        WSUpgradeResponse.create_ok_response(None, {"": "x"})
    with pytest.raises(ValueError, match=r"of header X-Y$"):
        WSUpgradeResponse.create_ok_response(None, {"X-Y": "\0"})


def test_reprs():
    for url in (
        parse_url("wss://bob:s3cret@h:99/path?token=s3cret"),
        parse_proxy_url("http://s3cret@h"),
    ):
        assert SECRET not in repr(url)
        assert "'h'" in repr(url)


# ---- redirects ----


async def test_redirects_that_are_followed(net, log):
    def factory(request):
        if request.path.startswith(b"/two"):
            return EchoListener()
        location = net.url("/two?token=s3cret#s3cret").replace("//", "//x:s3cret@")
        response = WSUpgradeResponse.create_redirect_response(302, location)
        return WSUpgradeResponseWithListener(response, None)

    async with net.serve(factory):
        url = net.url("/one?token=s3cret").replace("//", "//bob:s3cret@")
        options = {} if net.scheme == "ws" else {"ssl_context": net.certificates.client()}
        transport, _ = await soon(ws_connect(Recorder, url, transport=net.way, **options))
        transport.disconnect(False)
        await soon(transport.wait_disconnected())
    (told,) = [r.getMessage() for r in log.records if " redirects to " in r.getMessage()]
    assert (
        told == f"{net.url('/one').replace('//', '//***@')}?... redirects to {net.url('/two')}?..."
    )


LOCATIONS = [
    "ws://bob:s3cret@h/?s3cret",
    "http://bob:s3cret@h/?s3cret",
    "wss://bob:s3cret@h:x/",
    "wss://bob:s3cr#et@h/",
    "wss://bob:s3cret@h:x/?s3cret",
    "ftp://bob:s3cret@h/",
    "wss://bob:s3cret@[h/",
]


async def test_redirects_that_are_not(certificates, way, log):
    from conftest import Net

    net = Net("wss", way, certificates)
    for location in LOCATIONS:
        response = WSUpgradeResponse.create_redirect_response(302, location)
        answer = WSUpgradeResponseWithListener(response, None)
        async with net.serve(lambda request, answer=answer: answer):
            with pytest.raises(WSHandshakeError, match="cannot follow redirect") as caught:
                await soon(net.connect(Never()))
        check(caught.value, location)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no unix sockets")
async def test_redirects_of_unix_sockets(plain, log):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 x\r\nLocation: ws://h/?s3cret\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    with tempfile.TemporaryDirectory(prefix="ws") as folder:
        path = Path(folder) / "s"
        server = await asyncio.start_unix_server(serve, path)
        with pytest.raises(WSHandshakeError, match="from a unix socket") as caught:
            await soon(plain_connect(plain, unix_path=path))
        server.close()
        await server.wait_closed()
    check(caught.value)


# ---- servers ----


async def test_servers_do_not_log_what_clients_offer(net, log):
    """A subprotocol may carry a token, where browsers can send no header."""

    def factory(request):
        return WSUpgradeResponseWithListener(
            WSUpgradeResponse.create_101_response({"Sec-WebSocket-Protocol": "other"}), Recorder()
        )

    async with net.serve(factory):
        with pytest.raises(WSHandshakeError):
            await soon(
                net.connect(
                    Never(),
                    "/?token=s3cret",
                    subprotocols=["bearer.s3cret"],
                    extra_headers={"Authorization": "Bearer s3cret"},
                )
            )
    assert log.records
    for record in log.records:
        if record.exc_info:
            check(record.exc_info[1])


# ---- the command line ----


def test_command_line():
    url = "wss://bob:s3cret@h:99/path?token=s3cret"
    errors = [asyncio.TimeoutError(), ConnectionRefusedError(), OSError("x"), WSHandshakeError("x")]
    for error in errors:
        told = str(explain(error, url))
        assert SECRET not in told
        assert told.startswith("wss://h:99/path: ")
    response = WSUpgradeResponse.create_redirect_response(302, "wss://x:s3cret@h/a?s3cret")
    from picows_c import WSInvalidStatusError

    refused = str(explain(WSInvalidStatusError("x", response=response), url))
    assert SECRET not in refused
    assert "Location: 'wss://h/a'" in refused


def test_headers_of_the_command_line(capsys):
    import argparse

    parser = argparse.ArgumentParser()
    add_options(parser)
    with contextlib.suppress(SystemExit):
        parser.parse_args(["ws://h", "--header", "Authorization Bearer s3cret"])
    assert SECRET not in capsys.readouterr().err


def test_shown_urls():
    """What is no secret stays."""
    for url, shown in {
        "ws://h:1/a": "ws://h:1/a",
        "ws://h/?": "ws://h/?",
        "ws://[::1]:9/": "ws://[::1]:9/",
        "h:1": "h:1",
        "/path?a": "/path?...",
        "": "",
    }.items():
        assert shown_url(url) == shown
