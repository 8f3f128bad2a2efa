"""Proxies: real ones of every kind, refusals, credentials, the environment."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib
import socket
import ssl
import struct
import sys

import pytest
from helpers import EchoListener, Recorder, needs_poller, read_head
from proxies import KINDS, scripted
from raw import TEXT, Never, row, soon

from picows_c import (
    WSHandshakeError,
    WSInvalidURL,
    WSProxyError,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_connect,
)
from picows_c.poller import has_poller
from picows_c.proxy import MAX_PROXY_HEAD, Tunnel, proxy_of_environment
from picows_c.url import parse_proxy_url, parse_url


@pytest.fixture(autouse=True)
def no_proxies_around(monkeypatch):
    for name in ("http", "https", "ws", "wss", "socks", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)


async def echo(net, text="hello", url=None, **options):
    """Connect, send one message and see it come back; return the transport's is_secure."""
    if net.scheme == "wss":
        options.setdefault("ssl_context", net.certificates.client())
    options.setdefault("transport", net.way)
    transport, listener = await soon(ws_connect(Recorder, url or net.url(), **options))
    transport.send(TEXT, text)
    assert bytes(await soon(listener.frames.get())) == text.encode()
    is_secure = transport.is_secure
    transport.disconnect(False)
    await soon(transport.wait_disconnected())
    return is_secure


def trust(net, kind):
    return {"proxy_ssl_context": net.certificates.client()} if kind == "https" else {}


# ---- through them ----


@pytest.mark.parametrize("auth", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_through_each_kind(net, proxies, kind, auth):
    before = proxies.count[kind, auth]
    async with net.serve(lambda request: EchoListener()):
        is_secure = await echo(net, "x" * 70_000, proxy=proxies.url(kind, auth), **trust(net, kind))
    assert is_secure is (net.scheme == "wss")
    assert proxies.count[kind, auth] == before + 1


@pytest.mark.parametrize("kind", KINDS)
async def test_redirects_go_through_it_each_time(net, proxies, kind):
    before = proxies.count[kind, False]

    def factory(request):
        if request.path == b"/three":
            return EchoListener()
        location = {b"/": "/two", b"/two": net.url("/three")}[request.path]
        response = WSUpgradeResponse.create_redirect_response(307, location)
        return WSUpgradeResponseWithListener(response, None)

    async with net.serve(factory):
        await echo(net, proxy=proxies.url(kind), **trust(net, kind))
    assert proxies.count[kind, False] == before + 3


@pytest.mark.parametrize("kind", ["http", "socks4", "socks4a", "socks5", "socks5h"])
async def test_where_names_are_resolved(plain, proxies, kind, monkeypatch):
    """SOCKS4 resolves here, everything else at the proxy."""
    loop = asyncio.get_running_loop()
    is_asyncio = isinstance(loop, asyncio.BaseEventLoop)
    real, asked = loop.getaddrinfo, []

    def getaddrinfo(host, *args, **options):
        asked.append(host)
        return real(host, *args, **options)

    url = proxies.url(kind.rstrip("ah") if kind != "http" else kind)
    async with plain.serve(lambda request: EchoListener()):
        target = plain.url(host="localhost")
        if is_asyncio:
            monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        await echo(plain, url=target, proxy=kind + url[url.index(":") :])
    if is_asyncio:
        assert asked == (["localhost"] if kind == "socks4" else [])


async def test_connect_request(plain, certificates):
    """What the proxy sees, byte by byte: no header that was meant for the server."""
    heads = []

    async def script(reader, writer):
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 403 No\r\n\r\n")

    for context in (None, certificates.server()):
        async with scripted(script, context) as port:
            scheme = "http" if context is None else "https"
            url = f"{scheme}://us%20er:p%3A@127.0.0.1:{port}"
            options = {"extra_headers": {"X": "y", "Cookie": "a=b"}, "proxy": url}
            with pytest.raises(WSProxyError):
                await soon(
                    ws_connect(Never(), "ws://u:p@[::1]/", transport=plain.way, **options)
                    if context is None
                    else ws_connect(
                        Never(),
                        "wss://u:p@Example.org/",
                        transport=plain.way,
                        proxy_ssl_context=certificates.client(),
                        **options,
                    )
                )
    credentials = base64.b64encode(b"us er:p:")
    for head, target in zip(heads, (b"[::1]:80", b"example.org:443")):
        assert head == (
            b"CONNECT " + target + b" HTTP/1.1\r\nHost: " + target + b"\r\n"
            b"Proxy-Authorization: Basic " + credentials + b"\r\n\r\n"
        )


async def test_credentials_stay_with_the_proxy(net, proxies):
    seen = []

    def factory(request):
        seen.append(str(request.headers).lower())
        return EchoListener()

    async with net.serve(factory):
        await echo(net, proxy=proxies.url("http", True))
    assert "authorization" not in seen[0]


@needs_poller
async def test_server_name_is_that_of_the_url(net, proxies):
    """Not the proxy's: its certificate is checked against the URL's host."""
    if net.scheme == "ws":
        return
    names = []
    context = net.certificates.server()
    context.sni_callback = lambda tls, name, context: names.append(name)
    # The loop's own servers forget who is still in a TLS handshake.
    async with net.serve(lambda request: EchoListener(), ssl=context, transport="auto"):
        for kind in KINDS:
            url = net.url(host="localhost")
            await echo(net, url=url, proxy=proxies.url(kind), **trust(net, kind))
            options = {"proxy": proxies.url(kind), "server_hostname": "example.org"}
            with pytest.raises(ssl.SSLCertVerificationError):
                await soon(net.connect(Never(), **options, **trust(net, kind)))
    assert names == ["localhost", "example.org"] * len(KINDS)


async def test_untrusted_https_proxy(net, proxies):
    async with net.serve(lambda request: EchoListener()):
        with pytest.raises(ssl.SSLCertVerificationError):
            await soon(net.connect(Never(), proxy=proxies.url("https")))


async def test_asyncio_has_no_tls_inside_tls(proxies, certificates, need):
    """So transport="loop" takes the poller for it; uvloop's own transports can."""
    from conftest import Net

    need("a poller", has_poller())
    net = Net("wss", "loop", certificates)
    async with net.serve(lambda request: EchoListener()):
        options = trust(net, "https")
        transport, _ = await soon(net.connect(Recorder, proxy=proxies.url("https"), **options))
        kind = type(transport.underlying_transport).__module__
        is_asyncio = isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop)
        assert kind.startswith("picows_c") is is_asyncio
        transport.disconnect(False)
        await soon(transport.wait_disconnected())


