"""WSServer: listening sockets and the connections that came through them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import logging
import os
import socket
import ssl as ssl_module
import stat
import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, Union, cast

from . import _core
from .deadlines import Deadlines
from .enums import WSCloseCode
from .options import WSSocketOptions, check_timeout
from .poller import Poller
from .stream import Stream, StreamSocket, resolve, set_nodelay, set_socket_options, start_tls

if TYPE_CHECKING:
    from .server import ServerProtocol

# For want of descriptors nothing can be accepted: so many seconds later it is tried again.
_ACCEPT_RETRY = 1.0

# Whoever interrupts a program does not wait long for its peers: so many seconds they have to answer
# our CLOSE.
_FAREWELL = 1.0

_logger = logging.getLogger("picows_c.server")

# An address, or a family of addresses, that this machine does not have.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)

HostsLike = Union[str, Iterable[str], None]
PathLike = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]


class WSServerStats(NamedTuple):
    """How a server's limits were used.

    open: connections that have upgraded and are not gone yet.
    pending: connections that have not upgraded yet.
    dropped: connections that were dropped because ``max_pending_connections`` were newer.
    refused: upgrades refused because there were ``max_connections``.
    """

    open: int
    pending: int
    dropped: int
    refused: int


if TYPE_CHECKING:
    # For type checkers only: users of picows write ``server: asyncio.Server = ...``, and nothing of
    # its surface is missing. At run time an asyncio.Server would bring sockets of its own.
    _Server = asyncio.Server
else:
    _Server = asyncio.AbstractServer


class WSServer(_Server):
    """A server as asyncio.Server is one in CPython 3.13, on every version and either way.

    It listens on the poller where there is one, else through the loop's own servers.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make_protocol: Callable[[WSServer], ServerProtocol],
        logger: Union[logging.Logger, logging.LoggerAdapter[Any]],
        max_connections: Optional[int],
        max_pending: Optional[int],
        handshake_timeout: Optional[float],
    ) -> None:
        self._loop = loop
        self._make_protocol = make_protocol
        self._logger = logger
        self._max_connections = max_connections
        self._max_pending = max_pending
        # All that are not gone; of these, the upgraded ones; and the others, oldest first.
        self._connections: set[ServerProtocol] = set()
        self._open: set[ServerProtocol] = set()
        self._pending: OrderedDict[ServerProtocol, None] = OrderedDict()
        self._handshakes: Optional[Deadlines[ServerProtocol]] = None
        if handshake_timeout is not None:
            self._handshakes = Deadlines(loop, handshake_timeout, _handshake_timed_out)
        self._dropped = 0
        self._dropped_before = 0
        self._is_dropping = False
        self._refused = 0
        self._waiters: set[asyncio.Future[None]] = set()
        self._forever: Optional[asyncio.Future[None]] = None
        self._is_closed = False
        self._is_closing_gracefully = False
        self._is_interrupted = False
        self._farewell: Optional[asyncio.TimerHandle] = None
        self._listening: Union[Listening, LoopListening, None] = None

    def __repr__(self) -> str:
        return f"<picows_c.WSServer sockets={self.sockets!r}>"

    # ---- the connections' side ----

    def _attach(self, protocol: ServerProtocol) -> None:
        """Take note of a connection; one that has been noted keeps its place."""
        self._connections.add(protocol)
        self._pending[protocol] = None
        if self._is_closing_gracefully:
            protocol.disconnect(False)
        elif self._max_pending is not None and len(self._pending) > self._max_pending:
            self._drop_oldest()

    def _await_request(self, protocol: ServerProtocol) -> None:
        """Bound the time that a connection has for its request, from now on."""
        if self._handshakes is not None:
            self._handshakes.add(protocol)

    def _drop_oldest(self) -> None:
        oldest, _ = self._pending.popitem(last=False)
        self._dropped += 1
        # A flood of connections must not become one of log records.
        if not self._is_dropping:
            self._is_dropping = True
            self._dropped_before = self._dropped - 1
            self._logger.warning(
                "more than %d pending connections: the oldest ones are dropped", self._max_pending
            )
        oldest.disconnect(False)

    def _not_pending(self, protocol: ServerProtocol) -> None:
        self._pending.pop(protocol, None)
        if self._handshakes is not None:
            self._handshakes.discard(protocol)
        if self._is_dropping and len(self._pending) * 2 <= (self._max_pending or 0):
            self._is_dropping = False
            self._logger.info(
                "%d pending connections were dropped; %d are left",
                self._dropped - self._dropped_before,
                len(self._pending),
            )

    def _take_in(self) -> bool:
        """Return whether there is room for another connection."""
        if self._max_connections is None or len(self._open) < self._max_connections:
            return True
        self._refused += 1
        return False

    def _upgraded(self, protocol: ServerProtocol) -> None:
        self._open.add(protocol)
        self._not_pending(protocol)

    def _detach(self, protocol: ServerProtocol) -> None:
        self._connections.discard(protocol)
        self._open.discard(protocol)
        self._not_pending(protocol)
        self._wake_up()

    def _wake_up(self) -> None:
        if self._is_closed and not self._connections:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()
            self._end_farewell()

    def _send_away(self) -> None:
        """End every connection, with a CLOSE (1001) first where it has upgraded, and soon."""
        self._is_interrupted = False
        self._is_closing_gracefully = True
        self.close()
        for protocol in list(self._connections):
            protocol.close_gracefully(WSCloseCode.GOING_AWAY, None)
        self._end_farewell()
        if self._connections:
            self._farewell = self._loop.call_later(_FAREWELL, self.abort_clients)

    def _end_farewell(self) -> None:
        if self._farewell is not None:
            self._farewell.cancel()
            self._farewell = None

    @property
    def stats(self) -> WSServerStats:
        """How the limits are used; may be asked at any time."""
        return WSServerStats(len(self._open), len(self._pending), self._dropped, self._refused)

    # ---- asyncio.Server ----

    async def __aexit__(self, *exc: object) -> None:
        """Close the server and wait for the end of its connections.

        Where an exception leaves the block, as by Ctrl-C, or ``serve_forever()`` was cancelled
        inside it, they get a CLOSE with 1001, and a second; else they last as long as they last.
        """
        self.close()
        if exc[0] is not None:
            self._send_away()
        await self.wait_closed()

    @property
    def sockets(self) -> tuple[Any, ...]:
        """The listening sockets; empty after close()."""
        return () if self._listening is None else tuple(self._listening.bound.sockets)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop."""
        return self._loop

    def is_serving(self) -> bool:
        """Return whether connections are accepted."""
        return self._listening is not None and self._listening.is_serving()

    async def start_serving(self) -> None:
        """Begin to accept; does nothing where that was done."""
        if self._listening is None:
            raise RuntimeError(f"server {self!r} is closed")
        await self._listening.start()

    async def serve_forever(self) -> None:
        """Accept until cancelled, or until close().

        Cancelling closes the server, and ``wait_closed()`` sends its connections away then: CLOSE
        with 1001, and a second to answer it.
        """
        if self._forever is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        # close() may come while this waits for the loop to begin.
        self._forever = self._loop.create_future()
        try:
            await self.start_serving()
            await self._forever
        except asyncio.CancelledError:
            # (close() ends it in the same way.)
            self._is_interrupted = not self._is_closed
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
            self._listening = None
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
        if self._is_interrupted:
            self._send_away()
        if self._is_closed and not self._connections:
            return
        waiter = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def close_gracefully(
        self,
        code: int = WSCloseCode.GOING_AWAY,
        timeout: Optional[float] = None,
        reason: Union[str, bytes, None] = None,
    ) -> int:
        """Stop listening, close every connection with a CLOSE frame and wait until all are gone.

        Connections that have not upgraded yet are dropped. What listeners send from now on is
        dropped, too. It may be called again, also while a first call waits. Cancelling it leaves
        everything as it is then: the CLOSE frames are sent, each connection ends by itself.

        :param code: 1000-1003, 1007-1014 or 3000-4999; 1001 is "going away" (RFC 6455, 7.4.1);
            WSCloseCode.NO_INFO for an empty CLOSE.
        :param timeout: seconds until the rest is aborted; None for no limit but each connection's
            ``close_timeout``, which counts in any case.
        :param reason: at most 123 bytes of UTF-8.
        :returns: how many of the open connections have ended without a CLOSE from the peer.
        :raises TypeError: an argument of the wrong type; nothing has happened.
        :raises ValueError: a code that may not be sent, a reason that is too long; likewise.
        """
        check_timeout("timeout", timeout)
        _core.WSTransport._check_close(code, reason)
        self._is_closing_gracefully = True
        self._is_interrupted = False
        self._end_farewell()
        self.close()
        transports = [protocol.transport for protocol in self._open]
        for protocol in list(self._connections):
            protocol.close_gracefully(code, reason)
        timer = None if timeout is None else self._loop.call_later(timeout, self.abort_clients)
        try:
            await self.wait_closed()
        finally:
            if timer is not None:
                timer.cancel()
        return sum(t is not None and not t._is_close_frame_received for t in transports)


def _handshake_timed_out(protocol: ServerProtocol) -> None:
    protocol._handshake_timed_out()


class BoundSockets:
    """Sockets to listen on, and the file of a unix socket where it is to be removed with them."""

    def __init__(self, sockets: list[socket.socket], remove_file: bool = False) -> None:
        self.sockets = sockets
        self._file: Optional[tuple[Any, tuple[int, int]]] = None
        if remove_file:
            path = sockets[0].getsockname()
            # An abstract name is no file.
            if path and path[0] not in (0, "\0"):
                with contextlib.suppress(FileNotFoundError):
                    self._file = path, _identity(path)

    def close(self) -> None:
        """Close the sockets; remove the file, unless it is another server's by now."""
        for sock in self.sockets:
            sock.close()
        self.sockets = []
        if self._file is None:
            return
        (path, identity), self._file = self._file, None
        try:
            if _identity(path) == identity:
                os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            _logger.error("cannot remove the unix socket %r: %r", path, error)


