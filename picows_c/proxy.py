"""Proxies: which one, and what is said to it before the way to the server is open."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import urllib.parse
import urllib.request
from typing import Any, Optional, cast

from .errors import WSProxyError
from .extras import import_extra
from .url import WSParsedURL, basic_auth, parse_proxy_url, without_zone

# Bytes that the head of a proxy's answer may have, with the empty line that ends it.
MAX_PROXY_HEAD = 64 * 1024

# HTTP/1.0 is what many proxies answer with.
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\Z")

_BEGINS = b"HTTP/1."
_NOT_HTTP = "its answer is not HTTP/1.1"

# RFC 9112, 2.2: "a recipient MAY recognize a single LF as a line terminator".
_BARE_LF = re.compile(rb"(?<!\r)\n")

# RFC 9110, 15.2: "A client MUST be able to parse one or more 1xx responses received prior to a
# final response". A 101 is none of those to a CONNECT.
_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)[0-9]{2}(?: [^\r\n]*)?\r\n(?:[^\r\n]+\r\n)*\r\n")
# How many of them, as in core/ws_http.h; their heads count towards MAX_PROXY_HEAD.
_MAX_INTERIM = 8

_EARLY = "data came before the handshake began"

# RFC 1929, 2: the lengths are one octet each.
_MAX_SOCKS_NAME = 255

# python-socks has a limit of its own, 60 s unless told otherwise; ours is open_timeout.
_NO_LIMIT = 10.0**7

# In no_proxy: 10.0.0.0/8, fd00::/8, [fd00::]/8, perhaps with a port behind it.
_NETWORK = re.compile(
    r"\[?(?P<address>[0-9A-Fa-f.:]+)\]?/(?P<mask>[0-9.]+)\]?(?::(?P<port>[0-9]{1,5}))?"
)

# What may stand in the environment, in the order in which it is asked.
_ENVIRONMENT = {"ws": ("ws", "http", "socks", "all"), "wss": ("wss", "https", "socks", "all")}


def check_proxy(url: str) -> WSParsedURL:
    """Take a proxy's URL apart and check its credentials. Raises TypeError or ValueError."""
    proxy = parse_proxy_url(url)
    if proxy.scheme in ("http", "https"):
        basic_auth(proxy)
    else:
        _socks_credentials(proxy)
    return proxy


def proxy_of_environment(url: WSParsedURL) -> Optional[WSParsedURL]:
    """Return the proxy that the environment names for ``url``, None for none.

    wss_proxy, https_proxy, socks_proxy, all_proxy for wss, ws_proxy, http_proxy, socks_proxy,
    all_proxy for ws; no_proxy as urllib understands it, and with networks. Raises WSInvalidURL.
    """
    if _is_in_networks(url, urllib.request.getproxies_environment().get("no", "")):
        return None
    for name in (url.authority, without_zone(url.host)):
        if urllib.request.proxy_bypass(name):
            return None
    known = urllib.request.getproxies()
    for kind in _ENVIRONMENT[url.scheme]:
        found = known.get(kind)
        if found:
            break
    else:
        return None
    scheme, separator, rest = found.partition("://")
    if not separator:
        # As curl reads it.
        scheme, rest = "http", found
    if scheme.lower() == "socks" or (kind == "socks" and scheme.lower() == "http"):
        # The latter is how urllib reports macOS's settings.
        scheme = "socks5"
    return check_proxy(f"{scheme}://{rest}")


def _is_in_networks(url: WSParsedURL, no_proxy: str) -> bool:
    """Return whether the host is an address in one of the networks that no_proxy names."""
    try:
        address = ipaddress.ip_address(without_zone(url.host))
    except ValueError:
        return False
    for entry in no_proxy.split(","):
        found = _NETWORK.fullmatch(entry.strip())
        if found is None or (found["port"] and int(found["port"]) != url.port):
            continue
        try:
            network = ipaddress.ip_network(f"{found['address']}/{found['mask']}", strict=False)
        except ValueError:
            continue
        if address in network:
            return True
    return False