async def test_https_proxy_without_a_poller(proxies, certificates, monkeypatch):
    """Where there is none, CPython 3.11 is needed; nothing is left open."""
    from conftest import Net

    monkeypatch.setattr("picows_c.connecting.poller_of", lambda loop: None)
    net = Net("wss", "loop", certificates)
    is_asyncio = isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop)
    async with net.serve(lambda request: EchoListener(), transport="auto"):
        if is_asyncio and sys.version_info < (3, 11):
            with pytest.raises(NotImplementedError, match=r"CPython 3\.11"):
                await soon(net.connect(Never(), proxy=proxies.url("https"), **trust(net, "https")))
        else:
            await echo(net, proxy=proxies.url("https"), **trust(net, "https"))


# ---- refusals ----


@pytest.mark.parametrize("kind", ["http", "https", "socks4", "socks5"])
async def test_wrong_credentials(net, proxies, kind):
    async with net.serve(lambda request: Never()()):
        for userinfo in ("", "user:wrong@", "other:pa%3Ass%40word@"):
            if kind == "socks4" and userinfo.startswith("user:"):
                continue  # there is no password in SOCKS4
            wanted = proxies.url(kind, True)
            url = wanted[: wanted.index("//") + 2] + userinfo + wanted.rpartition("@")[2]
            with row(userinfo), pytest.raises(WSProxyError) as caught:
                await soon(net.connect(Never(), proxy=url, **trust(net, kind)))
            assert isinstance(caught.value, WSHandshakeError)
            # tiny-proxy says 401 where RFC 9110 has 407.
            assert caught.value.status == (401 if kind.startswith("http") else None)
            assert "wrong" not in str(caught.value)
            if kind.startswith("socks"):
                assert type(caught.value.__cause__).__name__ == "ProxyError"


@pytest.mark.parametrize("kind", KINDS)
async def test_the_server_cannot_be_reached(net, proxies, kind):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        net.port = sock.getsockname()[1]
        with pytest.raises(WSProxyError):
            await soon(net.connect(Never(), proxy=proxies.url(kind), **trust(net, kind)))


