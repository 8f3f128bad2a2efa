"""From a URL to a connection: a socket, a proxy where there is one, TLS, then the protocol."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import socket
import ssl
import sys
from collections.abc import Awaitable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Callable, Optional, Union, cast

from .poller import Poller, poller_of
from .proxy import Tunnel, proxy_of_environment, socks_connect
from .racing import DEFAULT_DELAY, AddressInfo, connect_first, is_connected
from .stream import Stream, connect_stream, resolve, secure_stream, set_socket_options
from .url import WSParsedURL, certificate_name

WSSocketFactory = Callable[
    [WSParsedURL], Union[socket.socket, Awaitable[Optional[socket.socket]], None]
]


class OpenTimeout:
    """Bounds what the current task awaits; ``with``, not ``async with``.

    asyncio.timeout() is CPython 3.11's, and its TimeoutError does not say what took too long.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: Optional[float]) -> None:
        self._loop = loop
        self._seconds = seconds
        self._timer: Optional[asyncio.TimerHandle] = None
        self._expired = False

    def __enter__(self) -> None:
        if self._seconds is None:
            return
        task: Any = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("open_timeout needs a task")
        self._task = task
        # Before 3.11 a task does not count who wants it cancelled.
        self._wanted = task.cancelling() if sys.version_info >= (3, 11) else 0
        self._timer = self._loop.call_later(self._seconds, self._expire)

    def _expire(self) -> None:
        self._expired = True
        self._task.cancel()

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._expired:
            return
        left = self._task.uncancel() if sys.version_info >= (3, 11) else 0
        if isinstance(error, asyncio.CancelledError) and left <= self._wanted:
            raise asyncio.TimeoutError(
                f"no connection within {self._seconds} seconds (open_timeout)"
            ) from error


# ---- TLS ----


@dataclass(frozen=True)
class TLS:
    """One TLS layer of a connection; the times are seconds, None for the transport's own."""

    context: ssl.SSLContext
    hostname: str
    handshake_timeout: Optional[float] = None
    shutdown_timeout: Optional[float] = None


class PollerWay:
    """Connections on our poller."""

    def __init__(self, loop: asyncio.AbstractEventLoop, poller: Poller) -> None:
        self._loop = loop
        self._poller = poller

    async def start(
        self, sock: socket.socket, protocol: asyncio.BaseProtocol, tls: Optional[TLS]
    ) -> asyncio.Transport:
        """Make a transport of a connected socket and start its protocol."""
        options: dict[str, Any] = {}
        if tls is not None:
            options = {
                "ssl": tls.context,
                "server_hostname": tls.hostname or None,
                "ssl_handshake_timeout": tls.handshake_timeout,
                "ssl_shutdown_timeout": tls.shutdown_timeout,
            }
        stream, _ = await connect_stream(
            self._poller, self._loop, lambda: protocol, sock, **options
        )
        return cast("asyncio.Transport", stream)

    async def start_tls(
        self, transport: asyncio.Transport, protocol: asyncio.BaseProtocol, tls: TLS
    ) -> asyncio.Transport:
        """Put TLS on a transport, which may have some already."""
        await secure_stream(
            cast("Stream", transport),
            self._loop,
            tls.context,
            server_hostname=tls.hostname or None,
            handshake_timeout=tls.handshake_timeout,
            shutdown_timeout=tls.shutdown_timeout,
        )
        return transport


class LoopWay:
    """Connections on the loop's own transports, or on aiofastnet's."""

    def __init__(self, loop: asyncio.AbstractEventLoop, aiofastnet: Any) -> None:
        self._create: Any = loop.create_connection
        self._start_tls: Any = loop.start_tls
        self.is_asyncio = aiofastnet is None and isinstance(loop, asyncio.BaseEventLoop)
        if aiofastnet is not None:
            self._create = functools.partial(aiofastnet.create_connection, loop)
            self._start_tls = functools.partial(aiofastnet.start_tls, loop)

    async def start(
        self, sock: socket.socket, protocol: asyncio.BaseProtocol, tls: Optional[TLS]
    ) -> asyncio.Transport:
        """Make a transport of a connected socket and start its protocol."""
        options = {} if tls is None else {"ssl": tls.context, **_loop_options(tls)}
        transport, _ = await self._create(lambda: protocol, sock=sock, **options)
        return cast("asyncio.Transport", transport)

    async def start_tls(
        self, transport: asyncio.Transport, protocol: asyncio.BaseProtocol, tls: TLS
    ) -> asyncio.Transport:
        """Put TLS on a transport, which may have some already."""
        new = await self._start_tls(transport, protocol, tls.context, **_loop_options(tls))
        if new is None:
            raise ConnectionResetError("the connection was lost during the TLS handshake")
        return cast("asyncio.Transport", new)


def _loop_options(tls: TLS) -> dict[str, Any]:
    options: dict[str, Any] = {"server_hostname": tls.hostname}
    if tls.handshake_timeout is not None:
        options["ssl_handshake_timeout"] = tls.handshake_timeout
    if tls.shutdown_timeout is not None:
        # A TypeError before 3.11.
        options["ssl_shutdown_timeout"] = tls.shutdown_timeout
    return options


