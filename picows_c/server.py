"""ws_create_server: the server's side of a connection."""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import ssl as ssl_module
import sys
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Callable, Optional, Union, cast

from . import _core
from .deflate import PermessageDeflate
from .enums import WSAutoPingStrategy
from .extensions import EXTENSIONS, Extension
from .extras import import_aiofastnet
from .handshake import (
    WSOrigin,
    WSRequestRefused,
    WSSubprotocolChooser,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    accept_for,
    check_origin,
    check_request,
    check_upgrade,
    choose_extensions,
    choose_subprotocol,
    is_upgrade,
    make_chooser,
    make_origins,
    offered_extensions,
    offered_subprotocols,
    options_response,
    resolve_target,
    switching_bytes,
    uses_extension,
)
from .listener import EXITS, WSListener, check_bound, check_factory, takes, wrong_answer
from .listening import (
    BoundSockets,
    HostsLike,
    Listening,
    LoopListening,
    PathLike,
    WSServer,
    bind_sockets,
    bind_unix_socket,
)
from .options import (
    DEFAULT_BUFFER_SIZE,
    DEFAULT_CLOSE_TIMEOUT,
    DEFAULT_HANDSHAKE_TIMEOUT,
    DEFAULT_MAX_FRAME_SIZE,
    DEFAULT_MAX_MESSAGE_SIZE,
    DEFAULT_MAX_PENDING,
    DEFAULT_SERVER_PING_TIMEOUT,
    ConnectionOptions,
    WSLoggerLike,
    WSSocketOptions,
    check_count,
    check_port,
    check_socket_options,
    check_timeout,
    check_tls_context,
)
from .poller import choose_way
from .protocol import WSProtocol, peer_of
from .stream import set_socket_options

WSServerAnswer = Union[WSListener, WSUpgradeResponseWithListener, None]
WSServerListenerFactory = Union[
    Callable[[WSUpgradeRequest], WSServerAnswer], Callable[[], WSServerAnswer]
]


@dataclass(frozen=True)
class ServerOptions:
    """The checked options that the connections of one server share."""

    connection: ConnectionOptions
    factory: Callable[[WSUpgradeRequest], WSServerAnswer]
    origins: Optional[tuple[WSOrigin, ...]]
    subprotocols: Union[tuple[str, ...], WSSubprotocolChooser]
    socket_options: WSSocketOptions


