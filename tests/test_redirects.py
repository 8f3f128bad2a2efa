"""Redirects: where ws_connect follows them, and what it does not tell there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl

import pytest
from helpers import EchoListener, Recorder
from raw import TEXT, Never, RawServer, row, soon

from picows_c import (
    WSHandshakeError,
    WSInvalidStatusError,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    client,
    ws_connect,
)


def answer(status, *locations):
    response = WSUpgradeResponse(status)
    for location in locations:
        response.headers.add("Location", location)
    return WSUpgradeResponseWithListener(response, None)


class Site:
    """A server that redirects by a table, and remembers what it was asked."""

    def __init__(self, table):
        self.table = table
        self.requests = []
        self.port = 0

    def __call__(self, request):
        self.requests.append(request)
        entry = self.table.get(request.path.decode())
        if entry is None:
            return EchoListener()
        return answer(*(entry if isinstance(entry, tuple) else (302, entry)))

    @property
    def paths(self):
        return [request.path.decode() for request in self.requests]


@contextlib.asynccontextmanager
async def sites(net, *all_sites, **options):
    """Serve each of them on a port of its own; net is the first one's."""
    async with contextlib.AsyncExitStack() as stack:
        for site in reversed(all_sites):
            await stack.enter_async_context(net.serve(site, **options))
            site.port = net.port
        yield


async def arrive(net, path="/", **options):
    """Connect, see that the connection works, and return the transport's request."""
    listener = Recorder()
    transport, same = await soon(net.connect(lambda: listener, path, **options))
    assert same is listener
    assert listener.events == ["connected"]
    transport.send(TEXT, "hello")
    assert bytes(await soon(listener.frames.get())) == b"hello"
    transport.disconnect(False)
    await soon(transport.wait_disconnected())
    return transport.request


# ---- followed ----


async def test_which_statuses(net):
    site = Site({f"/{status}": (status, "/end") for status in (300, 304, 305, 306, 399, 404)})
    followed = (301, 302, 303, 307, 308)
    site.table.update({f"/{status}": (status, "/end") for status in followed})
    async with sites(net, site):
        for path, (status, _) in site.table.items():
            site.requests.clear()
            with row(status):
                if status in followed:
                    request = await arrive(net, path)
                    assert request.path == b"/end"
                    assert site.paths == [path, "/end"]
                    assert {request.method for request in site.requests} == {b"GET"}
                    keys = [request.headers["Sec-WebSocket-Key"] for request in site.requests]
                    assert keys[0] != keys[1]
                else:
                    with pytest.raises(WSInvalidStatusError, match=f"received {status}"):
                        await soon(net.connect(Never(), path))
                    assert site.paths == [path]


async def test_locations(net):
    http = "http" if net.scheme == "ws" else "https"
    places = {
        "/b": "/b",
        "b": "/a/b",
        "../b?x=1": "/b?x=1",
        "?q=1": "/a/from?q=1",
        "//127.0.0.1:PORT/b": "/b",
        f"{net.scheme}://127.0.0.1:PORT/b": "/b",
        f"{http}://127.0.0.1:PORT/b?c": "/b?c",
        f"{http.upper()}://127.0.0.1:PORT": "/",
        "/b#fragment": "/b",
        "/b?c#": "/b?c",
        "/\xfc?\u20ac": "/%C3%BC?%E2%82%AC",
        "/a%20b": "/a%20b",
        # What is no URL, but is meant for one: blanks, and octets that are no UTF-8.
        "/a b": "/a%20b",
        "b  c?d\te f": "/a/b%20%20c?d%09e%20f",
        "/\udcff\udcfc%20": "/%FF%FC%20",
        "/\udcfc b": "/%FC%20b",
        "//other:secret@127.0.0.1:PORT/b": "/b",
    }
    site = Site({})
    async with sites(net, site):
        for location, path in places.items():
            site.table = {"/a/from": location.replace("PORT", str(net.port))}
            site.requests.clear()
            with row(location):
                request = await arrive(net, "/a/from")
                assert request.path == path.encode()
                assert site.paths == ["/a/from", path]
                # A server cannot choose credentials either.
                assert "Authorization" not in request.headers
                assert request.headers["Host"] == f"127.0.0.1:{net.port}"


