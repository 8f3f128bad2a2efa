"""The way to the server: sockets, options, unix sockets, and how long it may take."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import pathlib
import socket
import ssl
import sys
import tempfile

import pytest
from helpers import EchoListener, Recorder, needs_poller
from proxies import scripted
from raw import TEXT, Never, RawServer, answer_bytes, row, soon

from picows_c import (
    WSHandshakeError,
    WSParsedURL,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_connect,
    ws_create_server,
)

HAS_UNIX = hasattr(socket, "AF_UNIX")


async def echo(net, url=None, **options):
    """Connect, see that it works, and return the transport, which is disconnected again."""
    if net.scheme == "wss":
        options.setdefault("ssl_context", net.certificates.client())
    options.setdefault("transport", net.way)
    transport, listener = await soon(ws_connect(Recorder, url or net.url(), **options))
    transport.send(TEXT, "hello")
    assert bytes(await soon(listener.frames.get())) == b"hello"
    transport.disconnect(False)
    await soon(transport.wait_disconnected())
    return transport


# ---- socket_factory ----


def connected(url):
    return socket.create_connection((url.host, url.port))


def unconnected(url):
    return socket.socket(socket.AF_INET)


async def connected_later(url):
    await asyncio.sleep(0)
    return connected(url)


async def unconnected_later(url):
    return unconnected(url)


async def nothing_later(url):
    return None


FACTORIES = [
    connected,
    unconnected,
    connected_later,
    unconnected_later,
    nothing_later,
    lambda url: None,
]


@pytest.mark.parametrize("factory", FACTORIES, ids=lambda factory: factory.__name__)
async def test_socket_factory(net, factory):
    asked = []

    def asking(url):
        asked.append(url)
        return factory(url)

    async with net.serve(lambda request: EchoListener()):
        await echo(net, net.url("/x?y"), socket_factory=asking)
    (url,) = asked
    assert isinstance(url, WSParsedURL)
    assert (url.scheme, url.host, url.port, url.path) == (net.scheme, "127.0.0.1", net.port, "/x")


async def test_socket_factory_that_connects_by_name(net):
    """The certificate is checked against the URL's host, whatever the socket is connected to."""
    async with net.serve(lambda request: EchoListener()):
        await echo(net, net.url(host="localhost"), socket_factory=unconnected)
        if net.scheme == "wss":
            port = net.port

            def elsewhere(url):
                return socket.create_connection(("127.0.0.1", port))

            with pytest.raises(ssl.SSLCertVerificationError):
                await echo(net, "wss://example.org/", socket_factory=elsewhere)


class Given:
    """A socket_factory, and the socket that it returned; a class of its own, as users have."""

    class Socket(socket.socket):
        def __init__(self, family):
            super().__init__(family)

    def __init__(self, is_connected=False):
        self.is_connected = is_connected
        self.sock = None

    def __call__(self, url):
        self.sock = self.Socket(socket.AF_INET)
        if self.is_connected:
            self.sock.connect((url.host, url.port))
        return self.sock


class Seeing(Recorder):
    """Looks at the given socket when the connection is over."""

    def __init__(self, given):
        super().__init__()
        self.given = given
        self.last = None

    def on_ws_disconnected(self, transport):
        self.last = self.given.sock.fileno()
        super().on_ws_disconnected(transport)


@pytest.mark.parametrize("is_connected", [False, True])
async def test_given_socket_stays_usable(net, is_connected):
    given = Given(is_connected)
    async with net.serve(lambda request: EchoListener()):
        transport, listener = await soon(net.connect(lambda: Seeing(given), socket_factory=given))
        sock = given.sock
        assert sock.fileno() >= 0
        assert sock.getpeername() == ("127.0.0.1", net.port)
        underlying = transport.underlying_transport
        assert sock.getsockname() == underlying.get_extra_info("sockname")
        # It is the same socket, not the same descriptor.
        sock.setsockopt(*OPTION)
        seen = underlying.get_extra_info("socket")
        assert seen.fileno() != sock.fileno()
        assert seen.getsockopt(*OPTION[:2]) == sock.getsockopt(*OPTION[:2])
        transport.send(TEXT, "x" * 300_000)
        assert bytes(await soon(listener.frames.get())) == b"x" * 300_000
        transport.disconnect(False)
        await soon(listener.disconnected.wait())
        assert listener.last == sock.fileno() == -1