def _identity(path: Union[str, bytes]) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


class LoopListening:
    """The listening sockets of a server whose connections are transports of the loop's own.

    Each has a server of the loop's.
    """

    def __init__(self, server: WSServer, bound: BoundSockets) -> None:
        self.bound = bound
        self._server = server
        self._servers: list[asyncio.AbstractServer] = []

    async def create(self, create_server: Callable[..., Any], **options: Any) -> None:
        """Make the servers; ``options`` are those of ``loop.create_server()``."""
        server = self._server
        for sock in self.bound.sockets:
            made = await create_server(
                lambda: server._make_protocol(server), sock=sock, start_serving=False, **options
            )
            self._servers.append(made)

    async def start(self) -> None:
        """Begin to accept."""
        for server in self._servers:
            await server.start_serving()

    def is_serving(self) -> bool:
        """Return whether connections are accepted."""
        return any(server.is_serving() for server in self._servers)

    def close(self) -> None:
        """Stop listening."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        self.bound.close()


# Those whose sockets a forked child must not keep: the port would stay taken by it.
_all_listening: weakref.WeakSet[Listening] = weakref.WeakSet()


class Listening:
    """The listening sockets of a server on the poller."""

    def __init__(
        self,
        server: WSServer,
        bound: BoundSockets,
        poller: Poller,
        backlog: int,
        ssl: Optional[ssl_module.SSLContext],
        ssl_handshake_timeout: Optional[float],
        ssl_shutdown_timeout: Optional[float],
    ) -> None:
        self.bound = bound
        self._acceptors: list[_core.Acceptor] = []
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

    async def start(self) -> None:
        """Begin to accept."""
        if self._acceptors:
            return
        try:
            for sock in self.bound.sockets:
                self._start(sock)
        except BaseException:
            for acceptor in self._acceptors:
                acceptor.close()
            self._acceptors.clear()
            raise

    def _start(self, sock: socket.socket) -> None:
        sock.listen(self._backlog)
        # The acceptor's descriptor is its own: a user's sock.close() frees another number.
        fd = os.dup(sock.fileno())
        try:
            self._acceptors.append(_core.Acceptor(self._poller, fd, self))
        except BaseException:
            self._poller._drop(fd)  # and the acceptor that has taken it
            raise

    def is_serving(self) -> bool:
        """Return whether connections are accepted."""
        return bool(self._acceptors)

    def close(self) -> None:
        """Stop listening."""
        for timer in self._retries.values():
            timer.cancel()
        self._retries.clear()
        for acceptor in self._acceptors:
            acceptor.close()
        self._acceptors.clear()
        self.bound.close()

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

    def _accepted(self, fd: int, peername: Optional[tuple[Any, ...]]) -> Stream:
        """Make a stream of a descriptor; the acceptor, who called, closes both where this raises.

        peername: where the acceptor knows it.
        """
        protocol = self._server._make_protocol(self._server)
        # What can be asked once the connection has gone, too.
        extra = {"peername": peername}
        return Stream(self._poller, self._loop, fd, protocol, self._context.copy(), extra)

    def _begun(self, stream: Stream) -> None:
        """Begin with the connection; called by the acceptor with what _accepted() made."""
        protocol: Any = stream.get_protocol()
        try:
            if stream._extra["peername"] is None:
                with contextlib.suppress(OSError):
                    stream._extra["peername"] = StreamSocket(stream).getpeername()
            if self._ssl is None:
                stream._context.run(protocol.connection_made, stream)
                stream._start()
            else:
                self._begin_tls(self._ssl, protocol, stream)
        except BaseException:
            self._give_up(protocol, stream)
            raise

    def _begin_tls(
        self, context: ssl_module.SSLContext, protocol: ServerProtocol, stream: Stream
    ) -> None:
        def done(error: Optional[BaseException]) -> None:
            if error is not None:
                protocol.tls_failed(error)
                return
            try:
                protocol.connection_made(cast("asyncio.BaseTransport", stream))
                stream._start()
            except BaseException:
                self._give_up(protocol, stream)
                raise

        protocol.tls_started(cast("asyncio.Transport", stream))
        start_tls(
            stream,
            self._loop,
            context,
            done,
            server_side=True,
            handshake_timeout=self._ssl_handshake_timeout,
            shutdown_timeout=self._ssl_shutdown_timeout,
        )

    def _give_up(self, protocol: ServerProtocol, stream: Stream) -> None:
        stream.abort()
        self._server._detach(protocol)


async def bind_sockets(
    loop: asyncio.AbstractEventLoop,
    host: HostsLike,
    port: Optional[int],
    sock: Optional[socket.socket] = None,
    *,
    family: int = socket.AF_UNSPEC,
    flags: int = socket.AI_PASSIVE,
    reuse_address: Optional[bool] = None,
    reuse_port: Optional[bool] = None,
    keep_alive: Optional[bool] = None,
    socket_options: WSSocketOptions = (),
) -> BoundSockets:
    """Bind a socket to each address of each host, as loop.create_server() does.

    Of the addresses of one name those that this machine does not have are left out, as ::1 of
    localhost where there is no IPv6.
    """
    if sock is not None:
        if host is not None or port is not None:
            raise ValueError("host/port and sock can not be specified at the same time")
        _check_socket(sock)
        if sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A Stream Socket was expected, got {sock!r}")
        return BoundSockets([_prepare(sock, socket_options)])
    if host is None and port is None:
        raise ValueError("Neither host/port nor sock were specified")
    if reuse_port and not hasattr(socket, "SO_REUSEPORT"):
        raise ValueError("reuse_port not supported by socket module")
    if reuse_address is None:
        reuse_address = os.name == "posix" and sys.platform != "cygwin"
    options = list(socket_options)
    if keep_alive:
        options.insert(0, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
    if reuse_port:
        options.insert(0, (socket.SOL_SOCKET, socket.SO_REUSEPORT, 1))
    if reuse_address:
        options.insert(0, (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1))

    hosts = [host or None] if host is None or isinstance(host, str) else list(host)
    found = await asyncio.gather(*(resolve(loop, h, port or 0, family, 0, flags) for h in hosts))
    bound: dict[Any, socket.socket] = {}
    try:
        for infos in found:
            for info in infos:
                if info in bound:
                    continue
                try:
                    bound[info] = _bind(info, options)
                except OSError as exc:
                    is_last = info is infos[-1] and not any(i in bound for i in infos)
                    if exc.errno not in _NOT_HERE or is_last:
                        raise
        if not bound:
            raise OSError(f"no addresses found for {host!r}")
    except BaseException:
        for made in bound.values():
            made.close()
        raise
    return BoundSockets(list(bound.values()))


def _bind(info: Any, options: WSSocketOptions) -> socket.socket:
    family, kind, proto, _, address = info
    sock = socket.socket(family, kind, proto)
    try:
        _prepare(sock, options)
        # Each family has a socket of its own.
        if family == socket.AF_INET6 and hasattr(socket, "IPPROTO_IPV6"):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            sock.bind(address)
        except OSError as exc:
            text = f"error while attempting to bind on address {address!r}: {exc.strerror}"
            raise OSError(exc.errno, text) from None
    except BaseException:
        sock.close()
        raise
    return sock


def bind_unix_socket(
    path: Optional[PathLike],
    sock: Optional[socket.socket],
    *,
    mode: Optional[int],
    cleanup_socket: bool,
    socket_options: WSSocketOptions,
) -> BoundSockets:
    """Bind a unix socket to a path, as loop.create_unix_server() does, with permissions."""
    if sys.platform == "win32" or not hasattr(socket, "AF_UNIX"):
        raise NotImplementedError("there are no unix sockets on this platform")
    if sock is not None:
        if path is not None:
            raise ValueError("path and sock can not be specified at the same time")
        if mode is not None:
            raise ValueError("mode and sock can not be specified at the same time")
        _check_socket(sock)
        if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")
        return BoundSockets([_prepare(sock, socket_options)], cleanup_socket)
    if path is None:
        raise ValueError("path was not specified, and no sock specified")
    if mode is not None and not isinstance(mode, int):
        raise TypeError(f"mode must be int or None, not {type(mode).__name__}")
    if mode is not None and not 0 <= mode <= 0o7777:
        raise ValueError(f"mode must be 0 to 0o7777, not {mode:#o}")
    path = os.fspath(path)
    if not path:
        raise ValueError("path is empty")
    is_file = path[0] not in (0, "\0")
    if mode is not None and not is_file:
        raise ValueError("mode needs a path that is a file: an abstract name has no permissions")
    if is_file:
        _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _prepare(sock, socket_options)
        try:
            sock.bind(path)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
            raise OSError(exc.errno, f"Address {path!r} is already in use") from None
        bound = BoundSockets([sock], cleanup_socket)
    except BaseException:
        sock.close()
        raise
    try:
        # Nobody can connect before we listen: there is no moment with other permissions.
        if mode is not None:
            os.chmod(path, mode)
    except BaseException:
        bound.close()
        raise
    return bound


def _remove_stale(path: Union[str, bytes]) -> None:
    """Remove the file that a server which is no more has left."""
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        # Where it is in the way bind() will say so.
        _logger.error("cannot check or remove the stale unix socket %r: %r", path, error)


def _check_socket(sock: socket.socket) -> None:
    if not isinstance(sock, socket.socket):
        raise TypeError(f"sock must be a socket, not {type(sock).__name__}")


def _prepare(sock: socket.socket, options: WSSocketOptions) -> socket.socket:
    sock.setblocking(False)
    set_socket_options(sock, options)
    # Accepted sockets inherit it. asyncio sets it only where the protocol's number was given.
    set_nodelay(sock)
    return sock


def _forked() -> None:
    """Close a forked child's copies: the port must not stay taken when the parent has closed."""
    for listening in list(_all_listening):
        for sock in listening.bound.sockets:
            sock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
