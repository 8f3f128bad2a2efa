"""Streams: sockets on the poller, plain or with TLS."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import ssl as ssl_module
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Optional, cast

from . import _core
from .poller import Poller

if TYPE_CHECKING:
    from .options import WSSocketOptions

# asyncio's defaults, seconds.
DEFAULT_TLS_HANDSHAKE_TIMEOUT = 60.0
DEFAULT_TLS_SHUTDOWN_TIMEOUT = 30.0


class StreamSocket:
    """The socket behind a stream, to look at and to set options; it cannot close the descriptor.

    Every method raises OSError once the connection is lost.
    """

    __slots__ = ("_stream", "family", "proto", "type")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        family, kind, self.proto = self._with(lambda s: (s.family, s.type, s.proto))
        self.family, self.type = socket.AddressFamily(family), socket.SocketKind(kind)

    def _with(self, ask: Callable[[socket.socket], Any]) -> Any:
        # Over a copy of the descriptor: whatever closes it, a Ctrl-C too, the connection's stays.
        sock = self._stream._socket()
        try:
            return ask(sock)
        finally:
            sock.close()

    def fileno(self) -> int:
        """Return the descriptor, -1 once the connection is lost."""
        return self._stream._fileno()

    def getsockname(self) -> Any:
        """Return our address."""
        return self._with(socket.socket.getsockname)

    def getpeername(self) -> Any:
        """Return the peer's address."""
        return self._with(socket.socket.getpeername)

    def getsockopt(self, *args: Any) -> Any:
        """Read an option of the socket."""
        return self._with(lambda s: s.getsockopt(*args))

    def setsockopt(self, *args: Any) -> None:
        """Set an option of the socket."""
        self._with(lambda s: s.setsockopt(*args))

    def __repr__(self) -> str:
        return f"<picows_c.StreamSocket fd={self.fileno()}>"


class Stream(_core.Stream):
    """A connection on the poller, with the surface of asyncio.Transport."""

    __slots__ = ("_context", "_end_timer", "_extra", "_shutdown_timeout")

    def __init__(
        self,
        poller: Poller,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        protocol: asyncio.BaseProtocol,
        context: contextvars.Context,
        extra: dict[str, Any],
    ) -> None:
        super().__init__(poller, loop, fd, protocol, context)
        self._context = context
        self._extra = extra
        self._shutdown_timeout = DEFAULT_TLS_SHUTDOWN_TIMEOUT
        self._end_timer: Optional[asyncio.TimerHandle] = None

    def _tls_ending(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bound the time in which close_notify leaves and is answered; called from C."""
        if self._end_timer is None:
            self._end_timer = loop.call_later(self._shutdown_timeout, self.abort)

    def _lost(self, exc: Optional[BaseException], /) -> None:
        timer = getattr(self, "_end_timer", None)  # not there where __init__ has not run
        try:
            if timer is not None:
                timer.cancel()
                self._end_timer = None
        finally:
            _core.Stream._lost(self, exc)  # super() takes memory, and this must not fail

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what asyncio's transports know by that name.

        socket, sockname, peername; with TLS sslcontext, ssl_object, peercert, cipher, compression.
        """
        if name == "socket" and name not in self._extra:
            self._extra["socket"] = StreamSocket(self) if self._fileno() >= 0 else None
        elif name == "sockname" and name not in self._extra and self._fileno() >= 0:
            self._extra["sockname"] = StreamSocket(self).getsockname()
        value = self._extra.get(name, default)
        return default if value is None else value

    def __repr__(self) -> str:
        state = "closing" if self.is_closing() else "open"
        return f"<picows_c.Stream {state} fd={self._fileno()}>"


def start_tls(
    stream: Stream,
    loop: asyncio.AbstractEventLoop,
    context: ssl_module.SSLContext,
    done: Callable[[Optional[BaseException]], None],
    *,
    server_side: bool,
    server_hostname: Optional[str] = None,
    handshake_timeout: Optional[float] = None,
    shutdown_timeout: Optional[float] = None,
) -> None:
    """Put TLS on a stream; ``done`` is called once, with None or what went wrong."""
    if shutdown_timeout is not None:
        stream._shutdown_timeout = shutdown_timeout
    incoming, outgoing = ssl_module.MemoryBIO(), ssl_module.MemoryBIO()

    def wrap() -> ssl_module.SSLObject:
        return context.wrap_bio(
            incoming, outgoing, server_side=server_side, server_hostname=server_hostname
        )

    timeout = DEFAULT_TLS_HANDSHAKE_TIMEOUT if handshake_timeout is None else handshake_timeout
    late: list[BaseException] = []

    def timed_out() -> None:
        late.append(
            ConnectionAbortedError(
                f"SSL handshake is taking longer than {timeout} seconds: aborting the connection"
            )
        )
        stream.abort()

    def finished(error: Optional[BaseException]) -> None:
        try:
            timer.cancel()
            if error is None:
                stream._extra.update(
                    sslcontext=context,
                    ssl_object=sslobj,
                    peercert=sslobj.getpeercert(),
                    cipher=sslobj.cipher(),
                    compression=sslobj.compression(),
                )
        except BaseException as failure:
            done(failure)  # somebody waits for it
            raise
        done(late[0] if late else error)

    timer = loop.call_later(timeout, timed_out)
    try:
        sslobj = stream._start_tls(wrap, incoming, outgoing, finished)
    except BaseException:
        timer.cancel()
        raise


def _literal(host: Optional[str], port: int, family: int, proto: int) -> Optional[list[Any]]:
    """Return the address information of an IP address, without asking a resolver."""
    if not isinstance(host, str):
        return None
    for af in (socket.AF_INET, socket.AF_INET6):
        if family not in (0, af):
            continue
        try:
            socket.inet_pton(af, host)
        except OSError:
            continue
        address = (host, port) if af == socket.AF_INET else (host, port, 0, 0)
        return [(af, socket.SOCK_STREAM, proto or socket.IPPROTO_TCP, "", address)]
    return None


async def resolve(
    loop: asyncio.AbstractEventLoop,
    host: Optional[str],
    port: int,
    family: int,
    proto: int,
    flags: int,
) -> list[Any]:
    """Return what getaddrinfo() does; an IP address needs no thread for it."""
    found = _literal(host, port, family, proto) or await loop.getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM, proto=proto, flags=flags
    )
    if not found:
        raise OSError("getaddrinfo() returned empty list")
    return found