async def test_given_socket_behind_proxies(net, proxies):
    async with net.serve(lambda request: EchoListener()):
        for kind in ("http", "https", "socks5"):
            given = Given()
            options = {"proxy": proxies.url(kind), "socket_factory": given}
            if kind == "https":
                options["proxy_ssl_context"] = net.certificates.client()
            transport, listener = await soon(net.connect(lambda g=given: Seeing(g), **options))
            assert given.sock.getpeername()[1] == proxies.ports[kind, False]
            transport.disconnect(False)
            await soon(listener.disconnected.wait())
            assert listener.last == given.sock.fileno() == -1


async def test_given_socket_that_the_user_closes(net):
    """Nothing happens to the connection, nor to who gets the descriptor's number."""
    given = Given()
    async with net.serve(lambda request: EchoListener()):
        transport, listener = await soon(net.connect(Recorder, socket_factory=given))
        number = given.sock.fileno()
        given.sock.close()
        others = [socket.socket(), *socket.socketpair()]
        try:
            assert number in [other.fileno() for other in others]
            transport.send(TEXT, "hello")
            assert bytes(await soon(listener.frames.get())) == b"hello"
            transport.disconnect(False)
            await soon(listener.disconnected.wait())
            await asyncio.sleep(0)
            others[1].sendall(b"still here")
            assert others[2].recv(100) == b"still here"
            others[0].getsockname()
        finally:
            for other in others:
                other.close()


@pytest.mark.parametrize("end", ["disconnect", "graceful", "close"])
async def test_end_reaches_the_peer_although_somebody_holds_a_copy(net, end):
    given = Given()
    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(net.connect(Recorder, socket_factory=given))
        peer = await server.upgrade()
        transport, listener = await soon(connecting)
        with socket.socket(fileno=socket.dup(given.sock.fileno())) as copy:
            if end == "close":
                transport.send_close(1000)
                await peer.expect_close(1000)
                peer.write(peer.close_frame(1000))
                peer.writer.close()
            else:
                transport.disconnect(end == "graceful")
            await peer.gone()
            await soon(listener.disconnected.wait())
            assert given.sock.fileno() == -1
            with pytest.raises(OSError):
                copy.getpeername()


async def test_given_socket_when_it_fails(net):
    """Refused, cancelled, or TLS that fails: closed before ws_connect ends."""
    given = Given()
    async with net.serve(lambda request: None):
        with pytest.raises(WSHandshakeError):
            await soon(net.connect(Never(), socket_factory=given))
        await asyncio.sleep(0)
        assert given.sock.fileno() == -1
    if net.scheme == "wss":
        async with RawServer(net):
            given = Given()
            context = ssl.create_default_context()
            with pytest.raises(ssl.SSLError):
                await soon(net.connect(Never(), socket_factory=given, ssl_context=context))
            assert given.sock.fileno() == -1
    async with RawServer(net) as server:
        given = Given()
        connecting = asyncio.ensure_future(net.connect(Never(), socket_factory=given))
        peer = await server.accept()
        await peer.read_head()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await peer.gone()
        await asyncio.sleep(0)
        assert given.sock.fileno() == -1


async def to_loopback(loop, host, port, *args):
    """Stands for the resolver, which may not know ``localhost.`` and ``fe80::1%eth0``."""
    return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]


@needs_poller
async def test_root_dot(net, proxies, monkeypatch):
    """It stands in Host, and neither in SNI nor in a certificate (RFC 6066, 3)."""
    if net.scheme == "ws":
        return
    names = []
    context = net.certificates.server()
    context.sni_callback = lambda tls, name, context: names.append(name)
    monkeypatch.setattr("picows_c.connecting.resolve", to_loopback)
    tls = {"ssl_context": net.certificates.client()}
    over_https = {"proxy": proxies.url("https").replace("127.0.0.1", "localhost.")}
    over_https["proxy_ssl_context"] = net.certificates.client()
    # The loop's own servers forget who is still in a TLS handshake.
    async with net.serve(lambda request: EchoListener(), ssl=context, transport="auto"):
        for options in (
            {},
            {"server_hostname": "localhost."},
            {"proxy": proxies.url("http"), "server_hostname": "localhost."},
            {"server_hostname": "localhost", **over_https},
        ):
            with row(options):
                host = "127.0.0.1" if "proxy" in options else "localhost."
                transport = await echo(net, net.url(host=host), **tls, **options)
                assert transport.request.headers["Host"] == f"{host}:{net.port}"
    assert names == ["localhost"] * 4


