"""ws_connect: the client's side of a connection."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import socket
import ssl
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Callable, Optional, Union

from multidict import CIMultiDict

from . import _core
from .body import Body
from .connecting import (
    Connector,
    LoopWay,
    OpenTimeout,
    PollerWay,
    WSSocketFactory,
    check_unix_path,
)
from .deflate import PermessageDeflate, make_offer
from .enums import WSAutoPingStrategy
from .errors import WSHandshakeError, WSInvalidMessageError, WSInvalidStatusError
from .extras import import_aiofastnet
from .handshake import (
    WSHeadersLike,
    WSUpgradeRequest,
    WSUpgradeResponse,
    check_response,
    chosen_subprotocol,
    make_client_headers,
    make_request,
    uses_extension,
)
from .listener import EXITS, WSListener, check_bound, check_factory, takes, wrong_answer
from .options import (
    DEFAULT_BUFFER_SIZE,
    DEFAULT_CLIENT_PING_TIMEOUT,
    DEFAULT_CLOSE_TIMEOUT,
    DEFAULT_HANDSHAKE_TIMEOUT,
    DEFAULT_MAX_FRAME_SIZE,
    DEFAULT_MAX_MESSAGE_SIZE,
    DEFAULT_OPEN_TIMEOUT,
    ConnectionOptions,
    WSLoggerLike,
    WSSocketOptions,
    check_port,
    check_socket_options,
    check_timeout,
    check_tls_context,
)
from .poller import choose_way
from .protocol import WSProtocol
from .proxy import check_proxy, import_socks
from .redirects import headers_for, is_redirect, redirect_of
from .transport import WSTransport
from .url import WSParsedURL, ascii_name, parse_url, shown_url

WSListenerFactory = Union[
    Callable[[], WSListener], Callable[[WSUpgradeRequest, WSUpgradeResponse], WSListener]
]

DEFAULT_MAX_REDIRECTS = 5

# So many seconds after its last byte a refusal's content is taken for complete.
_BODY_TIMEOUT = 1.0

# loop.create_connection()'s keywords that stay: for finding the host, and for TLS.
_DELAY = "happy_eyeballs_delay"
_RESOLVING = ("family", "proto", "flags", "local_addr", _DELAY, "interleave")
_TLS_TIMES = ("ssl_handshake_timeout", "ssl_shutdown_timeout")
_TLS = ("server_hostname", *_TLS_TIMES)
_INSTEAD = {"ssl": "ssl_context", "sock": "socket_factory"}


class ClientProtocol(WSProtocol):
    """A connection that this side opens."""

    __slots__ = (
        "_body",
        "_body_timer",
        "_data",
        "_factory",
        "_follows",
        "_is_secure",
        "_opened",
        "_refusal",
        "_request",
        "given_socket",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: ConnectionOptions,
        factory: WSListenerFactory,
        request: WSUpgradeRequest,
        is_secure: bool,
        follows: bool,
    ) -> None:
        super().__init__(loop, options, True)
        # Whether a redirect is followed: nobody reads what comes with it.
        self._follows = follows
        # A response that is no upgrade and its head, and the content that is waited for.
        self._refusal: Optional[tuple[WSUpgradeResponse, bytes]] = None
        self._body: Optional[Body] = None
        self._body_timer: Optional[asyncio.TimerHandle] = None
        self._is_secure = is_secure
        self._factory: Optional[WSListenerFactory] = factory
        self._request = request
        # What socket_factory returned: another descriptor of the connection.
        self.given_socket: Optional[socket.socket] = None
        # What is sent first; ValueError where the request would break.
        self._data = request.to_bytes()
        # None once it was waited for: an exception in it refers to frames that refer to us.
        self._opened: Optional[asyncio.Future[tuple[WSTransport, WSListener]]] = (
            loop.create_future()
        )

    def _made(self, transport: asyncio.Transport) -> None:
        """Send the request."""
        super()._made(transport)
        assert self.transport is not None
        assert self._underlying is not None
        self.transport._request = self._request
        # TLS to a proxy is not TLS to the server.
        self.transport._is_secure = self._is_secure
        self._underlying.write(self._data)
        self._data = b""

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """Fail the handshake where it was not done."""
        try:
            if self.given_socket is not None:
                self._close_given_socket()
        finally:
            WSProtocol.connection_lost(self, exc)  # super() takes memory
        self._stop_body_timer()
        if self._body is not None:
            self._refuse_response()
        elif self._is_awaited():
            error = WSHandshakeError("the peer closed the connection during the handshake")
            # Not all that aiofastnet 1.2 tells is an exception.
            error.__cause__ = exc if isinstance(exc, BaseException) else None
            self._refuse(error)

    def _close_given_socket(self) -> None:
        sock, self.given_socket = self.given_socket, None
        if sock is not None:
            # The end has to reach the peer although somebody may hold yet another descriptor.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

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

    def abort(self) -> None:
        """Give the connection up, as far as there is one."""
        self._abort()

    def _refuse(self, error: BaseException) -> None:
        self._stop_body_timer()
        if isinstance(error, StopIteration):
            # No future takes it, and no coroutine can raise it (PEP 479).
            stopped, error = error, RuntimeError("the listener factory raised StopIteration")
            error.__cause__ = stopped
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(error)
            # Where the connection was given up before it was waited for, nobody asks.
            self._opened.exception()
        self._abort()

    def _handshake_timed_out(self) -> None:
        if self._body is not None:
            self._refuse_response()
            return
        self._refuse(asyncio.TimeoutError("websocket handshake timeout"))

    def _head_failed(self, status: int, text: str, head: bytes) -> None:
        """Refuse what is no HTTP; called by the reader."""
        raw_header, _, raw_body = head.partition(b"\r\n\r\n")
        error = f"malformed upgrade response: {text}"
        self._refuse(WSInvalidMessageError(error, raw_header, raw_body))

    def _head_received(
        self, status: int, version: bytes, fields: list[tuple[str, str]], head: bytes
    ) -> None:
        """Check the response and open the connection; called by the reader."""
        if not self._is_awaited():
            return  # cancelled, or timed out
        response = WSUpgradeResponse(status, CIMultiDict(fields), None, version)
        head = head[:-4]
        if status != HTTPStatus.SWITCHING_PROTOCOLS:
            self._refusal = response, head
            self._body = Body(status, version, response.headers)
            self._read_body()
            self._body_received(self._take_rest())
            return
        try:
            deflate = self._check(response, head, b"")
            listener = self._make_listener(response)
        except EXITS:
            raise
        except BaseException as error:
            self._refuse(error)
            return
        assert self.transport is not None
        self.transport._subprotocol = chosen_subprotocol(response)
        self._log(logging.INFO, "WS connection established")
        self._open(listener, response, deflate is None and uses_extension(response), deflate)
        if self._opened is not None and not self._opened.done():
            assert self.transport is not None
            self._opened.set_result((self.transport, listener))

    def _check(
        self, response: WSUpgradeResponse, head: bytes, body: bytes
    ) -> Optional[_core.Deflate]:
        agreed = check_response(self._request, response, head, body, self._options.deflate)
        return None if agreed is None else agreed.make()

    # ---- the content of a refusal ----

    def _body_received(self, data: bytes) -> None:
        """Take what came of a refusal's content; called by the reader."""
        body, refusal = self._body, self._refusal
        if body is None or refusal is None:
            return
        body.feed(data)
        self._stop_body_timer()
        if body.is_complete or (self._follows and is_redirect(refusal[0])):
            self._refuse_response()
        else:
            self._body_timer = self._loop.call_later(_BODY_TIMEOUT, self._refuse_response)

    def _stop_body_timer(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    def _refuse_response(self) -> None:
        """Say what the server answered instead of a 101, with what came of the content."""
        body, refusal = self._body, self._refusal
        self._body = self._refusal = None
        if body is None or refusal is None:
            return
        try:
            self._check(*refusal, bytes(body.content))
        except WSHandshakeError as error:
            self._refuse(error)

    def _make_listener(self, response: WSUpgradeResponse) -> WSListener:
        factory: Any = self._factory
        self._factory = None
        listener = factory(self._request, response) if takes(factory, 2) else factory()
        if not isinstance(listener, WSListener):
            raise wrong_answer(listener, "a WSListener")
        check_bound(listener)
        return listener


async def ws_connect(
    ws_listener_factory: WSListenerFactory,
    url: str,
    *,
    ssl_context: Optional[ssl.SSLContext] = None,
    disconnect_on_exception: bool = True,
    open_timeout: Optional[float] = DEFAULT_OPEN_TIMEOUT,
    websocket_handshake_timeout: Optional[float] = DEFAULT_HANDSHAKE_TIMEOUT,
    close_timeout: Optional[float] = DEFAULT_CLOSE_TIMEOUT,
    logger_name: WSLoggerLike = None,
    enable_auto_ping: bool = False,
    auto_ping_idle_timeout: float = DEFAULT_CLIENT_PING_TIMEOUT,
    auto_ping_reply_timeout: float = DEFAULT_CLIENT_PING_TIMEOUT,
    auto_ping_strategy: int = WSAutoPingStrategy.PING_WHEN_IDLE,
    enable_auto_pong: bool = True,
    max_frame_size: int = DEFAULT_MAX_FRAME_SIZE,
    assemble_messages: bool = False,
    max_message_size: int = DEFAULT_MAX_MESSAGE_SIZE,
    compression: Union[bool, PermessageDeflate] = False,
    coalesce_writes: bool = False,
    busy_poll: float = 0.0,
    extra_headers: Optional[WSHeadersLike] = None,
    subprotocols: Sequence[str] = (),
    extensions: Sequence[str] = (),
    origin: Optional[str] = None,
    user_agent: Optional[str] = None,
    max_redirects: int = DEFAULT_MAX_REDIRECTS,
    proxy: Union[bool, str, None] = None,
    proxy_ssl_context: Optional[ssl.SSLContext] = None,
    socket_factory: Optional[WSSocketFactory] = None,
    unix_path: Union[str, bytes, os.PathLike[str], None] = None,
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
    socket, and nothing is called afterwards; only where ``on_ws_connected`` has run already,
    ``on_ws_disconnected`` follows.

    :param ws_listener_factory: called once as ``f(request, response)`` if it takes two arguments,
        as ``f()`` otherwise, when the server has agreed.
    :param url: ``ws://[user:password@]host[:port]/path?query`` or ``wss://...``; user name and
        password, percent-decoded, become an ``Authorization: Basic`` (RFC 7617) unless
        extra_headers has an Authorization.
    :param ssl_context: for wss, and only there; ``ssl.create_default_context()`` by default, also
        where a ws URL redirects to wss.
    :param disconnect_on_exception: whether an exception of ``on_ws_frame`` ends the connection.
    :param open_timeout: seconds for everything together: name resolution, TCP, proxy, TLS, HTTP
        and redirects; None for no limit.
    :param websocket_handshake_timeout: seconds for the HTTP part of each attempt, from the moment
        that the connection (TLS included) stands; None for no limit.
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
    :param assemble_messages: deliver whole messages, TEXT (its UTF-8 checked: CLOSE 1007) or
        BINARY, instead of their frames (RFC 6455, 5.4).
    :param max_message_size: bytes that such a message may have, inflated; more is answered with
        CLOSE 1009.
    :param compression: offer permessage-deflate (RFC 7692): True, or a PermessageDeflate that says
        how. Needs assemble_messages.
    :param coalesce_writes: let what the callbacks of one read send leave together, behind the last
        of them.
    :param busy_poll: seconds, 0 to 1, for which the poller goes on asking for input after some
        came, instead of letting the thread sleep: the next message is seen sooner, and a core is
        busy meanwhile. Timers, tasks and other connections have their turn as ever. It gains only
        where a second core is free. 0.0 for not at all; where the loop's own transports carry the
        bytes it changes nothing.
    :param extra_headers: more headers for the request. One Host replaces ours, so that an address
        can be asked for a virtual host. What is the handshake's own (Upgrade, Connection,
        Sec-WebSocket-Key, -Version, -Accept) is a ValueError; so are Sec-WebSocket-Protocol, for
        which there is subprotocols, and Sec-WebSocket-Extensions, for which there are compression
        and extensions.
    :param subprotocols: what to offer in Sec-WebSocket-Protocol (RFC 6455, 1.9), the preferred one
        first: unique tokens. The server's choice is in the response's headers.
    :param extensions: offers of extensions that you implement yourself (RFC 6455, 9.1), such as
        ``"x-own; level=1"``, the preferred one first. Where the server agrees on one, RSV bits pass
        in both directions. Not together with compression.
    :param origin: the value of Origin (RFC 6454, 7), such as ``https://example.org``; None for no
        such header.
    :param user_agent: the value of User-Agent; None for no such header.
    :param max_redirects: how many redirects (301, 302, 303, 307, 308) are followed, 0 for none.
        Location may be http or https, too; from wss it cannot lead to ws. Where scheme, host or
        port change, Authorization, Cookie, Proxy-Authorization, Host and server_hostname are left
        behind.
    :param proxy: the URL of a proxy, ``http``, ``https``, ``socks4`` or ``socks5`` (also
        ``socks4a``, ``socks5h``), with its credentials as userinfo; True for what the environment
        says (``https_proxy``, ``no_proxy`` ...), None or False for none. SOCKS needs the extra
        ``picows_c[socks]``. SOCKS4 resolves the server's name here, all others at the proxy.
    :param proxy_ssl_context: for an https proxy; ``ssl.create_default_context()`` by default.
    :param socket_factory: ``f(url)``, plain or a coroutine function, called for each attempt with
        what is to be connected to: the server, or the proxy. It returns a TCP socket, which is
        connected unless it is already; any other stream socket that is connected; or None for the
        usual way. Where the host has several addresses it is called for each that is tried; all
        sockets but the one that connects first are closed. That one stays usable, for
        ``getsockname()`` or ``setsockopt()``, and is closed with the connection.
    :param unix_path: connect to this unix socket instead of the URL's host; a leading NUL makes it
        an abstract one (Linux).
    :param read_buffer_init_size: bytes of an ordinary read block, 256 to 65,664.
    :param max_write_buffer_size: bytes that may wait to be written to a peer that reads too slowly;
        None for no limit.
    :param on_write_overflow: what becomes of a message beyond that: ``"disconnect"`` aborts the
        connection, ``"drop"`` drops whole messages and counts them in ``transport.stats``.
    :param socket_options: ``(level, option, value)`` as for ``socket.setsockopt()``, set before
        connect, on the socket to a proxy and on that of socket_factory, too.
    :param transport: the way of the bytes: ``"auto"`` for our poller where there is one, ``"loop"``
        for the event loop's own transports.
    :param use_aiofastnet: None or False for ours (or the loop's, see above), True for aiofastnet's
        transports (the extra ``picows_c[aiofastnet]``) whatever ``transport`` says.
    :param kwargs: as for ``loop.create_connection()``: family, flags, proto, local_addr,
        happy_eyeballs_delay, interleave; with wss also server_hostname, ssl_handshake_timeout,
        ssl_shutdown_timeout (with ``transport="loop"`` from
        CPython 3.11 on). happy_eyeballs_delay is 0.25 by default (RFC 8305): that many seconds
        after an attempt has begun, the next address is tried beside it; None to try one after the
        other, as it is done where local_addr has a port.
    :raises WSInvalidURL: the URL is not one of WebSocket, or that of the proxy not one of a proxy.
    :raises WSHandshakeError: the server did not agree, or closed the connection; its subclasses
        say why. WSProxyError: the proxy did not open the way.
    :raises asyncio.TimeoutError: it took too long.
    :raises OSError: no connection; ``ssl.SSLError`` where TLS failed.
    :raises TypeError: an argument of the wrong type, an unknown keyword.
    :raises ValueError: an argument out of its range, two that contradict each other; nothing was
        sent.
    :raises ImportError: an extra is missing; the text names it.
    """
    given = _checked_kwargs(kwargs)
    check_factory(ws_listener_factory)
    check_timeout("open_timeout", open_timeout)
    _check_redirects(max_redirects)
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
        assemble_messages=assemble_messages,
        max_message_size=max_message_size,
        compression=compression,
        coalesce_writes=coalesce_writes,
        busy_poll=busy_poll,
    )
    parsed = parse_url(url)
    offer = None if options.deflate is None else make_offer(options.deflate)
    headers = make_client_headers(
        parsed, extra_headers, subprotocols, origin, user_agent, offer, extensions
    )
    check_tls_context("client", "ssl_context", ssl_context)
    if ssl_context is not None and not parsed.is_secure:
        raise ValueError("ssl_context is only meaningful with a wss URL, and this one is ws")
    check_tls_context("client", "proxy_ssl_context", proxy_ssl_context)
    way_through = _checked_proxy(proxy, proxy_ssl_context)
    if socket_factory is not None and not callable(socket_factory):
        raise TypeError("socket_factory must be callable")
    if unix_path is not None:
        unix_path = check_unix_path(unix_path)
        others = {"proxy": way_through, "socket_factory": socket_factory, **given}
        for name in ("proxy", "socket_factory", *_RESOLVING):
            if others.get(name):
                raise ValueError(f"unix_path and {name} contradict each other")
    if not parsed.is_secure:
        for name in _TLS:
            if name in given:
                raise ValueError(f"{name} is only meaningful with ssl: a wss URL")

    loop = asyncio.get_running_loop()
    connector = Connector(
        loop=loop,
        way=_choose_way(loop, transport, use_aiofastnet),
        ssl_context=ssl_context,
        proxy=way_through,
        proxy_ssl_context=proxy_ssl_context,
        socket_factory=socket_factory,
        unix_path=unix_path,
        socket_options=check_socket_options(socket_options),
        resolving={name: given[name] for name in _RESOLVING if name in given},
        server_hostname=_checked_hostname(given.get("server_hostname")),
        ssl_handshake_timeout=given.get("ssl_handshake_timeout"),
        ssl_shutdown_timeout=given.get("ssl_shutdown_timeout"),
    )
    with OpenTimeout(loop, open_timeout):
        return await _open(connector, options, ws_listener_factory, parsed, headers, max_redirects)


def _checked_kwargs(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return those of loop.create_connection()'s keywords that are given, and not None.

    happy_eyeballs_delay stays where it is None.
    """
    for name, value in kwargs.items():
        if name in _INSTEAD:
            raise TypeError(f"ws_connect() takes no {name!r}, but {_INSTEAD[name]!r}")
        if name not in _RESOLVING and name not in _TLS:
            raise TypeError(f"ws_connect() got an unexpected keyword argument {name!r}")
        if name in _TLS_TIMES:
            check_timeout(name, value)
        if name == _DELAY:
            _check_delay(value)
        if name == "local_addr" and value is not None:
            check_port("the port of local_addr", value[1])
    # Without a delay, attempts do not overlap; where it is not given, they do.
    return {name: value for name, value in kwargs.items() if value is not None or name == _DELAY}


def _check_delay(seconds: Optional[float]) -> None:
    if seconds is None:
        return
    if not isinstance(seconds, (int, float)):
        raise TypeError(f"{_DELAY} must be a number or None, not {type(seconds).__name__}")
    if not seconds >= 0:
        raise ValueError(f"{_DELAY} must be seconds from 0 on, or None, not {seconds}")


async def _open(
    connector: Connector,
    options: ConnectionOptions,
    factory: WSListenerFactory,
    url: WSParsedURL,
    headers: CIMultiDict[str],
    max_redirects: int,
) -> tuple[WSTransport, WSListener]:
    """Connect and agree, wherever the servers send us."""
    while True:
        request = make_request(url, headers)
        # Raises what is wrong with the request, before anything is sent.
        protocol = ClientProtocol(
            connector.loop, options, factory, request, url.is_secure, max_redirects > 0
        )
        try:
            await connector.connect(url, protocol)
            return await protocol.opened()
        except WSInvalidStatusError as error:
            target = redirect_of(error, url) if max_redirects > 0 else None
            if target is None:
                raise
            if target.origin != url.origin:
                if connector.unix_path is not None:
                    raise WSHandshakeError(
                        f"cannot follow redirect from a unix socket to {shown_url(target.url)}",
                        error.raw_header,
                        error.raw_body,
                        error.response,
                    ) from error
                connector = dataclasses.replace(connector, server_hostname=None)
        options.logger.info("%s redirects to %s", shown_url(url.url), shown_url(target.url))
        max_redirects -= 1
        headers = headers_for(headers, url, target)
        url = target


def _checked_hostname(name: Optional[str]) -> Optional[str]:
    # Python would make IDNA 2003 of it.
    if name is None or (isinstance(name, str) and name.isascii()):
        return name
    if not isinstance(name, str):
        raise TypeError(f"server_hostname must be str or None, not {type(name).__name__}")
    try:
        return ascii_name(name)
    except ValueError as error:
        raise ValueError(f"server_hostname {name!r}: {error}") from None


def _choose_way(
    loop: asyncio.AbstractEventLoop, transport: str, use_aiofastnet: Optional[bool]
) -> Union[PollerWay, LoopWay]:
    poller = choose_way(transport, loop)
    aiofastnet = import_aiofastnet(use_aiofastnet)
    if aiofastnet is not None or poller is None:
        return LoopWay(loop, aiofastnet)
    return PollerWay(loop, poller)


def _checked_proxy(
    proxy: Union[bool, str, None], proxy_ssl_context: Optional[ssl.SSLContext]
) -> Union[bool, WSParsedURL, None]:
    """Return None, True for the environment, or the proxy."""
    if proxy is True:
        return True
    checked = None if proxy is None or proxy is False else check_proxy(proxy)
    if proxy_ssl_context is not None and (checked is None or not checked.is_secure):
        raise ValueError("proxy_ssl_context is only meaningful with an https proxy")
    if checked is not None and checked.scheme.startswith("socks"):
        import_socks()
    return checked


def _check_redirects(max_redirects: int) -> None:
    if not isinstance(max_redirects, int):
        raise TypeError(f"max_redirects must be int, not {type(max_redirects).__name__}")
    if max_redirects < 0:
        raise ValueError(f"max_redirects must not be negative: {max_redirects}")
