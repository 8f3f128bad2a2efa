"""ws_create_server: the server's side of a connection."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl as ssl_module
from http import HTTPStatus
from typing import Any, Callable, Optional, Union

from multidict import CIMultiDict

from .enums import WSAutoPingStrategy
from .handshake import (
    WSRequestRefused,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    accept_for,
    check_request,
    check_upgrade,
    uses_extension,
)
from .listener import WSListener
from .listening import Listening, WSServer, bind_sockets
from .options import (
    DEFAULT_BUFFER_SIZE,
    DEFAULT_CLOSE_TIMEOUT,
    DEFAULT_HANDSHAKE_TIMEOUT,
    DEFAULT_MAX_FRAME_SIZE,
    DEFAULT_SERVER_PING_TIMEOUT,
    ConnectionOptions,
    WSLoggerLike,
    WSSocketOptions,
)
from .poller import Poller, choose_way
from .protocol import WSProtocol

WSServerListenerFactory = Callable[
    [WSUpgradeRequest], Union[WSListener, WSUpgradeResponseWithListener, None]
]

# What is handed on to loop.create_server().
_SERVER_OPTIONS = {
    "backlog",
    "family",
    "flags",
    "keep_alive",
    "reuse_address",
    "reuse_port",
    "sock",
    "ssl",
    "ssl_handshake_timeout",
    "ssl_shutdown_timeout",
    "start_serving",
}


class ServerProtocol(WSProtocol):
    """A connection that the peer opened."""

    __slots__ = ("_factory", "_server")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: ConnectionOptions,
        factory: WSServerListenerFactory,
        server: WSServer,
    ) -> None:
        super().__init__(loop, options, False)
        self._server = server
        self._factory: Optional[WSServerListenerFactory] = factory

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the request."""
        super().connection_made(transport)
        self._server._attach(self)
        self._log(logging.INFO, "New connection accepted")

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """Let the server know."""
        super().connection_lost(exc)
        self._server._detach(self)

    def _handshake_timed_out(self) -> None:
        self._log(logging.INFO, "websocket handshake timeout")
        self._abort()

    def _head_failed(self, status: int, text: str, head: bytes) -> None:
        """Answer what is no HTTP; called by the reader."""
        self._refuse(WSRequestRefused(status, text), False)

    def _head_received(
        self, method: bytes, target: bytes, version: bytes, fields: list[tuple[str, str]]
    ) -> None:
        """Ask the listener factory and answer the request; called by the reader."""
        if self._is_shutting:
            return
        transport = self.transport
        assert transport is not None
        assert self._underlying is not None
        request = WSUpgradeRequest(method, target, version, CIMultiDict(fields))
        transport.request = request
        is_head = method == b"HEAD"
        try:
            check_request(request)
            response, listener = self._ask_factory(request)
            if response.status != HTTPStatus.SWITCHING_PROTOCOLS:
                self._answer(response, response._to_bytes({"Connection": "close"}, not is_head))
                return
            key = check_upgrade(request)
            assert listener is not None
            agreed = {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Accept": accept_for(key),
            }
            data = response._to_bytes(agreed, True)
        except WSRequestRefused as refusal:
            self._refuse(refusal, is_head)
            return
        except Exception as error:
            # What went wrong is for the log, not for the peer.
            self._log(logging.ERROR, "Exception in the listener factory", exc_info=error)
            self._refuse(WSRequestRefused(500, ""), is_head)
            return
        self._underlying.write(data)
        self._open(listener, response, uses_extension(response))

    def _ask_factory(
        self, request: WSUpgradeRequest
    ) -> tuple[WSUpgradeResponse, Optional[WSListener]]:
        factory = self._factory
        self._factory = None
        assert factory is not None
        answer = factory(request)
        if answer is None:
            not_found = WSUpgradeResponse.create_error_response(404, b"404 Not Found")
            return not_found, None
        if isinstance(answer, WSListener):
            return WSUpgradeResponse.create_101_response(), answer
        if isinstance(answer, WSUpgradeResponseWithListener):
            listener = answer.listener
            if listener is not None and not isinstance(listener, WSListener):
                raise TypeError(f"{type(listener).__name__} is not a WSListener")
            return answer.response, listener
        raise TypeError(
            "the listener factory returned "
            f"{type(answer).__name__}, not WSListener, WSUpgradeResponseWithListener or None"
        )

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
        self.transport.response = response
        self._underlying.write(data)
        self._shut()