async def test_zone_of_an_ipv6_address(plain, monkeypatch):
    """It finds the way, and nobody else hears of it (RFC 6874, 4)."""
    asked = []

    async def resolve(loop, host, port, *args):
        asked.append(host)
        return await to_loopback(loop, host, port)

    monkeypatch.setattr("picows_c.connecting.resolve", resolve)
    async with plain.serve(lambda request: EchoListener()):
        transport = await echo(plain, plain.url(host="[fe80::1%25eth0]"))
    assert asked == ["fe80::1%eth0"]
    assert transport.request.headers["Host"] == f"[fe80::1]:{plain.port}"


async def test_socket_factory_with_a_proxy(net, proxies):
    asked = []

    def factory(url):
        asked.append((url.scheme, url.port, url.username))
        return unconnected(url)

    async with net.serve(lambda request: EchoListener()):
        for kind in ("http", "https", "socks4", "socks5"):
            options = {"proxy": proxies.url(kind, True), "socket_factory": factory}
            if kind == "https":
                options["proxy_ssl_context"] = net.certificates.client()
            await echo(net, **options)
            assert asked.pop() == (kind, proxies.ports[kind, True], "user")


async def test_socket_factory_of_unix_sockets(net):
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        connecting = asyncio.ensure_future(
            ws_connect(
                Recorder,
                "ws://anything/",
                socket_factory=lambda url: ours,
                transport=net.way,
            )
        )
        loop = asyncio.get_running_loop()
        head = await soon(loop.sock_recv(theirs, 10_000))
        key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r")[0].decode()
        await soon(loop.sock_sendall(theirs, answer_bytes(key)))
        _, listener = await soon(connecting)
        assert b"\r\nHost: anything\r\n" in head
        theirs.close()
        await soon(listener.disconnected.wait())


async def test_wrong_sockets(plain):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        wrong = {
            "number": (5, TypeError),
            "path": ("/tmp/x", TypeError),
            "descriptor": (lambda url: 1, TypeError),
            "datagrams": (datagrams, ValueError),
        }
        if HAS_UNIX:
            wrong["unconnected"] = (socket.socket(socket.AF_UNIX), ValueError)
        for name, (made, error) in wrong.items():
            with row(name), pytest.raises(error, match="socket_factory returned"):
                await ws_connect(
                    Never(),
                    "ws://127.0.0.1:1/",
                    socket_factory=lambda url, made=made: made,
                    transport=plain.way,
                )
            if isinstance(made, socket.socket):
                assert made.fileno() == -1
        for name in ("number", "path"):
            with row(name), pytest.raises(TypeError, match="socket_factory"):
                await ws_connect(Never(), "ws://127.0.0.1:1/", socket_factory=wrong[name][0])


async def test_socket_factory_with_tls_of_its_own(plain, certificates):
    async with plain.serve(lambda request: Never()(), ssl=certificates.server(), transport="auto"):

        def factory(url):
            return certificates.client().wrap_socket(
                connected(url), server_hostname=url.host, do_handshake_on_connect=False
            )

        with pytest.raises(TypeError, match="SSLSocket"):
            await soon(plain.connect(Never(), socket_factory=factory))


async def test_socket_factory_that_raises(plain):
    def factory(url):
        raise ZeroDivisionError("mine")

    async def later(url):
        raise ZeroDivisionError("mine")

    for function in (factory, later):
        with pytest.raises(ZeroDivisionError, match="mine"):
            await ws_connect(Never(), "ws://127.0.0.1:1/", socket_factory=function)


async def test_socket_factory_whose_socket_cannot_connect(plain):
    made = []

    def factory(url):
        made.append(unconnected(url))
        return made[0]

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        plain.port = sock.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            await soon(plain.connect(Never(), socket_factory=factory))
    assert made[0].fileno() == -1


# ---- socket_options ----

OPTION = (socket.SOL_SOCKET, socket.SO_RCVBUF, 40_000)