async def test_from_ws_to_wss(certificates, way, monkeypatch):
    """With the default context: an ssl_context is for a wss URL."""
    from conftest import Net

    monkeypatch.setattr(ssl, "create_default_context", certificates.client)
    plain, tls = Net("ws", way, certificates), Net("wss", way, certificates)
    for scheme in ("wss", "https"):
        async with tls.serve(Site({})):
            start = Site({"/": f"{scheme}://localhost:{tls.port}/end"})
            async with plain.serve(start):
                transport, _ = await soon(plain.connect(Recorder))
                assert transport.is_secure is True
                assert transport.request.headers["Host"] == f"localhost:{tls.port}"
                transport.disconnect(False)
                await soon(transport.wait_disconnected())


# ---- not followed ----


async def test_from_wss_to_ws(certificates, way):
    from conftest import Net

    plain, tls = Net("ws", way, certificates), Net("wss", way, certificates)
    async with RawServer(plain) as server:
        for scheme in ("ws", "http"):
            site = Site({"/": f"{scheme}://127.0.0.1:{plain.port}/secret"})
            async with tls.serve(site):
                with pytest.raises(WSHandshakeError, match="redirect to non-secure URL") as caught:
                    await soon(tls.connect(Never()))
                assert type(caught.value) is WSHandshakeError
                assert caught.value.response.status == 302
        assert server.count == 0


BAD = {
    "none": ((302,), "without Location"),
    "two": ((302, "/a", "/b"), "several Location"),
    "ftp": ((302, "ftp://127.0.0.1/"), "scheme"),
    "port 0": ((302, "ws://127.0.0.1:0/"), "port 0"),
    "bad port": ((302, "ws://127.0.0.1:x/"), "cannot follow redirect"),
    "bad host": ((302, "ws://[::1/"), "cannot follow redirect"),
    "white space in a host": ((302, "ws://a b/"), "white space"),
    "a host that is no UTF-8": ((302, "ws://\udcff/"), "cannot follow redirect"),
    "script": ((302, "javascript:alert(1)"), "scheme"),
}


async def test_bad_locations(net):
    site = Site({})
    async with sites(net, site):
        for name, (entry, text) in BAD.items():
            site.table = {"/": entry}
            with row(name), pytest.raises(WSHandshakeError, match=text) as caught:
                await soon(net.connect(Never()))
            assert type(caught.value) is WSHandshakeError
            assert caught.value.response.status == 302
            assert isinstance(caught.value.__cause__, WSInvalidStatusError)


async def test_how_many(net):
    """The last refusal is raised where there were too many."""
    site = Site({f"/{i}": f"/{i + 1}" for i in range(7)})
    async with sites(net, site):
        for allowed, first in ((0, 6), (1, 5), (5, 1), (6, 0)):
            site.requests.clear()
            with pytest.raises(WSInvalidStatusError, match="received 302") as caught:
                await soon(net.connect(Never(), f"/{first}", max_redirects=allowed))
            assert len(site.requests) == allowed + 1
            assert caught.value.response.headers["Location"] == "/7"
        request = await arrive(net, "/2")  # five of them: the default
        assert request.path == b"/7"
        # Too many, and the last one could not be followed anyway.
        site.table["/6"] = (302,)
        with pytest.raises(WSInvalidStatusError):
            await soon(net.connect(Never(), "/6", max_redirects=0))


async def test_loop(net):
    site = Site({"/": "/"})
    async with sites(net, site):
        with pytest.raises(WSInvalidStatusError):
            await soon(net.connect(Never(), max_redirects=20))
    assert len(site.requests) == 21


@pytest.mark.parametrize("wrong", [-1, 1.5, None, "5"])
async def test_max_redirects_of_another_kind(wrong):
    with pytest.raises((ValueError, TypeError), match="max_redirects"):
        await ws_connect(Never(), "ws://127.0.0.1:1/", max_redirects=wrong)


# ---- what stays with its origin ----

PRIVATE = [
    ("Authorization", "Bearer x"),
    ("cookie", "a=b"),
    ("COOKIE", "c=d"),
    ("Proxy-Authorization", "Basic x"),
    ("X-Other", "z"),
]
NAMES = {"authorization", "cookie", "proxy-authorization", "x-other"}


def sent(request):
    return sorted((k.lower(), v) for k, v in request.headers.items() if k.lower() in NAMES)