# ---- connections ----


@dataclass(frozen=True)
class Connector:
    """How each connection of one ws_connect is made: there is one more for every redirect.

    proxy: True for what the environment says.
    resolving: those of loop.create_connection()'s keywords that find an address, as far as given.
    server_hostname: None for the URL's host, empty for no check.
    """

    loop: asyncio.AbstractEventLoop
    way: Union[PollerWay, LoopWay]
    ssl_context: Optional[ssl.SSLContext]
    proxy: Union[bool, WSParsedURL, None]
    proxy_ssl_context: Optional[ssl.SSLContext]
    socket_factory: Optional[WSSocketFactory]
    unix_path: Union[str, bytes, None]
    socket_options: tuple[tuple[int, int, Union[int, bytes]], ...]
    resolving: dict[str, Any]
    server_hostname: Optional[str]
    ssl_handshake_timeout: Optional[float]
    ssl_shutdown_timeout: Optional[float]

    async def connect(self, url: WSParsedURL, protocol: Any) -> None:
        """Connect ``protocol``, which has an ``abort()``, to a server.

        Its ``given_socket``, which it closes when the connection is lost, becomes what
        socket_factory returned. Whatever goes wrong, cancelling included: the socket is closed, the
        protocol aborted.
        """
        proxy = self._proxy_for(url)
        tls = self._tls_for(url)
        sock, given = await self._open_socket(url if proxy is None else proxy)
        protocol.given_socket = given
        try:
            if proxy is not None and proxy.scheme in ("http", "https"):
                await self._tunnel(sock, proxy, url, protocol, tls)
                return
            if proxy is not None:
                await socks_connect(self.loop, sock, proxy, url)
            await self.way.start(sock, protocol, tls)
        except BaseException:
            # The loop's transports close themselves, but not at once.
            protocol.abort()
            sock.close()
            if given is not None:
                given.close()
            raise

    def _proxy_for(self, url: WSParsedURL) -> Optional[WSParsedURL]:
        if isinstance(self.proxy, WSParsedURL):
            return self.proxy
        return proxy_of_environment(url) if self.proxy else None

    def _tls_for(self, url: WSParsedURL) -> Optional[TLS]:
        if not url.is_secure:
            return None
        return TLS(
            self.ssl_context or ssl.create_default_context(),
            certificate_name(url.host if self.server_hostname is None else self.server_hostname),
            self.ssl_handshake_timeout,
            self.ssl_shutdown_timeout,
        )

    async def _tunnel(
        self,
        sock: socket.socket,
        proxy: WSParsedURL,
        url: WSParsedURL,
        protocol: Any,
        tls: Optional[TLS],
    ) -> None:
        way = self.way if tls is None else self._way_of_tls(proxy.is_secure)
        outer = None
        if proxy.is_secure:
            context = self.proxy_ssl_context or ssl.create_default_context()
            outer = TLS(context, certificate_name(proxy.host))
        tunnel = Tunnel(self.loop, proxy, url)
        try:
            transport = await way.start(sock, tunnel, outer)
            await tunnel.opened()
            if tls is not None:
                transport = await way.start_tls(transport, tunnel, tls)
            tunnel.hand_over(transport, protocol)
        except BaseException:
            tunnel.abort()
            raise

    def _way_of_tls(self, is_second: bool) -> Union[PollerWay, LoopWay]:
        """Return who can start TLS on a connection, TLS inside TLS if it is the second."""
        if isinstance(self.way, PollerWay) or not self.way.is_asyncio:
            return self.way
        # asyncio's start_tls() leaves something open when it is cancelled before 3.11. It cannot
        # be used twice before 3.11, and before 3.11.8 and 3.12.2 a failure leaves all of it open.
        if not is_second and sys.version_info >= (3, 11):
            return self.way
        poller = poller_of(self.loop)
        if poller is not None:
            return PollerWay(self.loop, poller)
        if is_second and sys.version_info < (3, 11):
            raise NotImplementedError("wss through an https proxy needs CPython 3.11 on this loop")
        return self.way

    # ---- sockets ----

    async def _open_socket(self, url: WSParsedURL) -> tuple[socket.socket, Optional[socket.socket]]:
        """Return a connected, non-blocking socket to a server or proxy.

        Beside it stands the object that socket_factory returned, None where it was not that: the
        connection has a descriptor of its own, and who closes the other one does no harm.
        """
        if self.unix_path is not None:
            return await self._open_unix(self.unix_path), None
        made = await self._ask_factory(url)
        if made is None:
            return await self._connect_own(url), None
        self._check_made(made)
        if not is_connected(made):
            made = await self._connect_made(url, made)
        try:
            return _duplicate(made), made
        except BaseException:
            made.close()
            raise

    async def _connect_own(self, url: WSParsedURL) -> socket.socket:
        family, proto, flags = (
            self.resolving.get(name, 0) for name in ("family", "proto", "flags")
        )
        addresses = await resolve(self.loop, url.host, url.port, family, proto, flags)
        local_addr = self.resolving.get("local_addr")
        local = None
        if local_addr is not None:
            host, port = local_addr
            local = await resolve(self.loop, host, port, family, proto, flags)

        async def make(info: AddressInfo) -> socket.socket:
            sock = socket.socket(*info[:3])
            try:
                set_socket_options(sock, self.socket_options)
                sock.setblocking(False)
                if local is not None:
                    _bind(sock, local)
            except BaseException:
                sock.close()
                raise
            return sock

        # Two attempts at once cannot have the same port.
        has_port = local_addr is not None and local_addr[1] != 0
        return await self._connect_first(addresses, make, None if has_port else self._delay())

    async def _connect_made(self, url: WSParsedURL, first: socket.socket) -> socket.socket:
        """Connect what socket_factory returned, which is asked for one more for each address."""
        made, unused = [first], [first]

        async def make(info: AddressInfo) -> Optional[socket.socket]:
            if unused:
                return unused.pop()
            sock = await self._ask_factory(url)
            # It may have no more than one: no other address is tried.
            if sock is None or any(sock is other for other in made):
                return None
            made.append(sock)
            self._check_made(sock)
            return sock

        try:
            if first.family not in (socket.AF_INET, socket.AF_INET6):
                raise ValueError(
                    f"socket_factory returned a socket of {first.family!r} that is not connected"
                )
            flags = self.resolving.get("flags", 0)
            addresses = await resolve(self.loop, url.host, url.port, first.family, 0, flags)
            return await self._connect_first(addresses, make, self._delay())
        finally:
            for sock in unused:
                sock.close()

    def _delay(self) -> Optional[float]:
        delay: Optional[float] = self.resolving.get("happy_eyeballs_delay", DEFAULT_DELAY)
        return delay

    async def _connect_first(
        self,
        addresses: list[AddressInfo],
        make: Callable[[AddressInfo], Awaitable[Optional[socket.socket]]],
        delay: Optional[float],
    ) -> socket.socket:
        return await connect_first(
            self.loop, addresses, make, delay, self.resolving.get("interleave")
        )

    async def _open_unix(self, path: Union[str, bytes]) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        try:
            set_socket_options(sock, self.socket_options)
            sock.setblocking(False)
            await self.loop.sock_connect(sock, path)
            # Where the backlog is full, connect() says EAGAIN, and the loops take that for "soon".
            sock.getpeername()
        except BaseException:
            sock.close()
            raise
        return sock

    async def _ask_factory(self, url: WSParsedURL) -> Optional[socket.socket]:
        """Return what socket_factory does, None without one."""
        if self.socket_factory is None:
            return None
        made: Any = self.socket_factory(url)
        if inspect.isawaitable(made):
            made = await made
        if made is not None and not isinstance(made, socket.socket):
            raise TypeError(f"socket_factory returned {type(made).__name__}, not a socket or None")
        return made

    def _check_made(self, sock: socket.socket) -> None:
        """Prepare a socket of the user's; close it where it is of no use."""
        try:
            if isinstance(sock, ssl.SSLSocket):
                raise TypeError("socket_factory returned an SSLSocket: TLS is added to a plain one")
            if sock.type != socket.SOCK_STREAM:
                raise ValueError(f"socket_factory returned a socket of type {sock.type!r}")
            sock.setblocking(False)
            set_socket_options(sock, self.socket_options)
        except BaseException:
            sock.close()
            raise


