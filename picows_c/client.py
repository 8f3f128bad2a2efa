"""ws_connect: the client's side of a connection."""

from __future__ import annotations

import asyncio
import inspect
import logging
import ssl
from http import HTTPStatus
from typing import Any, Callable, Optional, Union

from multidict import CIMultiDict

from .enums import WSAutoPingStrategy
from .errors import WSHandshakeError, WSInvalidMessageError
from .handshake import (
    WSHeadersLike,
    WSUpgradeRequest,
    WSUpgradeResponse,
    check_response,
    make_headers,
    make_request,
    uses_extension,
)
from .listener import WSListener
from .options import (
    DEFAULT_BUFFER_SIZE,
    DEFAULT_CLIENT_PING_TIMEOUT,
    DEFAULT_CLOSE_TIMEOUT,
    DEFAULT_HANDSHAKE_TIMEOUT,
    DEFAULT_MAX_FRAME_SIZE,
    ConnectionOptions,
    WSLoggerLike,
    WSSocketOptions,
)
from .poller import Poller, choose_way
from .protocol import WSProtocol
from .stream import connect_stream, open_socket
from .transport import WSTransport
from .url import WSParsedURL, parse_url

WSListenerFactory = Union[
    Callable[[], WSListener], Callable[[WSUpgradeRequest, WSUpgradeResponse], WSListener]
]

# What is handed on to loop.create_connection().
_CONNECT_OPTIONS = {
    "family",
    "flags",
    "happy_eyeballs_delay",
    "interleave",
    "local_addr",
    "proto",
    "server_hostname",
    "ssl_handshake_timeout",
    "ssl_shutdown_timeout",
}