class ServerProtocol(WSProtocol):
    """A connection that the peer opened."""

    __slots__ = ("_server", "_server_options")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, options: ServerOptions, server: WSServer
    ) -> None:
        super().__init__(loop, options.connection, False)
        self._server = server
        self._server_options = options

    def tls_started(self, transport: asyncio.Transport) -> None:
        """Be one of the server's connections from the beginning of the TLS handshake."""
        self._underlying = transport
        self._peer = peer_of(transport)
        self._server._attach(self)

    def tls_failed(self, error: BaseException) -> None:
        """Let the server know that there will be no connection."""
        super().tls_failed(error)
        self._underlying = None
        self._server._detach(self)

    def _made(self, transport: asyncio.Transport) -> None:
        """Wait for the request."""
        super()._made(transport)
        self._log(logging.INFO, "New connection accepted")
        if self._server_options.socket_options:
            self._set_socket_options(transport)
        self._server._attach(self)

    def _set_socket_options(self, transport: asyncio.BaseTransport) -> None:
        """Set on an accepted unix socket what a TCP socket inherits from the listening one."""
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family == getattr(socket, "AF_UNIX", None):
            try:
                set_socket_options(sock, self._server_options.socket_options)
            except OSError as error:
                self._log(logging.ERROR, "%s", error)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """Let the server know."""
        try:
            WSProtocol.connection_lost(self, exc)  # super() takes memory
        finally:
            self._server._detach(self)

    def disconnect(self, graceful: bool) -> None:
        """End the connection; in the TLS handshake there is nothing that could be said."""
        super().disconnect(graceful and self.transport is not None)

    def close_gracefully(self, code: int, reason: Union[str, bytes, None]) -> None:
        """Begin the closing handshake; drop a connection that has not upgraded."""
        if self._is_open:
            assert self.transport is not None
            self.transport.send_close(code, reason)
        elif not self._is_shutting:
            self.disconnect(False)

    def _await_handshake(self) -> None:
        self._server._await_request(self)

    def _handshake_timed_out(self) -> None:
        if self._is_shutting:
            return  # answered, and refused: that has an end of its own
        self._log(logging.INFO, "websocket handshake timeout")
        self._abort()

    def _head_failed(self, status: int, text: str, head: bytes) -> None:
        """Answer what is no HTTP; called by the reader."""
        self._refuse(WSRequestRefused(status, text), False)

    def _head_received(
        self, method: bytes, target: bytes, version: bytes, fields: _core.RequestFields, head: bytes
    ) -> None:
        """Ask the listener factory and answer the request; called by the reader."""
        if self._is_shutting:
            return
        transport = self.transport
        assert transport is not None
        assert self._underlying is not None
        request = transport._request = WSUpgradeRequest(method, target, version)
        request._first = head
        is_head = method == b"HEAD"
        try:
            check_request(method, version, fields)
            if not target.startswith(b"/"):
                resolve_target(request)
            wants_upgrade = is_upgrade(version, fields)
            offered, extensions = self._admit(fields) if wants_upgrade else ([], [])
            answer = self._ask(request)
            response, listener = self._make_response(answer)
            if method == b"OPTIONS":
                response, listener = options_response(response), None
            # None: a 101 of ours, with nothing in it to be considered, merged or checked.
            theirs = None if answer is not None and answer is listener else response
            if theirs is not None and theirs.status != HTTPStatus.SWITCHING_PROTOCOLS:
                if theirs.status >= 400:
                    # Queries may hold secrets.
                    path = request.path.partition(b"?")[0].decode("latin-1")
                    self._log(logging.INFO, "request refused: %d for %r", theirs.status, path)
                self._answer(response, response._to_bytes({"Connection": "close"}, not is_head))
                return
            key = check_upgrade(method, version, wants_upgrade, fields)
            assert listener is not None
            agreed = {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Accept": accept_for(key),
            }
            ours = self._server_options.subprotocols
            subprotocol = choose_subprotocol(request, offered, theirs, ours)
            if subprotocol is not None:
                agreed["Sec-WebSocket-Protocol"] = subprotocol
            deflate = None
            compressed = choose_extensions(extensions, theirs, self._options.deflate)
            if compressed is not None:
                agreed[EXTENSIONS], terms = compressed
                deflate = terms.make()
            data = switching_bytes(agreed) if theirs is None else theirs._to_bytes(agreed, True)
        except WSRequestRefused as refusal:
            self._refuse(refusal, is_head)
            return
        except EXITS:
            raise
        except BaseException as error:
            # What went wrong is for the log, not for the peer.
            self._log(logging.ERROR, "Exception while a request was answered", exc_info=error)
            self._refuse(WSRequestRefused(500, ""), is_head)
            return
        self._underlying.write(data)
        transport._subprotocol = subprotocol
        self._server._upgraded(self)
        extended = theirs is not None and uses_extension(theirs)
        self._open(listener, response, extended, deflate)

    def _admit(self, fields: _core.RequestFields) -> tuple[list[str], list[Extension]]:
        """Refuse an upgrade that needs no factory for it; return what else the client offers.

        The factory may do what only a peer from an allowed origin may ask for, or what costs more
        than a server has left that is full.
        """
        check_origin(fields, self._server_options.origins)
        offered = offered_subprotocols(fields), offered_extensions(fields)
        if not self._server._take_in():
            raise WSRequestRefused(503, "too many connections")
        return offered

    def _ask(
        self, request: WSUpgradeRequest
    ) -> Union[WSListener, WSUpgradeResponseWithListener, None]:
        """Ask the listener factory; "*" is no place of its, but the server itself."""
        if request.path == b"*":
            return WSUpgradeResponseWithListener(WSUpgradeResponse(HTTPStatus.NO_CONTENT), None)
        return self._server_options.factory(request)

    def _make_response(
        self, answer: WSServerAnswer
    ) -> tuple[WSUpgradeResponse, Optional[WSListener]]:
        if answer is None:
            not_found = WSUpgradeResponse.create_error_response(404, b"404 Not Found")
            return not_found, None
        if isinstance(answer, WSListener):
            check_bound(answer)
            return WSUpgradeResponse.create_101_response(), answer
        if isinstance(answer, WSUpgradeResponseWithListener):
            listener = answer.listener
            if listener is not None and not isinstance(listener, WSListener):
                raise TypeError(f"{type(listener).__name__} is not a WSListener")
            if listener is not None:
                check_bound(listener)
            return answer.response, listener
        raise wrong_answer(answer, "a WSListener, WSUpgradeResponseWithListener or None")

    def _refuse(self, refusal: WSRequestRefused, is_head: bool) -> None:
        body = str(refusal).encode() or None
        response = WSUpgradeResponse.create_error_response(refusal.status, body)
        self._log(logging.INFO, "request refused: %d %s", refusal.status, refusal)
        extra = {"Connection": "close", **refusal.extra}
        self._answer(response, response._to_bytes(extra, not is_head))

    def _answer(self, response: WSUpgradeResponse, data: bytes) -> None:
        """Send an HTTP answer that is no upgrade, and close."""
        assert self.transport is not None
        assert self._underlying is not None
        self.transport._response = response
        self._underlying.write(data)
        self._shut()