@pytest.mark.parametrize("kind", KINDS)
async def test_the_proxy_cannot_be_reached(plain, need, kind):
    need("python-socks", importlib.util.find_spec("python_socks"))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        proxy = f"{kind}://127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(ConnectionRefusedError):
            await soon(ws_connect(Never(), "ws://127.0.0.1/", proxy=proxy, transport=plain.way))


BIG = b"HTTP/1.1 200 OK\r\nX: "
HTTP_ANSWERS = {
    "closes": (b"", None, "closed the connection"),
    "closes in the middle": (b"HTTP/1.1 200 O", None, "closed the connection"),
    "407": (b"HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic\r\n\r\n<html>", 407, "status 407"),
    "HTTP/1.0": (b"HTTP/1.0 502 x\r\n\r\n", 502, "status 502"),
    "no phrase": (b"HTTP/1.1 403\r\n\r\n", 403, "status 403"),
    "redirect": (b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", 302, "status 302"),
    "switching": (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", 101, "status 101"),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", None, "not HTTP"),
    "HTTP/2": (b"HTTP/2 200\r\n\r\n", None, "not HTTP"),
    "two digits": (b"HTTP/1.1 20 x\r\n\r\n", None, "not HTTP"),
    "2000": (b"HTTP/1.1 2000 x\r\n\r\n", None, "not HTTP"),
    "endless": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 12_000, None, "exceeds"),
    "too large": (BIG + b"y" * (MAX_PROXY_HEAD - 3 - len(BIG)) + b"\r\n\r\n", None, "exceeds"),
    "early data": (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101 Switching", None, "before the handshake"),
}


@pytest.mark.parametrize("secure", [False, True])
async def test_bad_answers_of_http_proxies(plain, certificates, secure):
    async def script(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if not answer.endswith(b"\n"):
            writer.close()

    async with scripted(script, certificates.server() if secure else None) as port:
        options = {"proxy": f"{'https' if secure else 'http'}://127.0.0.1:{port}"}
        if secure:
            options["proxy_ssl_context"] = certificates.client()
        for name, (answer, status, text) in HTTP_ANSWERS.items():
            with row(name), pytest.raises(WSProxyError, match=text) as caught:
                await soon(ws_connect(Never(), "ws://127.0.0.1:1/", transport=plain.way, **options))
            assert caught.value.status == status
            assert f"127.0.0.1:{port}" in str(caught.value)
            if status is not None:
                assert caught.value.raw_header == answer.partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize("pieces", [False, True])
async def test_answers_in_bare_lf(net, pieces):
    """RFC 9112, 2.2 lets us take them; they were waited for until the timeout."""
    answers = {
        "LF": b"HTTP/1.1 200 OK\nVia: x\n\n",
        "mixed": b"HTTP/1.0 200 OK\r\nVia: x\n\r\n",
        "end": b"HTTP/1.0 200 OK\r\n\n",
        "CRLF": b"HTTP/1.0 200 OK\r\n\r\n",
    }

    async def script(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        there, back = await asyncio.open_connection("127.0.0.1", net.port)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answer = answers[name]
        for part in [bytes([b]) for b in answer] if pieces else [answer]:
            writer.write(part)
            await asyncio.sleep(0)
        await asyncio.gather(pump(reader, back), pump(there, writer))

    async def pump(source, target):
        with contextlib.suppress(ConnectionError):
            while data := await source.read(10_000):
                target.write(data)
        target.close()

    async with net.serve(lambda request: EchoListener()), scripted(script) as port:
        for name in answers:
            with row(name):
                await echo(net, proxy=f"http://127.0.0.1:{port}")


async def test_refusals_in_bare_lf(plain):
    async def script(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Auth\nProxy-Authenticate: Basic\n\n<html>\n")
        await reader.read()  # it does not close

    async with scripted(script) as port:
        with pytest.raises(WSProxyError, match="status 407") as caught:
            await soon(
                ws_connect(
                    Never(),
                    "ws://127.0.0.1:1/",
                    proxy=f"http://127.0.0.1:{port}",
                    open_timeout=None,
                    transport=plain.way,
                )
            )
        assert caught.value.raw_header == b"HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic"


EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"


@pytest.mark.parametrize("secure", [False, True])
async def test_interim_responses_before_the_answer(plain, certificates, secure):
    """So many are passed over, however they are cut; all heads together are no more than one."""

    async def script(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        for at in range(0, len(answer), step):
            writer.write(answer[at : at + step])
            await writer.drain()
            await asyncio.sleep(0)
        heads.append(await read_head(reader))
        writer.close()

    heads = []
    agreed = b"HTTP/1.0 200 OK\r\n\r\n"
    largest = b"HTTP/1.1 100 " + b"y" * (MAX_PROXY_HEAD - 17 - len(agreed)) + b"\r\n\r\n"
    rows = [
        (b"HTTP/1.1 100 Continue\r\n\r\n" + agreed, None),
        (EARLY * 8 + agreed, None),
        (largest + agreed, None),
        (EARLY * 9, "more than 8 interim"),
        (largest + b"HTTP/1.1 200 OK!\r\n\r\n", "exceeds"),
        (EARLY + b"HTTP/1.1 407 No\r\n\r\n", "status 407"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "status 101"),
    ]
    async with scripted(script, certificates.server() if secure else None) as port:
        options = {"proxy": f"{'https' if secure else 'http'}://127.0.0.1:{port}"}
        if secure:
            options["proxy_ssl_context"] = certificates.client()
        for answer, text in rows:
            for step in (len(answer), 7 if len(answer) < 1000 else 10_000):
                heads.clear()
                with row((answer[:70], step)), pytest.raises(WSHandshakeError) as caught:
                    url = "ws://127.0.0.1:1/path"
                    await soon(ws_connect(Never(), url, transport=plain.way, **options))
                with row((answer[:70], step)):
                    # The tunnel was there, and ended without an answer.
                    assert (type(caught.value) is WSHandshakeError) is (text is None)
                    assert text is None or text in str(caught.value)
                    assert [head[0] for head in heads] == ["GET /path HTTP/1.1"] * (text is None)


async def test_the_largest_head(plain):
    """One byte less is accepted, in two pieces, too."""
    largest = BIG + b"y" * (MAX_PROXY_HEAD - 4 - len(BIG)) + b"\r\n\r\n"

    async def script(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(largest[:-1])
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(largest[-1:])
        heads.append(await read_head(reader))
        writer.close()

    heads = []
    async with scripted(script) as port:
        connecting = asyncio.ensure_future(
            ws_connect(
                Never(),
                "ws://127.0.0.1:1/path",
                proxy=f"http://127.0.0.1:{port}",
                transport=plain.way,
            )
        )
        # The tunnel was there, and ended without an answer.
        with pytest.raises(WSHandshakeError):
            await soon(connecting)
    assert heads[0][0] == "GET /path HTTP/1.1"
    assert "proxy-authorization" not in heads[0][1]


@pytest.mark.parametrize("together", [False, True])
async def test_proxy_that_speaks_before_tls(plain, certificates, together):
    """Bytes behind the 200 are no part of TLS."""

    async def script(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + (b"X" if together else b""))
        await reader.readexactly(1)
        writer.write(b"Y" * 100)

    async with scripted(script) as port:
        with pytest.raises(WSProxyError if together else ssl.SSLError):
            await soon(
                ws_connect(
                    Never(),
                    "wss://127.0.0.1:1/",
                    proxy=f"http://127.0.0.1:{port}",
                    ssl_context=certificates.client(),
                    transport=plain.way,
                )
            )


def reset(writer):
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


# What a proxy does behind its 200, and what may become of that.
LIES = {
    "close": (lambda writer: writer.close(), ConnectionError),
    "reset": (reset, ConnectionError),
    "HTTP": (lambda writer: writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n"), ssl.SSLError),
    "half a record": (
        lambda writer: writer.write(b"\x16\x03\x03\x00\x50abc"),
        ConnectionError,
        ssl.SSLError,
    ),
    "alert": (lambda writer: writer.write(b"\x15\x03\x03\x00\x02\x02\x28"), ssl.SSLError),
}


@pytest.mark.parametrize("kind", ["http", "https"])
async def test_proxy_that_lies(certificates, way, kind):
    """It agrees, and there is no TLS behind it: the error comes at once, and all is closed."""

    async def script(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        if waits:
            await reader.read(10)
        LIES[name][0](writer)
        if name == "half a record":
            writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while await reader.read(10_000):
                pass
        writer.close()
        ended.set()

    options = {"ssl_context": certificates.client(), "transport": way, "open_timeout": None}
    if kind == "https":
        options["proxy_ssl_context"] = certificates.client()
    async with scripted(script, certificates.server() if kind == "https" else None) as port:
        for name, (_, *errors) in LIES.items():
            for waits in (True, False):
                ended = asyncio.Event()
                with row((name, waits)), pytest.raises((*errors, WSProxyError)):
                    await soon(
                        ws_connect(
                            Never(),
                            "wss://127.0.0.1:1/",
                            proxy=f"{kind}://127.0.0.1:{port}",
                            **options,
                        )
                    )
                await soon(ended.wait())


@pytest.mark.parametrize("kind", ["http", "https"])
async def test_tls_that_cannot_be_started(certificates, way, kind, monkeypatch):
    """Whatever is raised there is the user's to see, and the connection to the proxy ends."""

    async def failing(self, transport, protocol, tls):
        raise TypeError("no TLS here")

    for name in ("LoopWay", "PollerWay"):
        monkeypatch.setattr(f"picows_c.connecting.{name}.start_tls", failing)

    async def script(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await reader.read()
        writer.close()
        ended.set()

    ended = asyncio.Event()
    options = {} if kind == "http" else {"proxy_ssl_context": certificates.client()}
    async with scripted(script, certificates.server() if kind == "https" else None) as port:
        with pytest.raises(TypeError, match="no TLS here"):
            await soon(
                ws_connect(
                    Never(),
                    "wss://127.0.0.1:1/",
                    proxy=f"{kind}://127.0.0.1:{port}",
                    open_timeout=None,
                    transport=way,
                    **options,
                )
            )
        await soon(ended.wait())


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9.6\r\n", b"\x15\x03\x03\0\2\2\x28", b"H2"])
async def test_who_is_no_http_proxy_is_not_waited_for(plain, said):
    async def script(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        for byte in said:
            writer.write(bytes([byte]))
        await reader.read()

    async with scripted(script) as port:
        with pytest.raises(WSProxyError, match="not HTTP"):
            await soon(
                ws_connect(
                    Never(),
                    "ws://127.0.0.1:1/",
                    proxy=f"http://127.0.0.1:{port}",
                    open_timeout=None,
                    transport=plain.way,
                )
            )


class Wire:
    """What a Tunnel needs of a transport."""

    def __init__(self):
        self.protocol, self.closing = None, False

    def write(self, data):
        pass

    def is_closing(self):
        return self.closing

    def set_protocol(self, protocol):
        self.protocol = protocol


class Successor(asyncio.Protocol):
    def __init__(self):
        self.heard = []

    def connection_made(self, transport):
        self.heard.append(transport)

    def connection_lost(self, exc):
        self.heard.append(exc)


async def test_what_happens_between_the_answer_and_the_successor():
    """The loops tell it to the Tunnel, and some go on doing so."""
    loop = asyncio.get_running_loop()

    async def agreed():
        tunnel, wire = Tunnel(loop, parse_proxy_url("http://p"), parse_url("ws://h")), Wire()
        tunnel.connection_made(wire)
        tunnel.data_received(b"HTTP/1.1 200 OK\r\n\r\n")
        await tunnel.opened()
        return tunnel, wire, Successor()

    error = ConnectionResetError()
    tunnel, wire, successor = await agreed()
    tunnel.hand_over(wire, successor)
    assert wire.protocol is successor
    tunnel.connection_lost(error)
    assert successor.heard == [wire, error]

    tunnel, wire, successor = await agreed()
    tunnel.data_received(b"HTTP/1.1 101 Switching Protocols\r\n")
    with pytest.raises(WSProxyError, match="before the handshake"):
        tunnel.hand_over(wire, successor)
    assert successor.heard == []

    tunnel, wire, successor = await agreed()
    tunnel.connection_lost(None)
    with pytest.raises(WSProxyError, match="was closed"):
        tunnel.hand_over(wire, successor)
    assert successor.heard == []

    tunnel, wire, successor = await agreed()
    wire.closing = True
    with pytest.raises(WSProxyError, match="was closed"):
        tunnel.hand_over(wire, successor)
    assert successor.heard == []


async def test_loss_that_is_told_by_a_class():
    """As aiofastnet 1.2 does: it ends the waiting."""
    tunnel = Tunnel(asyncio.get_running_loop(), parse_proxy_url("http://p"), parse_url("ws://h"))
    tunnel.connection_made(Wire())
    tunnel.connection_lost(ConnectionResetError)
    with pytest.raises(WSProxyError, match="closed the connection"):
        await soon(tunnel.opened())


async def test_socks4_and_a_name_that_is_none(plain, proxies, monkeypatch):
    """It is resolved here, so that it is no fault of the proxy."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):
        return

    async def getaddrinfo(*args, **options):
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    with pytest.raises(socket.gaierror):
        await soon(
            ws_connect(Never(), "ws://h.example/", proxy=proxies.url("socks4"), transport=plain.way)
        )


SOCKS_ANSWERS = {
    "closes": (b"",),
    "not SOCKS": (b"HT", b"TP/1.1 400 Bad"),
    "no method": (b"\x05\xff",),
    "method not offered": (b"\x05\x02",),
    "refused": (b"\x05\x00", b"\x05\x05\x00\x01" + bytes(6)),
    "unknown reply": (b"\x05\x00", b"\x05\x99\x00\x01" + bytes(6)),
    "closes in the middle": (b"\x05\x00", b"\x05\x00\x00\x01"),
    "address of no kind": (b"\x05\x00", b"\x05\x00\x00\x07" + bytes(6)),
    "not a name": (b"\x05\x00", b"\x05\x00\x00\x03\x02\xff\xff" + bytes(2)),
}


async def test_bad_answers_of_socks_proxies(plain, need):
    need("python-socks", importlib.util.find_spec("python_socks"))

    async def script(reader, writer):
        for part in SOCKS_ANSWERS[name]:
            await reader.read(1000)
            writer.write(part)
        writer.close()

    async with scripted(script) as port:
        for name in SOCKS_ANSWERS:
            with row(name), pytest.raises(WSProxyError) as caught:
                await soon(
                    ws_connect(
                        Never(),
                        "ws://127.0.0.1:1/",
                        proxy=f"socks5://127.0.0.1:{port}",
                        transport=plain.way,
                    )
                )
            assert caught.value.__cause__ is not None
            assert str(caught.value).startswith(f"proxy socks5://127.0.0.1:{port}: ")


async def test_reset_by_the_proxy(plain, need):
    need("python-socks", importlib.util.find_spec("python_socks"))

    async def script(reader, writer):
        await reader.read(2)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    async with scripted(script) as port:
        for kind in ("http", "socks4", "socks5"):
            with row(kind), pytest.raises(WSProxyError) as caught:
                await soon(
                    ws_connect(
                        Never(),
                        "ws://127.0.0.1:1/",
                        proxy=f"{kind}://127.0.0.1:{port}",
                        transport=plain.way,
                    )
                )
            assert isinstance(caught.value.__cause__, (OSError, Exception))


# ---- arguments ----


BAD_PROXIES = {
    "ftp://h": WSInvalidURL,
    "ws://h": WSInvalidURL,
    "h:3128": WSInvalidURL,
    "http://": WSInvalidURL,
    "http://h:0": WSInvalidURL,
    "http://h/path": WSInvalidURL,
    "http://h?q": WSInvalidURL,
    "http://h#": WSInvalidURL,
    "http://h\r\n": WSInvalidURL,
    "http://us%3Aer:secret@h": ValueError,
    "http://u:secret%0d%0aX:y@h": ValueError,
    "http://u:secret%0A@h": ValueError,
    "socks5://secret@h": ValueError,
    "socks5://u:secr%C3%A9t@h": ValueError,
    "socks5://u:secret%00@h": ValueError,
    "socks4://secret%00@h": ValueError,
    "socks5://u:" + "secret" * 50 + "@h": ValueError,
    "http://u:secret@h:x/": WSInvalidURL,
}


async def test_bad_proxy_urls(plain):
    for url, error in BAD_PROXIES.items():
        with row(url), pytest.raises(ValueError) as caught:
            await ws_connect(Never(), "ws://127.0.0.1:1/", proxy=url, transport=plain.way)
        assert type(caught.value) is error
        assert "secr" not in str(caught.value)
    for wrong in (5, b"http://h", ["http://h"]):
        with row(wrong), pytest.raises(TypeError, match="proxy"):
            await ws_connect(Never(), "ws://127.0.0.1:1/", proxy=wrong)


async def test_proxy_ssl_context_needs_an_https_proxy(plain, certificates):
    context = certificates.client()
    for proxy in (None, False, "http://h", "socks5://h"):
        with row(proxy), pytest.raises(ValueError, match=r"proxy_ssl_context .* https proxy"):
            await ws_connect(Never(), "ws://h/", proxy=proxy, proxy_ssl_context=context)
    for wrong, options in ((True, {}), (certificates.server(), {"proxy": "https://h"})):
        with pytest.raises(TypeError, match="proxy_ssl_context"):
            await ws_connect(Never(), "ws://h/", proxy_ssl_context=wrong, **options)


async def test_missing_extra(monkeypatch):
    for name in ("python_socks", "python_socks.async_.asyncio", "aiofastnet"):
        monkeypatch.setitem(sys.modules, name, None)
    for kind in ("socks4", "socks5"):
        with pytest.raises(ImportError, match=r"picows_c\[socks\]"):
            await ws_connect(Never(), "ws://127.0.0.1:1/", proxy=f"{kind}://127.0.0.1:1")
    with pytest.raises(ImportError, match=r"picows_c\[aiofastnet\]"):
        await ws_connect(Never(), "ws://127.0.0.1:1/", use_aiofastnet=True)


async def test_missing_extra_for_the_environment(plain, monkeypatch):
    """It is missed when there is a socket already, which is closed."""
    monkeypatch.setitem(sys.modules, "python_socks", None)
    async with plain.serve(lambda request: Never()()):
        monkeypatch.setenv("all_proxy", f"socks5://127.0.0.1:{plain.port}")
        with pytest.raises(ImportError, match=r"picows_c\[socks\]"):
            await soon(ws_connect(Never(), "ws://127.0.0.1:1/", proxy=True, transport=plain.way))


def test_default_ports():
    ports = {"http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080}
    for scheme, port in ports.items():
        assert parse_proxy_url(f"{scheme}://h").port == port
        assert parse_proxy_url(f"{scheme}://h").is_secure is (scheme == "https")


# ---- the environment ----


async def test_environment_is_not_read_unless_asked(plain, proxies, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    async with plain.serve(lambda request: EchoListener()):
        await echo(plain)
        await echo(plain, proxy=False)
        with pytest.raises(ConnectionRefusedError):
            await soon(plain.connect(Never(), proxy=True))


@pytest.mark.parametrize("kind", KINDS)
async def test_proxy_of_the_environment(net, proxies, monkeypatch, kind):
    monkeypatch.setenv("https_proxy" if net.scheme == "wss" else "http_proxy", proxies.url(kind))
    before = proxies.count[kind, False]
    options = trust(net, kind)
    async with net.serve(lambda request: EchoListener()):
        await echo(net, proxy=True, **options)
        assert proxies.count[kind, False] == before + 1
        monkeypatch.setenv("no_proxy", "example.org,127.0.0.1")
        await echo(net, proxy=True, **options)
        assert proxies.count[kind, False] == before + 1


ENVIRONMENT = [
    # variables, URL, proxy
    ({}, "ws://h", None),
    ({"http_proxy": "http://p:1"}, "ws://h", "http://p:1"),
    ({"http_proxy": "http://p:1"}, "wss://h", None),
    ({"https_proxy": "http://p:1"}, "wss://h", "http://p:1"),
    ({"https_proxy": "http://p:1"}, "ws://h", None),
    ({"HTTPS_PROXY": "http://p:1"}, "wss://h", "http://p:1"),
    ({"https_proxy": "https://p"}, "wss://h", "https://p"),
    ({"https_proxy": "p:3128"}, "wss://h", "http://p:3128"),
    ({"all_proxy": "socks5://p"}, "wss://h", "socks5://p"),
    ({"all_proxy": "socks5h://p"}, "ws://h", "socks5h://p"),
    ({"all_proxy": "socks://p:1/"}, "ws://h", "socks5://p:1/"),
    ({"socks_proxy": "http://p:1"}, "ws://h", "socks5://p:1"),
    ({"all_proxy": "http://a", "https_proxy": "http://b"}, "wss://h", "http://b"),
    ({"socks_proxy": "socks4://a", "all_proxy": "http://b"}, "wss://h", "socks4://a"),
    ({"wss_proxy": "http://a", "https_proxy": "http://b"}, "wss://h", "http://a"),
    ({"ws_proxy": "http://a", "http_proxy": "http://b"}, "ws://h", "http://a"),
    ({"all_proxy": "http://p", "no_proxy": "*"}, "ws://h", None),
    ({"all_proxy": "http://p", "no_proxy": "h"}, "ws://h", None),
    ({"all_proxy": "http://p", "no_proxy": "h"}, "ws://h2", "http://p"),
    ({"all_proxy": "http://p", "no_proxy": "example.org"}, "ws://a.example.org", None),
    ({"all_proxy": "http://p", "no_proxy": ".example.org"}, "ws://a.example.org", None),
    ({"all_proxy": "http://p", "no_proxy": "h:80"}, "ws://h", None),
    ({"all_proxy": "http://p", "no_proxy": "h:81"}, "ws://h", "http://p"),
    ({"all_proxy": "http://p", "no_proxy": "::1"}, "ws://[::1]:9", None),
    ({"all_proxy": "http://p", "no_proxy": "[::1]"}, "ws://[::1]:9", None),
    ({"all_proxy": "http://p", "no_proxy": "10.0.0.0/8"}, "ws://10.1.2.3", None),
    ({"all_proxy": "http://p", "no_proxy": "10.0.0.0/8"}, "wss://10.255.255.255:9", None),
    ({"all_proxy": "http://p", "no_proxy": "10.0.0.0/8"}, "ws://11.0.0.0", "http://p"),
    ({"all_proxy": "http://p", "no_proxy": "10.0.0.0/8"}, "ws://10.1.2.3.example", "http://p"),
    ({"all_proxy": "http://p", "no_proxy": "10.0.0.0/8"}, "ws://[::10.1.2.3]", "http://p"),
    ({"all_proxy": "http://p", "no_proxy": "10.9.9.9/255.0.0.0"}, "ws://10.1.2.3", None),
    ({"all_proxy": "http://p", "no_proxy": "x, 192.168.1.7/30 ,y"}, "ws://192.168.1.4", None),
    ({"all_proxy": "http://p", "no_proxy": "192.168.1.7/30"}, "ws://192.168.1.8", "http://p"),
    ({"all_proxy": "http://p", "no_proxy": "192.168.1.7/32"}, "ws://192.168.1.7", None),
    ({"all_proxy": "http://p", "no_proxy": "0.0.0.0/0"}, "ws://1.2.3.4", None),
    ({"all_proxy": "http://p", "no_proxy": "0.0.0.0/0"}, "ws://h", "http://p"),
    ({"all_proxy": "http://p", "no_proxy": "10.0.0.0/8:81"}, "ws://10.1.2.3:81", None),
    ({"all_proxy": "http://p", "no_proxy": "10.0.0.0/8:81"}, "ws://10.1.2.3", "http://p"),
    ({"all_proxy": "http://p", "no_proxy": "10.0.0.0/8:443"}, "wss://10.1.2.3", None),
    ({"all_proxy": "http://p", "no_proxy": "fd00::/8"}, "ws://[fdab::1]:9", None),
    ({"all_proxy": "http://p", "NO_PROXY": "[fd00::]/8"}, "ws://[fdab::1]", None),
    ({"all_proxy": "http://p", "no_proxy": "[fd00::]/8:9"}, "ws://[fdab::1]:9", None),
    ({"all_proxy": "http://p", "no_proxy": "[fd00::/8]:9"}, "ws://[fdab::1]:8", "http://p"),
    ({"all_proxy": "http://p", "no_proxy": "fd00::/8"}, "ws://[fe80::1]", "http://p"),
    ({"all_proxy": "http://p", "no_proxy": "fe80::/10"}, "ws://[fe80::1%25eth0]", None),
    (
        {"all_proxy": "http://p", "no_proxy": "10.0.0.0/99,a/b,/8,1.2.3/8"},
        "ws://10.1.2.3",
        "http://p",
    ),
    ({"all_proxy": ""}, "ws://h", None),
]


def test_environment(monkeypatch):
    for variables, url, expected in ENVIRONMENT:
        with monkeypatch.context() as patch, row((variables, url)):
            for name, value in variables.items():
                patch.setenv(name, value)
            proxy = proxy_of_environment(parse_url(url))
            assert (None if proxy is None else proxy.url) == expected


def test_bad_environment(monkeypatch):
    for bad in ("ftp://u:secret@p", "socks5://secret@p", "http://p:x"):
        monkeypatch.setenv("all_proxy", bad)
        with row(bad), pytest.raises(ValueError) as caught:
            proxy_of_environment(parse_url("ws://h"))
        assert "secret" not in str(caught.value)