async def connect_stream(
    poller: Poller,
    loop: asyncio.AbstractEventLoop,
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    sock: socket.socket,
    *,
    ssl: Optional[ssl_module.SSLContext] = None,
    server_hostname: Optional[str] = None,
    ssl_handshake_timeout: Optional[float] = None,
    ssl_shutdown_timeout: Optional[float] = None,
) -> tuple[Stream, asyncio.BaseProtocol]:
    """Make a stream of a connected socket, which it takes over, and start its protocol."""
    extra = {"sockname": sock.getsockname(), "peername": sock.getpeername()}
    set_nodelay(sock)
    sock.setblocking(False)
    protocol = protocol_factory()
    # Who has not heard connection_made() must not hear connection_lost().
    nobody = asyncio.BaseProtocol()
    fd = sock.fileno()
    try:
        stream = Stream(poller, loop, fd, nobody, contextvars.copy_context(), extra)
        sock.detach()
    except BaseException:
        # Whoever has it now: it is closed once.
        sock.detach()
        poller._drop(fd)
        raise
    try:
        if ssl is not None:
            # The stream reads no further until its protocol is started.
            await secure_stream(
                stream,
                loop,
                ssl,
                server_hostname=server_hostname,
                handshake_timeout=ssl_handshake_timeout,
                shutdown_timeout=ssl_shutdown_timeout,
            )
        stream.set_protocol(protocol)
        protocol.connection_made(cast("asyncio.BaseTransport", stream))
        stream._start()
    except BaseException:
        stream.abort()
        raise
    return stream, protocol


async def secure_stream(
    stream: Stream, loop: asyncio.AbstractEventLoop, context: ssl_module.SSLContext, **options: Any
) -> None:
    """Put TLS on a stream, as its client, and wait for the handshake; options as start_tls()."""
    waiter: Optional[asyncio.Future[None]] = loop.create_future()

    def done(error: Optional[BaseException]) -> None:
        if waiter is None or waiter.done():
            return
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)

    try:
        start_tls(stream, loop, context, done, server_side=False, **options)
        assert waiter is not None
        await waiter
    except BaseException:
        if waiter is not None:
            waiter.cancel()  # nobody will ask what became of it
        stream.abort()
        raise
    finally:
        waiter = None  # its exception's traceback has this frame
    if stream._fileno() < 0:
        raise ConnectionResetError("the connection was lost after the TLS handshake")


def set_socket_options(sock: Any, options: WSSocketOptions) -> None:
    """Set socket options. Raises OSError that names the one that failed."""
    for option in options:
        try:
            sock.setsockopt(*option)
        except OSError as exc:
            text = f"cannot set the socket option {option!r}: {exc.strerror}"
            raise OSError(exc.errno, text) from None


def set_nodelay(sock: socket.socket) -> None:
    """Send small frames at once: the answer to a request must not wait for an ACK."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