def _duplicate(sock: socket.socket) -> socket.socket:
    """Return another socket object, with a descriptor of its own, for the same connection."""
    fd = socket.dup(sock.fileno())
    try:
        # Not sock.dup(): a subclass may have a constructor of its own.
        own = socket.socket(sock.family, sock.type, sock.proto, fileno=fd)
    except BaseException:
        socket.close(fd)
        raise
    own.setblocking(False)
    return own


def _bind(sock: socket.socket, addresses: list[AddressInfo]) -> None:
    """Bind to the first address that can be. Raises OSError."""
    failure = None
    for family, _, _, _, address in addresses:
        if family != sock.family:
            continue
        try:
            sock.bind(address)
            return
        except OSError as error:
            failure = OSError(
                error.errno, f"cannot bind to local_addr {address!r}: {error.strerror}"
            )
    raise failure or OSError(f"local_addr has no address of {sock.family!r}")


def check_unix_path(path: Union[str, bytes, os.PathLike[str]]) -> Union[str, bytes]:
    """Return the path of a unix socket; a leading NUL makes it an abstract one (Linux).

    Raises TypeError or ValueError.
    """
    path = os.fspath(path)
    if not hasattr(socket, "AF_UNIX"):
        raise ValueError("unix_path: there are no unix sockets on this platform")
    if not path:
        raise ValueError("unix_path is empty")
    if "\0" in path[1:] if isinstance(path, str) else b"\0" in path[1:]:
        raise ValueError(f"unix_path with a NUL in it: {path!r}")
    return path