# ---- HTTP ----


class Tunnel(asyncio.Protocol):
    """Asks an HTTP proxy for the way to a server (CONNECT: RFC 9110, 9.3.6)."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, proxy: WSParsedURL, server: WSParsedURL
    ) -> None:
        self._proxy = proxy
        self._server = server
        self._head: Optional[bytearray] = bytearray()
        self._interim: list[int] = []  # how long the heads were that were passed over
        self._open: asyncio.Future[None] = loop.create_future()
        self._transport: Optional[asyncio.Transport] = None
        self._successor: Optional[asyncio.BaseProtocol] = None
        self._lost = False
        self._spoke_early = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        # uvloop's transports have the whole surface of asyncio.Transport, but not its name.
        self._transport = cast("asyncio.Transport", transport)
        authority = self._server.authority
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
        credentials = basic_auth(self._proxy)
        if credentials is not None:
            lines.append(f"Proxy-Authorization: {credentials}")
        self._transport.write("\r\n".join([*lines, "", ""]).encode("ascii"))

    def data_received(self, data: bytes) -> None:
        """Take the answer's head."""
        if self._head is None:
            self._spoke_early = True
            return
        kept = b"\r" if self._head.endswith(b"\r") else b""
        self._head += _BARE_LF.sub(b"\r\n", kept + data)[len(kept) :]
        self._pass_over_interim(self._head)
        if not self._head.startswith(_BEGINS[: len(self._head)]):
            # Whoever this is may wait for us now.
            self._fail(_NOT_HTTP, None, bytes(self._head))
            return
        end = self._head.find(b"\r\n\r\n")
        size = end + 4 if end >= 0 else len(self._head)
        if len(self._interim) > _MAX_INTERIM:
            self._fail(f"it sent more than {_MAX_INTERIM} interim responses")
        elif sum(self._interim) + size > MAX_PROXY_HEAD:
            self._fail(f"the head of its answer exceeds {MAX_PROXY_HEAD} bytes")
        elif end >= 0:
            head = bytes(self._head[:end])
            self._spoke_early = len(self._head) > end + 4
            self._head = None
            self._answered(head)

    def _pass_over_interim(self, head: bytearray) -> None:
        """Drop the interim responses that stand before the answer."""
        found = _INTERIM.match(head)
        while found is not None and len(self._interim) <= _MAX_INTERIM:
            self._interim.append(found.end())
            del head[: found.end()]
            found = _INTERIM.match(head)

    def _answered(self, head: bytes) -> None:
        """Decide what the answer means."""
        found = _STATUS_LINE.match(head.partition(b"\r\n")[0])
        if found is None:
            self._fail(_NOT_HTTP, None, head)
            return
        status = int(found[1])
        # "Any 2xx (Successful) response indicates that the sender ... will switch to tunnel mode".
        if not 200 <= status <= 299:
            self._fail(f"it refused with status {status}", status, head)
        elif self._spoke_early:
            self._fail(_EARLY, None, head)
        elif not self._open.done():
            self._open.set_result(None)

    def _fail(
        self, problem: str, status: Optional[int] = None, head: Optional[bytes] = None
    ) -> None:
        self._head = None
        self._give_up(WSProxyError(_said(self._proxy, problem), status, head))

    def _give_up(self, error: WSProxyError) -> None:
        if not self._open.done():
            self._open.set_exception(error)
            # Where ws_connect was cancelled nobody asks.
            self._open.exception()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """Fail, or tell who came after us: some loops ask for the protocol too early."""
        self._lost = True
        if self._successor is not None:
            self._successor.connection_lost(exc)
            return
        error = WSProxyError(_said(self._proxy, "it closed the connection before it answered"))
        # Not all that aiofastnet 1.2 tells is an exception.
        error.__cause__ = exc if isinstance(exc, BaseException) else None
        self._give_up(error)

    async def opened(self) -> None:
        """Wait until the proxy has agreed. Raises WSProxyError."""
        await self._open
        self._check_silence()

    def _check_silence(self) -> None:
        """Nobody behind the proxy was asked anything: what is said there is lost for TLS, too."""
        if self._spoke_early:
            raise WSProxyError(_said(self._proxy, _EARLY))

    def hand_over(self, transport: asyncio.Transport, successor: asyncio.BaseProtocol) -> None:
        """Make ``successor`` the protocol of what is now the way to the server.

        Raises WSProxyError where it broke meanwhile, or where something was said on it although
        nobody behind the proxy was asked anything.
        """
        self._check_silence()
        if self._lost or transport.is_closing():
            raise WSProxyError(_said(self._proxy, "the way through it was closed"))
        self._successor = successor
        transport.set_protocol(successor)
        successor.connection_made(transport)

    def abort(self) -> None:
        """Give the connection to the proxy up, with whatever runs through it."""
        if self._transport is not None:
            self._transport.abort()