async def ws_create_server(
    ws_listener_factory: WSServerListenerFactory,
    host: HostsLike = None,
    port: Optional[int] = None,
    *,
    sock: Optional[socket.socket] = None,
    family: int = socket.AF_UNSPEC,
    flags: int = socket.AI_PASSIVE,
    reuse_address: Optional[bool] = None,
    reuse_port: Optional[bool] = None,
    keep_alive: Optional[bool] = None,
    ssl: Optional[ssl_module.SSLContext] = None,
    ssl_handshake_timeout: Optional[float] = None,
    ssl_shutdown_timeout: Optional[float] = None,
    backlog: int = 100,
    start_serving: bool = True,
    disconnect_on_exception: bool = True,
    websocket_handshake_timeout: Optional[float] = DEFAULT_HANDSHAKE_TIMEOUT,
    close_timeout: Optional[float] = DEFAULT_CLOSE_TIMEOUT,
    logger_name: WSLoggerLike = None,
    enable_auto_ping: bool = False,
    auto_ping_idle_timeout: float = DEFAULT_SERVER_PING_TIMEOUT,
    auto_ping_reply_timeout: float = DEFAULT_SERVER_PING_TIMEOUT,
    auto_ping_strategy: int = WSAutoPingStrategy.PING_WHEN_IDLE,
    enable_auto_pong: bool = True,
    max_frame_size: int = DEFAULT_MAX_FRAME_SIZE,
    assemble_messages: bool = False,
    max_message_size: int = DEFAULT_MAX_MESSAGE_SIZE,
    compression: Union[bool, PermessageDeflate] = False,
    coalesce_writes: bool = True,
    busy_poll: float = 0.0,
    read_buffer_init_size: int = DEFAULT_BUFFER_SIZE,
    max_write_buffer_size: Optional[int] = None,
    on_write_overflow: str = "disconnect",
    origins: Optional[Sequence[WSOrigin]] = None,
    subprotocols: Union[Sequence[str], WSSubprotocolChooser, None] = None,
    max_connections: Optional[int] = None,
    max_pending_connections: Optional[int] = DEFAULT_MAX_PENDING,
    socket_options: WSSocketOptions = (),
    transport: str = "auto",
    use_aiofastnet: Optional[bool] = None,
) -> WSServer:
    """Listen for connections (RFC 6455, 4.2) and return a server like asyncio.Server.

    :param ws_listener_factory: called as ``f(request)``, or as ``f()`` where it takes no argument
        (a listener's class), for each well-formed request, upgrade or not. It returns a WSListener
        (the connection is accepted), a WSUpgradeResponseWithListener (the response is yours: 101
        with your headers, or any other status), or None (404). What it raises is logged, and the
        peer gets a bare 500.
    :param host: the address, or several, to listen on; None for all.
    :param port: the port; 0 or None for any free one.
    :param sock: a bound socket to listen on, instead of host and port; the server closes it.
    :param family: of the addresses of ``host``: ``socket.AF_INET`` or ``socket.AF_INET6``.
    :param flags: for ``getaddrinfo()``.
    :param reuse_address: SO_REUSEADDR; None for True on POSIX.
    :param reuse_port: SO_REUSEPORT.
    :param keep_alive: SO_KEEPALIVE on the connections.
    :param ssl: a context for wss.
    :param ssl_handshake_timeout: seconds for the TLS handshake; None for 60. (With
        ``transport="loop"`` uvloop takes 60 in any case on unix sockets.)
    :param ssl_shutdown_timeout: seconds for the end of TLS, None for 30 (with
        ``transport="loop"`` from CPython 3.11 on); ``close_timeout`` bounds it in any case.
    :param backlog: connections that may wait to be accepted.
    :param start_serving: whether connections are accepted at once; else by
        ``server.start_serving()``.
    :param disconnect_on_exception: whether an exception of ``on_ws_frame`` ends the connection.
    :param websocket_handshake_timeout: seconds that a peer has to send its request; None for no
        limit.
    :param close_timeout: seconds that the peer has to answer our CLOSE, and that
        ``disconnect()`` has to send what waits; None for no limit.
    :param logger_name: None for the logger ``picows_c.server``, a str for ``picows_c.<str>``, or
        a Logger or LoggerAdapter.
    :param enable_auto_ping: ping the peer, and abort the connection (CLOSE 1001) when it shows no
        sign of life.
    :param auto_ping_idle_timeout: seconds without input before a ping; or, with PING_PERIODICALLY,
        between pings.
    :param auto_ping_reply_timeout: seconds that the peer has to send anything after a ping; at most
        the idle timeout.
    :param auto_ping_strategy: WSAutoPingStrategy.
    :param enable_auto_pong: answer PINGs in C and do not deliver them.
    :param max_frame_size: bytes of payload that a data frame may have; more is answered with
        CLOSE 1009.
    :param assemble_messages: deliver whole messages, TEXT (its UTF-8 checked: CLOSE 1007) or
        BINARY, instead of their frames (RFC 6455, 5.4).
    :param max_message_size: bytes that such a message may have, inflated; more is answered with
        CLOSE 1009.
    :param compression: agree to permessage-deflate (RFC 7692) where a client offers it: True, or a
        PermessageDeflate that says how. Needs assemble_messages. Where a response of the factory
        has a Sec-WebSocket-Extensions, nothing is negotiated beside it.
    :param coalesce_writes: let what the callbacks of one read send on their connection leave
        together, behind the last of them: one call to the system instead of one a message. False
        where an answer must not wait for the callbacks of the messages behind it.
    :param busy_poll: seconds, 0 to 1, for which the poller goes on asking for input after some
        came, instead of letting the thread sleep: the next message is seen sooner, and a core is
        busy meanwhile. Timers, tasks and other connections have their turn as ever. It gains only
        where a second core is free. 0.0 for not at all; where the loop's own transports carry the
        bytes it changes nothing.
    :param read_buffer_init_size: bytes of an ordinary read block, 256 to 65,664.
    :param max_write_buffer_size: bytes that may wait to be written to a peer that reads too slowly;
        None for no limit.
    :param on_write_overflow: what becomes of a message beyond that: ``"disconnect"`` aborts the
        connection, ``"drop"`` drops whole messages and counts them in ``transport.stats``.
    :param origins: the values of ``Origin`` that may upgrade (RFC 6455, 10.2): a str, without
        regard to case; a compiled pattern, which has to match all of it; None for requests without
        the header, as programs send them. Any other origin gets a 403 before the factory is called.
        None instead of a sequence allows all.
    :param subprotocols: what this side speaks, in its order of preference (RFC 6455, 4.2.2); the
        first one that the client offers is agreed on, see ``transport.subprotocol``. Or a callable
        ``f(request, offered)`` that returns one of ``offered``, or None; it is called after the
        factory, where the client offers any. A response of the factory that names a subprotocol
        has the last word. Without a common one the connection goes on without one.
    :param max_connections: open connections from which on upgrades get a 503, without the factory
        being called; other requests are answered as ever. None for no limit.
    :param max_pending_connections: connections that have not upgraded yet, from which on the oldest
        of them is dropped for each new one. With ``transport="loop"`` one whose TLS handshake is
        not done is not seen, and does not count. None for no limit.
    :param socket_options: ``(level, option, value)`` as for ``socket.setsockopt()``, set before
        bind (with ``sock``: before listen). The connections inherit what the system lets them
        inherit, on Linux nearly all. TCP_NODELAY is on in any case.
    :param transport: the way of the bytes: ``"auto"`` for our poller where there is one, ``"loop"``
        for the event loop's own transports.
    :param use_aiofastnet: None or False for ours (or the loop's, see above), True for aiofastnet's
        transports (the extra ``picows_c[aiofastnet]``).
    :raises ImportError: ``use_aiofastnet=True`` without aiofastnet.
    :raises OSError: the address cannot be listened on; a socket option cannot be set.
    :raises TypeError: an argument of the wrong type, an unknown keyword.
    :raises ValueError: an argument out of its range, arguments that contradict each other.
    """
    given = dict(locals())  # first of all: what the caller gave, by name
    check_port("port", port)
    names = ("host", "port", "sock", "family", "flags", "reuse_address", "reuse_port", "keep_alive")
    address = {name: given.pop(name) for name in names}
    bind = functools.partial(bind_sockets, asyncio.get_running_loop(), **address)
    return await _serve(bind, **given)