async def ws_create_server(
    ws_listener_factory: WSServerListenerFactory,
    host: Union[str, list[str], None] = None,
    port: Optional[int] = None,
    *,
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
    read_buffer_init_size: int = DEFAULT_BUFFER_SIZE,
    max_write_buffer_size: Optional[int] = None,
    on_write_overflow: str = "disconnect",
    socket_options: WSSocketOptions = (),
    transport: str = "auto",
    use_aiofastnet: Optional[bool] = None,
    **kwargs: Any,
) -> WSServer:
    """Listen for connections (RFC 6455, 4.2) and return a server like asyncio.Server.

    :param ws_listener_factory: called as ``f(request)`` for each well-formed request, upgrade or
        not. It returns a WSListener (the connection is accepted), a WSUpgradeResponseWithListener
        (the response is yours: 101 with your headers, or any other status), or None (404). What it
        raises is logged, and the peer gets a bare 500.
    :param host: the address, or several, to listen on; None for all.
    :param port: the port; 0 or None for any free one.
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
    :param read_buffer_init_size: bytes of an ordinary read block, 256 to 65,536.
    :param max_write_buffer_size: bytes that may wait to be written to a peer that reads too slowly;
        None for no limit.
    :param on_write_overflow: what becomes of a message beyond that: ``"disconnect"`` aborts the
        connection, ``"drop"`` drops whole messages and counts them in ``transport.stats``.
    :param socket_options: ``(level, option, value)`` as for ``socket.setsockopt()``, set before
        listen.
    :param transport: the way of the bytes: ``"auto"`` for our poller where there is one, ``"loop"``
        for the event loop's own transports.
    :param use_aiofastnet: None or False for ours (or the loop's, see above), True for aiofastnet's
        transports (the extra ``picows_c[aiofastnet]``).
    :param kwargs: as for ``loop.create_server()``: ssl, sock, family, flags, backlog,
        reuse_address, reuse_port, keep_alive, start_serving, ssl_handshake_timeout,
        ssl_shutdown_timeout.
    :raises OSError: the address cannot be listened on.
    :raises TypeError: an argument of the wrong type, an unknown keyword.
    :raises ValueError: an argument out of its range.
    """
    unknown = sorted(set(kwargs) - _SERVER_OPTIONS)
    if unknown:
        raise TypeError(f"ws_create_server() got an unexpected keyword argument {unknown[0]!r}")
    if not callable(ws_listener_factory):
        raise TypeError("ws_listener_factory must be callable")
    context = kwargs.get("ssl")
    if context is not None and not isinstance(context, ssl_module.SSLContext):
        raise TypeError(f"ssl must be an SSLContext, not {type(context).__name__}")
    if context is not None and context.protocol == ssl_module.PROTOCOL_TLS_CLIENT:
        raise TypeError("ssl is a client's context (PROTOCOL_TLS_CLIENT)")
    options = ConnectionOptions.make(
        "server",
        logger_name=logger_name,
        disconnect_on_exception=disconnect_on_exception,
        websocket_handshake_timeout=websocket_handshake_timeout,
        close_timeout=close_timeout,
        enable_auto_ping=enable_auto_ping,
        auto_ping_idle_timeout=auto_ping_idle_timeout,
        auto_ping_reply_timeout=auto_ping_reply_timeout,
        auto_ping_strategy=auto_ping_strategy,
        enable_auto_pong=enable_auto_pong,
        max_frame_size=max_frame_size,
        read_buffer_init_size=read_buffer_init_size,
        max_write_buffer_size=max_write_buffer_size,
        on_write_overflow=on_write_overflow,
    )
    loop = asyncio.get_running_loop()
    server = WSServer(loop, lambda s: ServerProtocol(loop, options, ws_listener_factory, s))
    poller = choose_way(transport, loop)
    if poller is None:
        server._loops_server = await loop.create_server(
            lambda: server._make_protocol(server), host, port, **kwargs
        )
        return server
    await _listen(server, poller, host, port, **kwargs)
    return server


async def _listen(
    server: WSServer,
    poller: Poller,
    host: Union[str, list[str], None],
    port: Optional[int],
    *,
    sock: Optional[socket.socket] = None,
    ssl: Optional[ssl_module.SSLContext] = None,
    backlog: int = 100,
    start_serving: bool = True,
    ssl_handshake_timeout: Optional[float] = None,
    ssl_shutdown_timeout: Optional[float] = None,
    **options: Any,
) -> None:
    """Listen on the poller; the arguments mean what they mean to loop.create_server()."""
    for name, seconds in (
        ("ssl_handshake_timeout", ssl_handshake_timeout),
        ("ssl_shutdown_timeout", ssl_shutdown_timeout),
    ):
        if seconds is not None and ssl is None:
            raise ValueError(f"{name} is only meaningful with ssl")
        if seconds is not None and not seconds > 0:
            raise ValueError(f"{name} should be a positive number, got {seconds}")
    if sock is not None:
        if host is not None or port is not None:
            raise ValueError("host/port and sock can not be specified at the same time")
        if sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A Stream Socket was expected, got {sock!r}")
        sock.setblocking(False)
        sockets = [sock]
    elif host is None and port is None:
        raise ValueError("Neither host/port nor sock were specified")
    else:
        sockets = await bind_sockets(server.get_loop(), host, port, **options)
    server._listening = Listening(
        server, poller, sockets, backlog, ssl, ssl_handshake_timeout, ssl_shutdown_timeout
    )
    if start_serving:
        try:
            server._listening.start()
        except BaseException:
            server.close()
            raise