def _said(proxy: WSParsedURL, problem: str) -> str:
    return f"proxy {proxy.scheme}://{proxy.authority}: {problem}"


# ---- SOCKS ----


class _Opened:
    """Stands where python-socks expects a proxy in front of the proxy: hands it our socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def connect(self, **_: Any) -> socket.socket:
        return self._sock


async def socks_connect(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, proxy: WSParsedURL, server: WSParsedURL
) -> None:
    """Have a SOCKS proxy, which ``sock`` is connected to, open the way to the server.

    SOCKS5 (RFC 1928, 1929) and SOCKS4a resolve the server's name at the proxy, SOCKS4 resolves it
    here. Raises WSProxyError; OSError where a name cannot be resolved; ImportError without
    python-socks.
    """
    proxy_class, proxy_type = import_socks()
    user, password = _socks_credentials(proxy)
    way = proxy_class(
        proxy_type=proxy_type.SOCKS5 if proxy.scheme.startswith("socks5") else proxy_type.SOCKS4,
        host=proxy.host,
        port=proxy.port,
        username=user,
        password=password,
        rdns=proxy.scheme != "socks4",
        forward=_Opened(sock),
        loop=loop,
    )
    try:
        host = without_zone(server.host)
        await way.connect(dest_host=host, dest_port=server.port, timeout=_NO_LIMIT)
    except socket.gaierror:
        raise
    except Exception as error:
        # Beside its ProxyError: what the system says of the socket, and whatever a nonsensical
        # answer makes of it.
        raise WSProxyError(_said(proxy, str(error) or type(error).__name__)) from error


def import_socks() -> tuple[Any, Any]:
    """Return python-socks's Proxy and ProxyType. Raises ImportError that names the extra."""
    what = "a SOCKS proxy"
    types = import_extra("python_socks", "socks", what)
    return import_extra("python_socks.async_.asyncio", "socks", what).Proxy, types.ProxyType


def _socks_credentials(proxy: WSParsedURL) -> tuple[str, str]:
    """Return user name and password; ValueError for what the protocol cannot carry."""
    # What is no UTF-8 is not ASCII either.
    user = urllib.parse.unquote(proxy.username or "", errors="replace")
    password = urllib.parse.unquote(proxy.password or "", errors="replace")
    if not (user + password).isascii() or "\0" in user + password:
        raise ValueError("user name and password of a SOCKS proxy must be ASCII")
    if max(len(user), len(password)) > _MAX_SOCKS_NAME:
        raise ValueError("user name and password of a SOCKS proxy have 255 characters at most")
    if proxy.scheme.startswith("socks5") and bool(user) != bool(password):
        raise ValueError("a SOCKS5 proxy needs both user name and password, or neither (RFC 1929)")
    return user, password