async def ws_create_unix_server(
    ws_listener_factory: WSServerListenerFactory,
    path: Optional[PathLike] = None,
    *,
    sock: Optional[socket.socket] = None,
    mode: Optional[int] = None,
    cleanup_socket: bool = True,
    ssl: Optional[ssl_module.SSLContext] = None,
    ssl_handshake_timeout: Optional[float] = None,
    ssl_shutdown_timeout: Optional[float] = None,
    backlog: int = 100,
    start_serving: bool = True,
    disconnect_on_exception: bool = True,
    websocket_handshake_timeout: Optional[float] = DEFAULT_HANDSHAKE_TIMEOUT,
    close_timeout: Optional[float] = DEFAULT_CLOSE_TIMEOUT,
    logger_name: WSLoggerLike = None,
    enable_auto_ping: bool = False,
    auto_ping_idle_timeout: float = DEFAULT_SERVER_PING_TIMEOUT,
    auto_ping_reply_timeout: float = DEFAULT_SERVER_PING_TIMEOUT,
    auto_ping_strategy: int = WSAutoPingStrategy.PING_WHEN_IDLE,
    enable_auto_pong: bool = True,
    max_frame_size: int = DEFAULT_MAX_FRAME_SIZE,
    assemble_messages: bool = False,
    max_message_size: int = DEFAULT_MAX_MESSAGE_SIZE,
    compression: Union[bool, PermessageDeflate] = False,
    coalesce_writes: bool = True,
    busy_poll: float = 0.0,
    read_buffer_init_size: int = DEFAULT_BUFFER_SIZE,
    max_write_buffer_size: Optional[int] = None,
    on_write_overflow: str = "disconnect",
    origins: Optional[Sequence[WSOrigin]] = None,
    subprotocols: Union[Sequence[str], WSSubprotocolChooser, None] = None,
    max_connections: Optional[int] = None,
    max_pending_connections: Optional[int] = DEFAULT_MAX_PENDING,
    socket_options: WSSocketOptions = (),
    transport: str = "auto",
    use_aiofastnet: Optional[bool] = None,
) -> WSServer:
    """Listen on a unix socket; everything that is not said here is as for ws_create_server().

    :param path: the socket's file, a str, bytes or path-like object; on Linux also an abstract
        name, which begins with a NUL. A socket that is there already is replaced.
    :param sock: a bound unix socket, instead of a path; the server closes it.
    :param mode: the file's permissions, as for ``os.chmod()``, set before anybody can connect; None
        for what the umask leaves.
    :param cleanup_socket: remove the file when the server is closed, unless it has been replaced.
    :param socket_options: are set on each connection, too: unix sockets inherit nothing.
    :raises NotImplementedError: there are no unix sockets on this platform.
    :raises OSError: the path cannot be listened on; a socket option cannot be set.
    :raises TypeError: an argument of the wrong type, an unknown keyword.
    :raises ValueError: an argument out of its range, arguments that contradict each other.
    """
    given = dict(locals())  # first of all: what the caller gave, by name
    names = ("path", "sock", "mode", "cleanup_socket")
    address = {name: given.pop(name) for name in names}

    async def bind(*, socket_options: WSSocketOptions) -> BoundSockets:
        return bind_unix_socket(**address, socket_options=socket_options)

    return await _serve(bind, **given)