async def test_same_origin_keeps_everything(net):
    site = Site({"/": "/two", "/two": "/three"})
    async with sites(net, site):
        host = ("Host", "virtual.example")
        await arrive(net, extra_headers=[*PRIVATE, host])
    everything = sorted((name.lower(), value) for name, value in PRIVATE)
    assert [sent(request) for request in site.requests] == [everything] * 3
    assert {request.headers["Host"] for request in site.requests} == {"virtual.example"}


async def test_other_origin_is_not_told(net):
    """Not on the way, not at the end, and not when it leads back."""
    first, second = Site({"/": ""}), Site({"/": ""})
    async with sites(net, first, second):
        first.table = {"/": f"{net.scheme}://127.0.0.1:{second.port}/away"}
        second.table = {"/away": f"{net.scheme}://127.0.0.1:{first.port}/back"}
        await arrive(net, extra_headers=[*PRIVATE, ("Host", "virtual.example")], origin="null")
    assert [sent(request) for request in second.requests] == [[("x-other", "z")]]
    assert [len(sent(request)) for request in first.requests] == [5, 1]
    assert second.requests[0].headers["Host"] == f"127.0.0.1:{second.port}"
    assert first.requests[0].headers["Host"] == "virtual.example"
    assert first.requests[1].headers["Host"] == f"127.0.0.1:{first.port}"
    assert second.requests[0].headers["Origin"] == "null"


@pytest.mark.parametrize("other", ["host", "port"])
async def test_credentials_of_the_url(net, other):
    first, second = Site({"/": "/here"}), Site({})
    async with sites(net, first, second):
        net.port = first.port
        target = ("localhost", first.port) if other == "host" else ("127.0.0.1", second.port)
        first.table["/here"] = f"{net.scheme}://{target[0]}:{target[1]}/there"
        await arrive(net, host="us%65r:p%C3%A4ss@127.0.0.1")
    seen = first.requests + second.requests
    basic = "Basic dXNlcjpww6Rzcw=="
    assert [r.headers.get("Authorization") for r in seen] == [basic, basic, None]
    assert "@" not in "".join(r.headers["Host"] for r in seen)


async def test_server_hostname_stays_too(net):
    """It names the server that the user meant."""
    if net.scheme == "ws":
        return
    names = []
    context = net.certificates.server()
    context.sni_callback = lambda tls, name, context: names.append(name)
    site, other = Site({"/": "/same"}), Site({})
    async with sites(net, site, other, ssl=context):
        site.table["/same"] = f"wss://127.0.0.1:{other.port}/"
        await arrive(net, server_hostname="localhost")
    assert names == ["localhost", "localhost", None]


# ---- each attempt is a connection of its own ----


async def test_socket_factory_is_called_each_time(net):
    asked = []

    def factory(url):
        asked.append((url.host, url.port, url.path, url.username))
        return socket.create_connection((url.host, url.port))

    site = Site({"/": "//other:secret@127.0.0.1:PORT/two"})
    async with sites(net, site):
        site.table["/"] = site.table["/"].replace("PORT", str(net.port))
        await arrive(net, host="user@127.0.0.1", socket_factory=factory)
    assert asked == [("127.0.0.1", net.port, "/", "user"), ("127.0.0.1", net.port, "/two", None)]


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_connections_that_redirect_are_closed(net, monkeypatch, version):
    """At once: no content is waited for."""
    monkeypatch.setattr(client, "_BODY_TIMEOUT", 3600.0)
    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(net.connect(Recorder, websocket_handshake_timeout=None))
        peer = await server.accept()
        await peer.read_head()
        fields = "Location: /b\r\nContent-Length: 100000"
        peer.write(f"{version} 307 x\r\n{fields}\r\n\r\nsome".encode())
        await peer.gone()
        last = await server.upgrade()
        assert last.head[0] == "GET /b HTTP/1.1"
        transport, _ = await soon(connecting)
        transport.disconnect(False)
        await soon(transport.wait_disconnected())


async def test_log_has_no_credentials(plain, caplog):
    caplog.set_level(logging.INFO, logger="picows_c.client")
    site = Site({"/": "/two"})
    async with sites(plain, site):
        await arrive(plain, host="user:secret@127.0.0.1")
    assert f"ws://***@127.0.0.1:{plain.port}/ redirects to" in caplog.text
    assert "secret" not in caplog.text