async def test_socket_options(net, proxies):
    """Set before connect, on every socket that leads anywhere."""
    seen = []

    class Watched(socket.socket):
        def connect(self, *args):
            seen.append((self.getsockopt(*OPTION[:2]), self.gettimeout()))
            return super().connect(*args)

    with socket.socket() as sock:
        default = sock.getsockopt(*OPTION[:2])
        sock.setsockopt(*OPTION)
        wanted = sock.getsockopt(*OPTION[:2])
    assert wanted != default
    async with net.serve(lambda request: EchoListener()):
        for options in (
            {},
            {"proxy": proxies.url("http")},
            {"proxy": proxies.url("socks5")},
            {"socket_factory": unconnected},
            {"socket_factory": connected},
            {"socket_factory": lambda url: None},
        ):
            transport, _ = await soon(net.connect(Recorder, socket_options=[OPTION], **options))
            sock = transport.underlying_transport.get_extra_info("socket")
            assert sock.getsockopt(*OPTION[:2]) == wanted
            transport.disconnect(False)
            await soon(transport.wait_disconnected())
        if isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop):
            await echo(
                net, socket_options=[OPTION], socket_factory=lambda url: Watched(socket.AF_INET)
            )
            assert seen == [(wanted, 0.0)]


async def test_bad_socket_options(plain):
    async with RawServer(plain) as server:
        with pytest.raises(OSError):
            await soon(plain.connect(Never(), socket_options=[(socket.SOL_SOCKET, -1, 1)]))
        for wrong in ([(1, 2)], [5], [("a", 1, 1)], [(1, 1, "x")]):
            with row(wrong), pytest.raises(TypeError):
                await plain.connect(Never(), socket_options=wrong)
        assert server.count == 0


# ---- what loop.create_connection() knows ----


async def test_local_addr(net):
    async with net.serve(lambda request: EchoListener()):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        transport, _ = await soon(net.connect(Recorder, local_addr=("127.0.0.1", port)))
        assert transport.underlying_transport.get_extra_info("sockname") == ("127.0.0.1", port)
        transport.disconnect(False)
        await soon(transport.wait_disconnected())