async def _serve(
    bind: Callable[..., Awaitable[BoundSockets]],
    ws_listener_factory: WSServerListenerFactory,
    *,
    ssl: Optional[ssl_module.SSLContext],
    ssl_handshake_timeout: Optional[float],
    ssl_shutdown_timeout: Optional[float],
    backlog: int,
    start_serving: bool,
    origins: Optional[Sequence[WSOrigin]],
    subprotocols: Union[Sequence[str], WSSubprotocolChooser, None],
    max_connections: Optional[int],
    max_pending_connections: Optional[int],
    socket_options: WSSocketOptions,
    transport: str,
    use_aiofastnet: Optional[bool],
    **connection: Any,
) -> WSServer:
    """Check the arguments, bind the sockets and serve; ``connection`` is for ConnectionOptions."""
    _check_tls(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
    if not isinstance(backlog, int):
        raise TypeError(f"backlog must be int, not {type(backlog).__name__}")
    check_count("max_connections", max_connections)
    check_count("max_pending_connections", max_pending_connections)
    options = ServerOptions(
        ConnectionOptions.make("server", **connection),
        _checked_factory(ws_listener_factory),
        make_origins(origins),
        make_chooser(subprotocols),
        check_socket_options(socket_options),
    )
    loop = asyncio.get_running_loop()
    poller = choose_way(transport, loop)
    create_server: Callable[..., Any] = loop.create_server
    aiofastnet = import_aiofastnet(use_aiofastnet)
    if aiofastnet is not None:
        create_server = functools.partial(aiofastnet.create_server, loop)

    server = WSServer(
        loop,
        functools.partial(ServerProtocol, loop, options),
        options.connection.logger,
        max_connections,
        max_pending_connections,
        options.connection.handshake_timeout,
    )
    bound = await bind(socket_options=options.socket_options)
    try:
        if poller is not None and aiofastnet is None:
            server._listening = Listening(
                server,
                bound,
                poller,
                backlog,
                ssl,
                ssl_handshake_timeout,
                ssl_shutdown_timeout,
            )
        else:
            server._listening = LoopListening(server, bound)
            loops: dict[str, Any] = {"ssl": ssl, "ssl_handshake_timeout": ssl_handshake_timeout}
            # asyncio knows it since CPython 3.11.
            if ssl_shutdown_timeout is not None and sys.version_info >= (3, 11):
                loops["ssl_shutdown_timeout"] = ssl_shutdown_timeout
            await server._listening.create(create_server, backlog=backlog, **loops)
        if start_serving:
            await server.start_serving()
    except BaseException:
        server.close()
        raise
    return server


def _checked_factory(factory: Any) -> Callable[[WSUpgradeRequest], WSServerAnswer]:
    """Return a factory that takes the request, whether this one does or not."""
    check_factory(factory)
    if takes(factory, 1):
        return cast("Callable[[WSUpgradeRequest], WSServerAnswer]", factory)
    if takes(factory, 0):
        return lambda request: cast("WSServerAnswer", factory())
    raise TypeError("ws_listener_factory must take the request, or no argument")


def _check_tls(
    context: Optional[ssl_module.SSLContext],
    handshake_timeout: Optional[float],
    shutdown_timeout: Optional[float],
) -> None:
    check_tls_context("server", "ssl", context)
    for name, seconds in (
        ("ssl_handshake_timeout", handshake_timeout),
        ("ssl_shutdown_timeout", shutdown_timeout),
    ):
        check_timeout(name, seconds)
        if seconds is not None and context is None:
            raise ValueError(f"{name} is only meaningful with ssl")
