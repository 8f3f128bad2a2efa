"""WSServer: listening sockets and the connections that came through them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import socket
import ssl as ssl_module
import sys
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Optional, Union, cast

from . import _core
from .poller import Poller
from .stream import Stream, set_nodelay, start_tls

if TYPE_CHECKING:
    from .protocol import WSProtocol

# For want of descriptors nothing can be accepted: so many seconds later it is tried again.
_ACCEPT_RETRY = 1.0

HostsLike = Union[str, Iterable[str], None]


class _Handshaking:
    """A connection of the server whose TLS handshake is not done: it has no protocol yet."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def disconnect(self, graceful: bool) -> None:
        """Give it up: there is nothing that could be said."""
        self._stream.abort()


class WSServer(asyncio.AbstractServer):
    """A server as asyncio.Server is one in CPython 3.13, on every version and either way.

    It listens on the poller where there is one, else through the loop's own server.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make_protocol: Callable[[WSServer], WSProtocol],
    ) -> None:
        self._loop = loop
        self._make_protocol = make_protocol
        self._connections: set[Union[WSProtocol, _Handshaking]] = set()
        self._waiters: list[asyncio.Future[None]] = []
        self._forever: Optional[asyncio.Future[None]] = None
        self._is_closed = False
        # one of the two ways
        self._loops_server: Any = None
        self._listening: Optional[Listening] = None

    def __repr__(self) -> str:
        return f"<picows_c.WSServer sockets={self.sockets!r}>"

    # ---- the connections' side ----

    def _attach(self, protocol: Union[WSProtocol, _Handshaking]) -> None:
        self._connections.add(protocol)

    def _detach(self, protocol: Union[WSProtocol, _Handshaking]) -> None:
        self._connections.discard(protocol)
        self._wake_up()

    def _wake_up(self) -> None:
        if self._is_closed and not self._connections:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()

    # ---- asyncio.Server ----

    @property
    def sockets(self) -> tuple[Any, ...]:
        """The listening sockets; empty after close()."""
        if self._is_closed:
            return ()
        if self._listening is not None:
            return tuple(self._listening.sockets)
        return tuple(self._loops_server.sockets or ())

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop."""
        return self._loop

    def is_serving(self) -> bool:
        """Return whether connections are accepted."""
        if self._is_closed:
            return False
        if self._listening is not None:
            return bool(self._listening.acceptors)
        return bool(self._loops_server.is_serving())

    async def start_serving(self) -> None:
        """Begin to accept; does nothing where that was done."""
        if self._is_closed:
            raise RuntimeError(f"server {self!r} is closed")
        if self._listening is not None:
            self._listening.start()
        else:
            await self._loops_server.start_serving()

    async def serve_forever(self) -> None:
        """Accept until cancelled, or until close(); cancelling closes the server."""
        if self._forever is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        await self.start_serving()
        self._forever = self._loop.create_future()
        try:
            await self._forever
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._forever = None

    def close(self) -> None:
        """Stop listening; connections go on."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._listening is not None:
            self._listening.close()
        else:
            self._loops_server.close()
        if self._forever is not None and not self._forever.done():
            self._forever.cancel()
        self._wake_up()

    def close_clients(self) -> None:
        """End every connection: what waits to be sent is sent first."""
        for protocol in list(self._connections):
            protocol.disconnect(True)

    def abort_clients(self) -> None:
        """Drop every connection at once."""
        for protocol in list(self._connections):
            protocol.disconnect(False)

    async def wait_closed(self) -> None:
        """Wait until the server is closed and its last connection has gone."""
        if self._is_closed and not self._connections:
            return
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter


# Those whose sockets a forked child must not keep: the port would stay taken by it.
_all_listening: weakref.WeakSet[Listening] = weakref.WeakSet()


class Listening:
    """The listening sockets of a server on the poller."""

    def __init__(
        self,
        server: WSServer,
        poller: Poller,
        sockets: list[socket.socket],
        backlog: int,
        ssl: Optional[ssl_module.SSLContext],
        ssl_handshake_timeout: Optional[float],
        ssl_shutdown_timeout: Optional[float],
    ) -> None:
        self.sockets = sockets
        self.acceptors: list[_core.Acceptor] = []
        self._server = server
        self._loop = server.get_loop()
        self._poller = poller
        self._backlog = backlog
        self._ssl = ssl
        self._ssl_handshake_timeout = ssl_handshake_timeout
        self._ssl_shutdown_timeout = ssl_shutdown_timeout
        # Callbacks of a connection run in a copy of the context that made the server.
        self._context = contextvars.copy_context()
        self._retries: dict[_core.Acceptor, asyncio.TimerHandle] = {}
        _all_listening.add(self)

    def start(self) -> None:
        """Begin to accept."""
        if self.acceptors:
            return
        try:
            for sock in self.sockets:
                self._start(sock)
        except BaseException:
            for acceptor in self.acceptors:
                acceptor.close()
            self.acceptors.clear()
            raise

    def _start(self, sock: socket.socket) -> None:
        sock.listen(self._backlog)
        # Accepted sockets inherit it.
        set_nodelay(sock)
        # The acceptor's descriptor is its own: a user's sock.close() frees another number.
        fd = os.dup(sock.fileno())
        try:
            self.acceptors.append(_core.Acceptor(self._poller, fd, self))
        except BaseException:
            os.close(fd)
            raise

    def close(self) -> None:
        """Stop listening."""
        for timer in self._retries.values():
            timer.cancel()
        self._retries.clear()
        for acceptor in self.acceptors:
            acceptor.close()
        self.acceptors.clear()
        for sock in self.sockets:
            sock.close()
        self.sockets = []

    def _exhausted(self, acceptor: _core.Acceptor, error: OSError) -> None:
        """Wait a little: there are no descriptors, or no memory; called by the acceptor."""
        self._loop.call_exception_handler(
            {
                "message": f"accept() out of system resource, trying again in {_ACCEPT_RETRY:g} s",
                "exception": error,
            }
        )
        if acceptor in self._retries:
            return

        def again() -> None:
            del self._retries[acceptor]
            acceptor.resume()

        self._retries[acceptor] = self._loop.call_later(_ACCEPT_RETRY, again)

    def _accepted(self, fd: int) -> None:
        """Begin with a connection; called by the acceptor, who gives the descriptor up."""
        context = self._context.copy()
        try:
            protocol = context.run(self._server._make_protocol, self._server)
            stream = Stream(self._poller, self._loop, fd, protocol, context, {})
        except BaseException:
            os.close(fd)
            raise
        # What can be asked once the connection has gone.
        with contextlib.suppress(OSError):
            sock = socket.socket(fileno=fd)
            try:
                stream._extra["peername"] = sock.getpeername()
            finally:
                sock.detach()
        if self._ssl is None:
            self._begin(context, protocol, stream)
            return

        # close_clients(), abort_clients() and wait_closed() know of it from now on.
        handshaking = _Handshaking(stream)

        def done(error: Optional[BaseException]) -> None:
            try:
                if error is None:
                    self._begin(None, protocol, stream)
                else:
                    protocol.tls_failed(error)
            finally:
                self._server._detach(handshaking)

        self._server._attach(handshaking)
        try:
            start_tls(
                stream,
                self._loop,
                self._ssl,
                done,
                server_side=True,
                handshake_timeout=self._ssl_handshake_timeout,
                shutdown_timeout=self._ssl_shutdown_timeout,
            )
        except BaseException:
            stream.abort()
            self._server._detach(handshaking)
            raise

    @staticmethod
    def _begin(
        context: Optional[contextvars.Context], protocol: WSProtocol, stream: Stream
    ) -> None:
        transport = cast("asyncio.BaseTransport", stream)
        try:
            if context is None:
                protocol.connection_made(transport)
            else:
                context.run(protocol.connection_made, transport)
        except BaseException:
            stream.abort()
            raise
        stream._start()


async def bind_sockets(
    loop: asyncio.AbstractEventLoop,
    host: HostsLike,
    port: Optional[int],
    *,
    family: int = socket.AF_UNSPEC,
    flags: int = socket.AI_PASSIVE,
    reuse_address: Optional[bool] = None,
    reuse_port: Optional[bool] = None,
    keep_alive: Optional[bool] = None,
) -> list[socket.socket]:
    """Bind a socket to each address of each host, as loop.create_server() does."""
    hosts: list[Optional[str]]
    if host == "" or host is None:
        hosts = [None]
    elif isinstance(host, str):
        hosts = [host]
    else:
        hosts = list(host)
    found = await asyncio.gather(
        *(
            loop.getaddrinfo(h, port or 0, family=family, type=socket.SOCK_STREAM, flags=flags)
            for h in hosts
        )
    )
    if reuse_address is None:
        reuse_address = os.name == "posix" and sys.platform != "cygwin"
    sockets: list[socket.socket] = []
    try:
        for af, kind, proto, _, address in dict.fromkeys(info for infos in found for info in infos):
            try:
                sock = socket.socket(af, kind, proto)
            except OSError:
                continue  # an address family that this system does not have
            sockets.append(sock)
            sock.setblocking(False)
            if reuse_address:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                if not hasattr(socket, "SO_REUSEPORT"):
                    raise ValueError("reuse_port not supported by socket module")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if keep_alive:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            # Each family has a socket of its own.
            if af == socket.AF_INET6 and hasattr(socket, "IPPROTO_IPV6"):
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                sock.bind(address)
            except OSError as exc:
                text = f"error while attempting to bind on address {address!r}: {exc.strerror}"
                raise OSError(exc.errno, text) from None
        if not sockets:
            raise OSError(f"could not bind on any address out of {found!r}")
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _forked() -> None:
    """Close a forked child's copies: the port must not stay taken when the parent has closed."""
    for listening in list(_all_listening):
        for sock in listening.sockets:
            sock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