async def test_names_with_several_addresses(net, monkeypatch):
    """The second address is tried when the first one refuses; and both, one over the other."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):
        return

    async def getaddrinfo(host, port, **options):
        asked.append((host, port, options["family"], options["proto"], options["flags"]))
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, ("127.0.0.2", closed)), (*kind, ("127.0.0.1", port))]

    asked = []
    with socket.socket() as sock:
        sock.bind(("127.0.0.2", 0))
        closed = sock.getsockname()[1]
        async with net.serve(lambda request: EchoListener()):
            monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
            more = {"family": socket.AF_INET, "proto": socket.IPPROTO_TCP, "flags": 1}
            for options in ({}, more, {"happy_eyeballs_delay": 0.01, "interleave": 1}):
                await echo(net, net.url(host="localhost"), **options)
    assert asked == [
        ("localhost", net.port, 0, 0, 0),
        ("localhost", net.port, socket.AF_INET, socket.IPPROTO_TCP, 1),
        ("localhost", net.port, 0, 0, 0),
    ]


async def test_family(plain):
    async with plain.serve(lambda request: EchoListener()):
        await echo(plain, family=socket.AF_INET)
        with pytest.raises(OSError):
            await soon(plain.connect(Never(), family=socket.AF_INET6))


async def test_tls_options_without_tls(plain):
    plain.port = 1
    for name, value in {
        "server_hostname": "x",
        "ssl_handshake_timeout": 1.0,
        "ssl_shutdown_timeout": 1.0,
    }.items():
        with row(name), pytest.raises(ValueError, match=rf"{name} .* wss"):
            await plain.connect(Never(), **{name: value})


async def test_ssl_context_without_tls(plain, certificates):
    """It was ignored in silence."""
    plain.port = 1
    for options in ({}, {"proxy": "http://127.0.0.1:1"}):
        with pytest.raises(ValueError, match=r"ssl_context .* wss"):
            await plain.connect(Never(), ssl_context=certificates.client(), **options)


@pytest.mark.parametrize("port", [65536, 99999, -1, 2**40])
async def test_ports_that_are_none(plain, port):
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(ValueError, match="port"):
            await ws_connect(Never(), f"ws://{host}:{port}/", transport=plain.way)
        with pytest.raises(ValueError, match="port"):
            await ws_create_server(Never(), host, port, transport=plain.way)
        plain.port = 1
        with pytest.raises(ValueError, match=f"port of local_addr .* {port}"):
            await plain.connect(Never(), local_addr=(host, port))
    proxy = f"http://127.0.0.1:{port}"
    with pytest.raises(ValueError, match="port"):
        await ws_connect(Never(), "ws://127.0.0.1:1/", proxy=proxy, transport=plain.way)


async def test_tls_timeouts_of_another_kind():
    for name in ("ssl_handshake_timeout", "ssl_shutdown_timeout"):
        for wrong, error in ((0, ValueError), (-1.0, ValueError), ("5", TypeError)):
            with row((name, wrong)), pytest.raises(error, match=name):
                await ws_connect(Never(), "wss://127.0.0.1:1/", **{name: wrong})


async def test_keywords_that_have_another_name():
    for name, other in {"ssl": "ssl_context", "sock": "socket_factory"}.items():
        with pytest.raises(TypeError, match=f"'{name}'.*'{other}'"):
            await ws_connect(Never(), "ws://127.0.0.1:1/", **{name: None})
    for name in ("all_errors", "zero_copy_unsafe_ssl_write", "Proxy"):
        with pytest.raises(TypeError, match=name):
            await ws_connect(Never(), "ws://127.0.0.1:1/", **{name: None})


@pytest.mark.skipif(not HAS_UNIX, reason="no unix sockets")
async def test_contradictions(certificates):
    everything = {
        "proxy": "http://h",
        "socket_factory": connected,
        "local_addr": ("127.0.0.1", 0),
        "family": socket.AF_INET,
        "happy_eyeballs_delay": 0.1,
        "interleave": 1,
    }
    for name, value in everything.items():
        with row(name), pytest.raises(ValueError, match=f"unix_path and {name} contradict"):
            await ws_connect(Never(), "ws://h/", unix_path="/x", **{name: value})
    with pytest.raises(ValueError, match="unix_path and proxy"):
        await ws_connect(Never(), "ws://h/", unix_path="/x", proxy=True)
    for name, header, value in (
        ("origin", "ORIGIN", "null"),
        ("user_agent", "user-agent", "x"),
    ):
        with row(name), pytest.raises(ValueError, match=rf"(?i){name} and .*{header}"):
            await ws_connect(Never(), "ws://h/", extra_headers={header: "y"}, **{name: value})


# ---- unix sockets ----


@contextlib.asynccontextmanager
async def unix_relay(net, path):
    """A unix socket that leads to the server."""

    async def accepted(reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", net.port)

        async def pump(source, target):
            with contextlib.suppress(ConnectionError):
                while True:
                    data = await source.read(10_000)
                    if not data:
                        break
                    target.write(data)
                    await target.drain()
            target.close()

        await asyncio.gather(pump(reader, back), pump(there, writer))
        done.set()

    done = asyncio.Event()
    server = await asyncio.start_unix_server(accepted, path)
    try:
        yield
        await soon(done.wait())
    finally:
        server.close()
        await server.wait_closed()


@pytest.fixture
def unix_dir():
    if not HAS_UNIX:
        pytest.skip("no unix sockets on this platform")
    # Short: 108 bytes is all that fits.
    with tempfile.TemporaryDirectory(prefix="ws") as folder:
        yield pathlib.Path(folder)


async def test_unix_path(net, unix_dir):
    path = unix_dir / "s"
    kinds = [path, str(path), os.fsencode(path)]
    for unix_path in kinds:
        with row(unix_path):
            async with net.serve(lambda request: EchoListener()), unix_relay(net, path):
                transport = await echo(
                    net,
                    net.url(host="localhost"),
                    unix_path=unix_path,
                    socket_options=[OPTION],
                )
                assert transport.request.headers["Host"] == f"localhost:{net.port}"
        path.unlink(missing_ok=True)


@pytest.mark.skipif(sys.platform != "linux", reason="abstract unix sockets are Linux's")
async def test_abstract_unix_path(net):
    name = f"\0picows_c-test-{os.getpid()}-{id(net)}"
    for unix_path in (name, name.encode()):
        async with net.serve(lambda request: EchoListener()), unix_relay(net, name):
            await echo(net, unix_path=unix_path)


async def test_unix_path_that_leads_nowhere(plain, unix_dir):
    plain.port = 1
    with pytest.raises(FileNotFoundError):
        await plain.connect(Never(), unix_path=unix_dir / "none")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(unix_dir / "bound"))
        with pytest.raises(ConnectionRefusedError):
            await plain.connect(Never(), unix_path=unix_dir / "bound")
        sock.listen(0)
        with contextlib.ExitStack() as stack:
            # Fill the backlog.
            with contextlib.suppress(BlockingIOError):
                for _ in range(10):
                    more = stack.enter_context(socket.socket(socket.AF_UNIX))
                    more.setblocking(False)
                    more.connect(str(unix_dir / "bound"))
            if sys.platform == "linux":
                with pytest.raises(OSError):
                    await soon(plain.connect(Never(), unix_path=unix_dir / "bound"))


async def test_unix_paths_that_are_none():
    for wrong, error in (
        ("", ValueError),
        (b"", ValueError),
        ("/a\0b", ValueError),
        (b"\0a\0b", ValueError),
        (5, TypeError),
    ):
        with row(wrong), pytest.raises(error):
            await ws_connect(Never(), "ws://127.0.0.1:1/", unix_path=wrong)


async def test_redirects_on_unix_sockets(net, unix_dir):
    """Within the origin; what is behind the socket does not speak for another one."""

    def factory(request):
        location = {b"/": "/two", b"/out": "wss://localhost/"}.get(request.path)
        if location is None:
            return EchoListener()
        response = WSUpgradeResponse.create_redirect_response(302, location)
        return WSUpgradeResponseWithListener(response, None)

    path = unix_dir / "s"
    async with net.serve(factory), unix_relay(net, path):
        await echo(net, unix_path=path)
        with pytest.raises(WSHandshakeError, match="from a unix socket to wss://localhost/"):
            await soon(net.connect(Never(), "/out", unix_path=path))


# ---- aiofastnet ----


@pytest.fixture
def aiofastnet(need):
    return need("aiofastnet", importlib.util.find_spec("aiofastnet"))


async def test_aiofastnet(net, aiofastnet, proxies):
    async with net.serve(lambda request: EchoListener()):
        for options in (
            {},
            {"socket_factory": connected},
            {"proxy": proxies.url("http")},
            {"proxy": proxies.url("socks5")},
            {"proxy": proxies.url("https"), "proxy_ssl_context": net.certificates.client()},
        ):
            with row(options):
                transport, listener = await soon(
                    net.connect(Recorder, use_aiofastnet=True, **options)
                )
                kind = type(transport.underlying_transport)
                assert kind.__module__.startswith("aiofastnet")
                transport.send(TEXT, "x" * 100_000)
                assert bytes(await soon(listener.frames.get())) == b"x" * 100_000
                transport.disconnect(False)
                await soon(transport.wait_disconnected())


async def test_not_aiofastnet(net):
    async with net.serve(lambda request: EchoListener()):
        for choice in (None, False):
            transport, _ = await soon(net.connect(Recorder, use_aiofastnet=choice))
            kind = type(transport.underlying_transport)
            assert not kind.__module__.startswith("aiofastnet")
            transport.disconnect(False)
            await soon(transport.wait_disconnected())
    with pytest.raises(TypeError, match="use_aiofastnet"):
        await net.connect(Never(), use_aiofastnet="yes")


# ---- open_timeout ----


async def silence(reader, writer):
    """Accept, read, and never answer."""
    while await reader.read(10_000):
        pass


async def timed_out(plain, **options):
    options.setdefault("url", plain.url())
    with pytest.raises(asyncio.TimeoutError, match="open_timeout"):
        await soon(
            ws_connect(
                Never(),
                open_timeout=0.05,
                websocket_handshake_timeout=None,
                transport=plain.way,
                **options,
            )
        )
    # The one who is waiting is not cancelled for good.
    await asyncio.sleep(0)
    if sys.version_info >= (3, 11):
        assert asyncio.current_task().cancelling() == 0


async def test_open_timeout(plain, certificates, need):
    """At every stage: TLS, HTTP, the proxy's answer, the proxy's TLS, a redirect's target."""
    need("python-socks", importlib.util.find_spec("python_socks"))
    loop = asyncio.get_running_loop()

    async def never(url):
        await loop.create_future()

    async def agree(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await silence(reader, writer)

    async def redirect(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 x\r\nLocation: /\r\n\r\n")

    async with contextlib.AsyncExitStack() as stack:
        quiet = await stack.enter_async_context(scripted(silence))
        agreeing = await stack.enter_async_context(scripted(agree))
        redirecting = await stack.enter_async_context(scripted(redirect))
        tls = {"ssl_context": certificates.client(), "ssl_handshake_timeout": 60.0}
        plain_url, tls_url = "ws://127.0.0.1:1/", "wss://127.0.0.1:1/"
        stages = {
            "HTTP": {"url": f"ws://127.0.0.1:{quiet}/"},
            "TLS": {"url": f"wss://127.0.0.1:{quiet}/", **tls},
            "http proxy": {"url": plain_url, "proxy": f"http://127.0.0.1:{quiet}"},
            "https proxy": {"url": plain_url, "proxy": f"https://127.0.0.1:{quiet}"},
            "socks4 proxy": {"url": plain_url, "proxy": f"socks4://127.0.0.1:{quiet}"},
            "socks5 proxy": {"url": plain_url, "proxy": f"socks5://127.0.0.1:{quiet}"},
            "HTTP behind": {"url": plain_url, "proxy": f"http://127.0.0.1:{agreeing}"},
            "TLS behind": {"url": tls_url, "proxy": f"http://127.0.0.1:{agreeing}", **tls},
            "redirects": {"url": f"ws://127.0.0.1:{redirecting}/", "max_redirects": 10**9},
            "socket_factory": {"url": plain_url, "socket_factory": never},
        }
        for name, options in stages.items():
            with row(name):
                await timed_out(plain, **options)


async def test_open_timeout_of_name_resolution(plain, monkeypatch):
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):
        return

    async def getaddrinfo(*args, **options):
        await loop.create_future()

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    await timed_out(plain, url="ws://localhost/")


async def test_open_timeout_of_tcp(plain):
    """A backlog that is full: SYNs are dropped."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(8):
            more = stack.enter_context(socket.socket())
            more.setblocking(False)
            more.connect_ex(full.getsockname())
        await timed_out(plain, url=f"ws://127.0.0.1:{full.getsockname()[1]}/")


async def test_handshake_timeout_within_open_timeout(net):
    """Each attempt has its own, and it says which of the two it was."""
    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(
            net.connect(Never(), open_timeout=None, websocket_handshake_timeout=0.05)
        )
        peer = await server.accept()
        with pytest.raises(asyncio.TimeoutError, match="websocket handshake timeout"):
            await soon(connecting)
        await peer.gone()


async def test_open_timeout_ends_with_the_handshake(net):
    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(net.connect(Recorder, open_timeout=0.3))
        peer = await server.upgrade()
        transport, _ = await soon(connecting)
        with pytest.raises(asyncio.TimeoutError, match="open_timeout"):
            await soon(net.connect(Never(), open_timeout=0.3))
        transport.send(TEXT, "still here")
        await peer.expect(TEXT, b"still here")
        transport.disconnect(False)
        await soon(transport.wait_disconnected())


async def test_cancelled_and_timed_out_at_once(plain):
    """Who cancels the task is heard even where the timeout came first (CPython 3.11)."""
    if sys.version_info < (3, 11):
        return
    async with RawServer(plain):
        connecting = asyncio.ensure_future(plain.connect(Never(), open_timeout=0.01))
        # Until the timeout has asked, wherever it is by then; looked at in each turn of the loop.
        while not connecting.cancelling():
            assert not connecting.done()
            await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting


@pytest.mark.parametrize("wrong", [0, -1, "5", float("nan")])
async def test_open_timeout_of_another_kind(wrong):
    with pytest.raises((ValueError, TypeError), match="open_timeout"):
        await ws_connect(Never(), "ws://127.0.0.1:1/", open_timeout=wrong)


async def test_peer_that_closes_is_no_timeout(net):
    async with RawServer(net) as server:
        connecting = asyncio.ensure_future(net.connect(Never()))
        peer = await server.accept()
        await peer.read_head()
        peer.writer.close()
        with pytest.raises(WSHandshakeError):
            await soon(connecting)