class ClientProtocol(WSProtocol):
    """A connection that this side opens."""

    __slots__ = ("_factory", "_opened", "_request", "_response")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: ConnectionOptions,
        factory: WSListenerFactory,
        request: WSUpgradeRequest,
    ) -> None:
        super().__init__(loop, options, True)
        self._factory: Optional[WSListenerFactory] = factory
        self._request = request
        # None once it was waited for: an exception in it refers to frames that refer to us.
        self._opened: Optional[asyncio.Future[tuple[WSTransport, WSListener]]] = (
            loop.create_future()
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        super().connection_made(transport)
        assert self.transport is not None
        assert self._underlying is not None
        self.transport.request = self._request
        self._log(logging.INFO, "WS connection established")
        self._underlying.write(self._request.to_bytes())

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """Fail the handshake where it was not done."""
        super().connection_lost(exc)
        if self._is_awaited():
            error = WSHandshakeError("the peer closed the connection during the handshake")
            error.__cause__ = exc
            self._refuse(error)

    def _is_awaited(self) -> bool:
        return self._opened is not None and not self._opened.done()

    async def opened(self) -> tuple[WSTransport, WSListener]:
        """Wait for the end of the handshake; give the connection up when that fails."""
        assert self._opened is not None
        try:
            return await self._opened
        except BaseException:
            self._abort()
            raise
        finally:
            self._opened = None

    def _refuse(self, error: BaseException) -> None:
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(error)
            # Where the connection was given up before it was waited for, nobody asks.
            self._opened.exception()
        self._abort()

    def _handshake_timed_out(self) -> None:
        self._refuse(asyncio.TimeoutError("websocket handshake timeout"))

    def _head_failed(self, status: int, text: str, head: bytes) -> None:
        """Refuse what is no HTTP; called by the reader."""
        raw_header, _, raw_body = head.partition(b"\r\n\r\n")
        error = f"malformed upgrade response: {text}"
        self._refuse(WSInvalidMessageError(error, raw_header, raw_body))

    def _head_received(
        self, status: int, head: bytes, version: bytes, fields: list[tuple[str, str]]
    ) -> None:
        """Check the response and open the connection; called by the reader."""
        if not self._is_awaited():
            return  # cancelled, or timed out
        response = WSUpgradeResponse(status, CIMultiDict(fields), None, version)
        try:
            if status == HTTPStatus.SWITCHING_PROTOCOLS:
                check_response(self._request, response, head[:-4], b"")
            else:
                check_response(self._request, response, head[:-4], self._take_rest())
            listener = self._make_listener(response)
        except Exception as error:
            self._refuse(error)
            return
        self._open(listener, response, uses_extension(response))
        if self._opened is not None and not self._opened.done():
            assert self.transport is not None
            self._opened.set_result((self.transport, listener))

    def _make_listener(self, response: WSUpgradeResponse) -> WSListener:
        factory: Any = self._factory
        self._factory = None
        listener = factory(self._request, response) if _takes_two(factory) else factory()
        if not isinstance(listener, WSListener):
            raise TypeError(
                f"ws_listener_factory returned {type(listener).__name__}, not a WSListener"
            )
        return listener


def _takes_two(factory: Any) -> bool:
    """Return whether the factory can be called with the request and the response."""
    if isinstance(factory, type) and not _has_constructor(factory):
        return False  # the usual case, and much cheaper than a signature
    try:
        inspect.signature(factory).bind(None, None)
    except TypeError:
        return False
    except ValueError:
        return True  # written in C, without a signature
    return True


def _has_constructor(kind: type) -> bool:
    return any("__init__" in vars(base) or "__new__" in vars(base) for base in kind.__mro__[:-1])


async def ws_connect(
    ws_listener_factory: WSListenerFactory,
    url: str,
    *,
    ssl_context: Optional[ssl.SSLContext] = None,
    disconnect_on_exception: bool = True,
    websocket_handshake_timeout: Optional[float] = DEFAULT_HANDSHAKE_TIMEOUT,
    close_timeout: Optional[float] = DEFAULT_CLOSE_TIMEOUT,
    logger_name: WSLoggerLike = None,
    enable_auto_ping: bool = False,
    auto_ping_idle_timeout: float = DEFAULT_CLIENT_PING_TIMEOUT,
    auto_ping_reply_timeout: float = DEFAULT_CLIENT_PING_TIMEOUT,
    auto_ping_strategy: int = WSAutoPingStrategy.PING_WHEN_IDLE,
    enable_auto_pong: bool = True,
    max_frame_size: int = DEFAULT_MAX_FRAME_SIZE,
    extra_headers: Optional[WSHeadersLike] = None,
    read_buffer_init_size: int = DEFAULT_BUFFER_SIZE,
    max_write_buffer_size: Optional[int] = None,
    on_write_overflow: str = "disconnect",
    socket_options: WSSocketOptions = (),
    transport: str = "auto",
    use_aiofastnet: Optional[bool] = None,
    **kwargs: Any,
) -> tuple[WSTransport, WSListener]:
    """Open a connection (RFC 6455, 4.1) and return its transport and listener.

    It returns when the handshake is done and ``on_ws_connected`` has run. Cancelling it closes the
    socket.

    :param ws_listener_factory: called once as ``f(request, response)`` if it takes two arguments,
        as ``f()`` otherwise, when the server has agreed.
    :param url: ``ws://host[:port]/path?query`` or ``wss://...``
    :param ssl_context: for wss; ``ssl.create_default_context()`` by default.
    :param disconnect_on_exception: whether an exception of ``on_ws_frame`` ends the connection.
    :param websocket_handshake_timeout: seconds for the HTTP part, from the moment that the
        connection (TLS included) stands; None for no limit.
    :param close_timeout: seconds that the peer has to answer our CLOSE, that ``disconnect()`` has
        to send what waits, and that the server has to close TCP; None for no limit.
    :param logger_name: None for the logger ``picows_c.client``, a str for ``picows_c.<str>``, or
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
    :param extra_headers: more headers for the request; Host replaces ours.
    :param read_buffer_init_size: bytes of an ordinary read block, 256 to 65,536.
    :param max_write_buffer_size: bytes that may wait to be written to a peer that reads too slowly;
        None for no limit.
    :param on_write_overflow: what becomes of a message beyond that: ``"disconnect"`` aborts the
        connection, ``"drop"`` drops whole messages and counts them in ``transport.stats``.
    :param socket_options: ``(level, option, value)`` as for ``socket.setsockopt()``, set before
        connect.
    :param transport: the way of the bytes: ``"auto"`` for our poller where there is one, ``"loop"``
        for the event loop's own transports.
    :param use_aiofastnet: None or False for ours (or the loop's, see above), True for aiofastnet's
        transports (the extra ``picows_c[aiofastnet]``).
    :param kwargs: as for ``loop.create_connection()``: family, flags, proto, local_addr,
        server_hostname, happy_eyeballs_delay, interleave, ssl_handshake_timeout,
        ssl_shutdown_timeout (CPython 3.11).
    :raises WSInvalidURL: the URL is not one of WebSocket.
    :raises WSHandshakeError: the server did not agree, or closed the connection; its subclasses
        say why.
    :raises asyncio.TimeoutError: the handshake took too long.
    :raises OSError: no connection; ``ssl.SSLError`` where TLS failed.
    :raises TypeError: an argument of the wrong type, an unknown keyword.
    :raises ValueError: an argument out of its range; nothing was sent.
    """
    unknown = sorted(set(kwargs) - _CONNECT_OPTIONS)
    if unknown:
        raise TypeError(f"ws_connect() got an unexpected keyword argument {unknown[0]!r}")
    if not callable(ws_listener_factory):
        raise TypeError("ws_listener_factory must be callable")
    options = ConnectionOptions.make(
        "client",
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
    parsed = parse_url(url)
    request = make_request(parsed, make_headers(extra_headers))
    request.to_bytes()  # raises what is wrong with it before anything is opened
    context = _ssl_for(parsed, ssl_context)

    loop = asyncio.get_running_loop()
    poller = choose_way(transport, loop)

    def make_protocol() -> ClientProtocol:
        return ClientProtocol(loop, options, ws_listener_factory, request)

    protocol: Any
    if poller is None:
        _, protocol = await loop.create_connection(
            make_protocol, parsed.host, parsed.port, ssl=context, **kwargs
        )
    else:
        protocol = await _connect(poller, loop, make_protocol, parsed, context, **kwargs)
    opened: tuple[WSTransport, WSListener] = await protocol.opened()
    return opened


async def _connect(
    poller: Poller,
    loop: asyncio.AbstractEventLoop,
    make_protocol: Callable[[], ClientProtocol],
    url: WSParsedURL,
    context: Optional[ssl.SSLContext],
    *,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    local_addr: Optional[tuple[str, int]] = None,
    server_hostname: Optional[str] = None,
    happy_eyeballs_delay: Optional[float] = None,
    interleave: Optional[int] = None,
    ssl_handshake_timeout: Optional[float] = None,
    ssl_shutdown_timeout: Optional[float] = None,
) -> Any:
    """Connect on the poller; the arguments mean what they mean to loop.create_connection()."""
    for name, value in (
        ("server_hostname", server_hostname),
        ("ssl_handshake_timeout", ssl_handshake_timeout),
        ("ssl_shutdown_timeout", ssl_shutdown_timeout),
    ):
        if value is not None and context is None:
            raise ValueError(f"{name} is only meaningful with ssl")
    sock = await open_socket(
        loop,
        url.host,
        url.port,
        family=family,
        proto=proto,
        flags=flags,
        local_addr=local_addr,
        happy_eyeballs_delay=happy_eyeballs_delay,
        interleave=interleave,
    )
    try:
        _, protocol = await connect_stream(
            poller,
            loop,
            make_protocol,
            sock,
            ssl=context,
            server_hostname=url.host if server_hostname is None else server_hostname or None,
            ssl_handshake_timeout=ssl_handshake_timeout,
        )
    except BaseException:
        sock.close()
        raise
    return protocol


def _ssl_for(url: WSParsedURL, context: Optional[ssl.SSLContext]) -> Optional[ssl.SSLContext]:
    if context is not None and not isinstance(context, ssl.SSLContext):
        raise TypeError(f"ssl_context must be an SSLContext, not {type(context).__name__}")
    if not url.is_secure:
        return None
    if context is not None and context.protocol == ssl.PROTOCOL_TLS_SERVER:
        raise TypeError("ssl_context is a server's context (PROTOCOL_TLS_SERVER)")
    return context if context is not None else ssl.create_default_context()
