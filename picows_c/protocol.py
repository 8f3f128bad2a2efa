"""WSProtocol: the asyncio glue of one connection.

The data path is _core.WSReader, from which it derives; what is here runs once per connection:
opening, errors, and the way to the end. ClientProtocol and ServerProtocol add the two sides of the
handshake.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
import os
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Optional, TypeVar, cast

from . import _core
from .closing import WSDisconnectCause, WSDisconnectKind
from .enums import WSCloseCode, WSMsgType
from .errors import WSProtocolError
from .keepalive import Keepalive
from .listener import EXITS, WSListener, check_bound, rebinds
from .options import PICOWS_DEBUG_LL, ConnectionOptions
from .transport import WSTransport

if TYPE_CHECKING:
    from .handshake import WSUpgradeResponse

# So many frames that were held back are delivered before the loop has its turn.
_HELD_AT_ONCE = 128

# After our last byte the peer gets this long to close its side, before we close on it.
_LINGER = 1.0

_UCRED = struct.Struct("iII")  # pid, uid, gid

# The loops' own stream transports, through whose socket we may send: nothing stands between it
# and them. Any other transport may change the bytes on their way.
_PLAIN_TRANSPORTS = {
    ("asyncio.selector_events", "_SelectorSocketTransport"),
    ("uvloop.loop", "TCPTransport"),
    ("uvloop.loop", "UnixTransport"),
}


_Method = TypeVar("_Method", bound=Callable[..., None])


def _ends(method: _Method) -> _Method:
    """Have the connection dropped where a way to its end fails for want of memory.

    Nobody would come back to it otherwise: its timer has fired, or was to be set.
    """

    @functools.wraps(method)
    def ending(self: WSProtocol, *args: Any) -> None:
        try:
            method(self, *args)
        except BaseException:
            self._abort()
            raise

    return cast("_Method", ending)


# (The two callbacks that are C take their argument by position, as event loops give it.)
class WSProtocol(_core.WSReader, asyncio.BufferedProtocol):  # pyright: ignore[reportIncompatibleMethodOverride]
    """The life of one connection.

    HANDSHAKE -> OPEN -> SHUTTING -> LOST; an end may come from each. One timer serves whichever
    state has a deadline.
    """

    __slots__ = (
        "__weakref__",
        "_context",
        "_deadline",
        "_is_client",
        "_is_in_watermark",
        "_is_invalid_text",
        "_is_open",
        "_is_reading_paused",
        "_is_shutting",
        "_keepalive",
        "_loop",
        "_options",
        "_peer",
        "_timer",
        "_underlying",
        "listener",
        "transport",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, options: ConnectionOptions, is_client: bool
    ) -> None:
        super().__init__(is_client, options.buffer_size)
        self._loop = loop
        self._options = options
        self._is_client = is_client
        self._is_open = False
        self._is_shutting = False
        self._is_in_watermark = False
        self._is_invalid_text = False
        self._is_reading_paused = False
        self._keepalive: Optional[Keepalive] = None
        self._timer: Optional[asyncio.TimerHandle] = None
        self._deadline: Optional[float] = None
        self._underlying: Optional[asyncio.Transport] = None
        self._peer: Any = None
        self.transport: Optional[WSTransport] = None
        self.listener: Optional[WSListener] = None

    # ---- asyncio.BaseProtocol ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake; without memory for that there is no connection.

        asyncio's transports would go on with a protocol that knows nothing of them.
        """
        # uvloop's transports have the whole surface of asyncio.Transport, but not its name.
        underlying: Any = transport
        try:
            self._made(underlying)
        except BaseException:
            underlying.abort()
            raise

    def _made(self, transport: asyncio.Transport) -> None:
        underlying = self._underlying = transport
        # Callbacks run in the context in which the connection was made.
        self._context = contextvars.copy_context()
        # asyncio's TLS transport does not know it any more at the end.
        self._peer = peer_of(underlying)
        self.transport = WSTransport(
            self,
            underlying,
            _direct_fd(underlying),
            self._is_client,
            self._options.enable_auto_pong,
            self._options.logger.isEnabledFor(PICOWS_DEBUG_LL),
            self._options.max_write_buffer_size or 0,
            self._options.drop_on_overflow,
            self._loop,
        )
        if isinstance(underlying, _core.Stream):
            underlying._bind(self.transport, self._options.busy_poll)
        self._await_handshake()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """Tell whoever waits; then let go of everything."""
        transport, listener = self.transport, self.listener
        if transport is None or transport.is_disconnected:
            self._disarm()
            return
        self._stop_frames()
        transport._stop_sending()
        transport._is_disconnected = True
        # Each step is made even where the one before it fails for want of memory.
        try:
            self._disarm()
            if self._keepalive is not None:
                self._keepalive.stop()
            if transport.disconnect_cause is None:
                transport._note_cause(self._cause_of_loss(exc))
            self._log(logging.INFO, "Disconnected%s", f": {exc!r}" if exc is not None else "")
        finally:
            try:
                if self._is_open and listener is not None:
                    listener.on_ws_disconnected(transport)
            except EXITS:
                raise
            except BaseException as error:
                self._callback_raised("on_ws_disconnected", error, True)
            finally:
                self._let_go(transport)

    def _let_go(self, transport: WSTransport) -> None:
        try:
            transport._finish()
        finally:
            self._free()
            self._keepalive = None  # it refers to us
            self.listener = None
            if self._underlying is not None:
                # asyncio's TLS transport before CPython 3.11 warns where only the peer closed.
                self._underlying.close()
            self._underlying = None
            # uvloop's TLS keeps two methods of ours, and our transport refers to it: without this
            # only the collector could free them, 300 KiB a connection.
            self.transport = None

    def tls_failed(self, error: BaseException) -> None:
        """Hear that the TLS handshake failed: there will be no connection."""
        self._log(logging.INFO, "TLS handshake failed: %r", error)

    def eof_received(self) -> Optional[bool]:
        """Let the loop's transport close itself: a WebSocket is never half-closed."""
        return None

    def pause_writing(self) -> None:
        """Pass the high watermark on to the listener."""
        self._watermark("pause_writing", True)

    def resume_writing(self) -> None:
        """Pass the low watermark on to the listener."""
        self._watermark("resume_writing", False)

    def _watermark(self, method: str, paused: bool) -> None:
        if self.transport is None:
            return
        self.transport._note_write_paused(paused)
        if self.listener is None or not self._is_open:
            return
        if not rebinds(self.listener, method):
            self._log(logging.WARNING, "%s: the write buffer crossed its watermark", method)
            return
        self._is_in_watermark = True
        try:
            getattr(self.listener, method)()
        except EXITS:
            raise
        except BaseException as error:
            # The connection goes on.
            self._callback_raised(method, error, False)
        finally:
            self._is_in_watermark = False

    def _cause_of_loss(self, exc: Optional[Exception]) -> WSDisconnectCause:
        """Say why the connection is lost, where nothing had decided that it ends."""
        transport = self.transport
        assert transport is not None
        if not self._is_open:
            initiator = "local" if self._is_shutting else "peer"
            return WSDisconnectCause(WSDisconnectKind.HANDSHAKE_FAILURE, initiator, exception=exc)
        if transport.is_close_frame_sent:
            return self._cause_of_our_close(WSDisconnectKind.LOCAL_CLOSE)
        if exc is None:
            return WSDisconnectCause(WSDisconnectKind.EOF, "peer")
        if isinstance(exc, ConnectionError):
            return WSDisconnectCause(WSDisconnectKind.RESET, "peer", exception=exc)
        return WSDisconnectCause(WSDisconnectKind.NETWORK_ERROR, "system", exception=exc)

    def _cause_of_our_close(self, kind: WSDisconnectKind) -> WSDisconnectCause:
        assert self.transport is not None
        known = self.transport.close_handshake
        sent = None if known is None else known.sent
        if sent is None:
            return WSDisconnectCause(kind, "local")
        return WSDisconnectCause(kind, "local", sent.code, sent.reason)

    # ---- opening ----

    def _open(
        self,
        listener: WSListener,
        response: WSUpgradeResponse,
        extended: bool,
        deflate: Optional[_core.Deflate],
    ) -> None:
        """Begin with frames; the listener hears of it first.

        extended: an extension of the user's own may give the RSV bits a meaning.
        """
        transport = self.transport
        assert transport is not None
        transport._response = response
        self.listener = listener
        self._disarm()
        self._is_open = True
        self._start_frames(
            transport,
            listener,
            self._options.max_frame_size,
            extended,
            self._options.assemble_messages,
            self._options.max_message_size,
            deflate,
            self._options.coalesce_writes,
        )
        try:
            listener.on_ws_connected(transport)
            if rebinds(listener, "on_ws_connected"):
                check_bound(listener)  # it may have bound some
        except EXITS:
            raise
        except BaseException as error:
            self._fail_callback("on_ws_connected", error)
        if self._options.enable_auto_ping and self._is_alive():
            self._keep_alive().start()

    def _await_handshake(self) -> None:
        """Bound the time that the peer has for its part of the handshake."""
        self._arm(self._options.handshake_timeout, self._handshake_timed_out)

    def _handshake_timed_out(self) -> None:
        raise NotImplementedError

    # ---- errors ----

    @_ends
    def _callback_failed(self, where: str, error: BaseException, invalid_text: bool) -> None:
        """Decide what an exception beside a frame means; called by the reader."""
        if self._options.disconnect_on_exception or isinstance(error, WSProtocolError):
            self._fail_callback(where, error, invalid_text)
        else:
            self._callback_raised(where, error, False, invalid_text)

    @_ends
    def _fail_callback(self, where: str, error: BaseException, invalid_text: bool = False) -> None:
        code: int = WSCloseCode.INVALID_TEXT if invalid_text else WSCloseCode.INTERNAL_ERROR
        reason = None
        if isinstance(error, WSProtocolError):
            code, reason = error.code, str(error)
        self._callback_raised(where, error, True, invalid_text)
        self._fail(WSDisconnectKind.LOCAL_ERROR, code, reason, error)

    @_ends
    def _protocol_failed(self, code: int, text: str) -> None:
        """Fail the connection (RFC 6455, 7.1.7): the peer broke a rule; called by the reader."""
        # Errors are those of the user's own code: a peer could fill the log with them.
        self._log(logging.WARNING, "Protocol error, close code %d: %s", code, text)
        assert self.transport is not None
        error = WSProtocolError(WSCloseCode(code), text)
        self.transport._note_error(error)
        self._fail(WSDisconnectKind.PROTOCOL_ERROR, code, text, error)

    def _callback_raised(
        self, where: str, error: BaseException, ends: bool, invalid_text: bool = False
    ) -> None:
        """Tell the listener of its exception; the first that ends us is kept for the waiter."""
        transport, listener = self.transport, self.listener
        self._is_invalid_text = invalid_text
        if transport is None or listener is None:
            # A nested event loop has told of the loss already, from inside of the callback.
            self._log_callback_error(error, where)
            return
        if ends:
            transport._note_error(error)
        try:
            listener.on_ws_error(transport, error, where)
        except EXITS:
            raise
        except BaseException as second:
            self._log(logging.ERROR, "Unhandled exception in on_ws_error", exc_info=second)

    def _log_callback_error(self, error: BaseException, where: str) -> None:
        """Log what on_ws_error() was told; nobody may be waiting where it is raised, too."""
        if self._is_invalid_text:
            # The peer's fault, which the callback only found.
            self._log(logging.WARNING, "Text that is not UTF-8 in %s: %r", where, error)
        else:
            self._log(logging.ERROR, "Unhandled exception in %s", where, exc_info=error)

    @_ends
    def _fail(
        self,
        kind: WSDisconnectKind,
        code: int,
        reason: Optional[str],
        error: Optional[BaseException],
    ) -> None:
        transport = self.transport
        if transport is None:
            return  # lost meanwhile
        try:
            sent = WSCloseCode(code)
            transport.send_close(sent, _fit_reason(reason))
        except (TypeError, ValueError):
            # The code came from a user's WSProtocolError.
            self._log(logging.ERROR, "close code %r may not be sent, 1011 goes instead", code)
            sent = WSCloseCode.INTERNAL_ERROR
            transport.send_close(sent)
        transport._note_cause(WSDisconnectCause(kind, "local", sent, reason, error))
        self._shut()

    # ---- pings ----

    def _keep_alive(self) -> Keepalive:
        if self._keepalive is None:
            self._keepalive = Keepalive(self, self._loop)
        return self._keepalive

    def _is_alive(self) -> bool:
        """Return whether frames go both ways."""
        transport = self.transport
        return (
            transport is not None
            and self._is_open
            and not self._is_shutting
            and not transport.is_disconnected
            and not transport.is_close_frame_sent
        )

    async def measure_roundtrip_time(self, rounds: int) -> list[float]:
        """Ping so many times."""
        if not self._is_alive():
            raise ConnectionResetError("connection closed")
        return await self._keep_alive().measure(rounds)

    def _pong_received(self) -> None:
        """Hear of the answer to our ping; called by the reader."""
        if self._keepalive is not None:
            self._keepalive.pong_received()

    @_ends
    def _ping_timed_out(self) -> None:
        """Give up a peer that shows no sign of life."""
        seconds = self._options.ping_reply_timeout
        text = f"peer has not replied to ping/heartbeat request within {seconds} second(s)"
        self._log(logging.INFO, "%s", text)
        transport = self.transport
        assert transport is not None
        transport._note_cause(
            WSDisconnectCause(WSDisconnectKind.PING_TIMEOUT, "local", WSCloseCode.GOING_AWAY, text)
        )
        transport.send_close(WSCloseCode.GOING_AWAY, text)
        self._abort()

    @_ends
    def _auto_ping_failed(self, error: BaseException) -> None:
        self._callback_raised("send_user_specific_ping", error, False)
        text = "an exception occurred in auto-ping loop"
        self._fail(WSDisconnectKind.LOCAL_ERROR, WSCloseCode.INTERNAL_ERROR, text, error)

    # ---- flow control ----

    def pause_reading(self, paused: bool) -> None:
        """Hold back input and the frames already read, or let them go."""
        underlying = self._underlying
        if paused == self._is_reading_paused or underlying is None or self._is_shutting:
            return
        if not underlying.is_closing():
            if paused:
                underlying.pause_reading()
            elif isinstance(underlying, _core.Stream):
                underlying.resume_reading()
            else:
                # asyncio's transports go on in the context of whoever resumes. (A copy: ours is
                # entered where that is one of our own callbacks.)
                self._context.copy().run(underlying.resume_reading)
        self._is_reading_paused = paused
        self._hold_frames(paused)
        # A stream goes on by itself.
        if not paused and not isinstance(underlying, _core.Stream):
            self._loop.call_soon(self._deliver_held, context=self._context)

    @_ends
    def _deliver_held(self) -> None:
        """Deliver frames that were read before reading was paused, some in each iteration."""
        if self._go_on(_HELD_AT_ONCE):
            self._loop.call_soon(self._deliver_held, context=self._context)

    @_ends
    def _overflowed(self) -> None:
        """End the connection: too much waits to be written; called by the transport."""
        limit = self._options.max_write_buffer_size
        text = f"more than max_write_buffer_size ({limit} bytes) waits to be written"
        self._log(logging.WARNING, "%s", text)
        assert self.transport is not None
        self.transport._note_cause(
            WSDisconnectCause(WSDisconnectKind.WRITE_OVERFLOW, "local", reason=text)
        )
        self._abort()

    # ---- closing ----

    def _close_sent(self, code: int, reason: Optional[str]) -> None:
        """Note our CLOSE and give the peer a deadline to answer; called by the transport."""
        transport = self.transport
        assert transport is not None
        transport._note_close(True, code, reason)
        if not transport._is_close_frame_received and not transport.is_disconnected:
            self._arm(self._options.close_timeout, self._close_timed_out)

    @_ends
    def _close_timed_out(self) -> None:
        assert self.transport is not None
        self._log(logging.INFO, "the peer did not answer our CLOSE in time")
        self.transport._note_cause(self._cause_of_our_close(WSDisconnectKind.CLOSE_TIMEOUT))
        self._abort()

    def _close_received(self, code: int, reason: Optional[str]) -> None:
        """Note the peer's CLOSE, before it is delivered; called by the reader."""
        transport = self.transport
        assert transport is not None
        transport._note_close(False, code, reason)
        if transport.is_close_frame_sent:
            cause = self._cause_of_our_close(WSDisconnectKind.LOCAL_CLOSE)
        else:
            cause = WSDisconnectCause(
                WSDisconnectKind.PEER_CLOSE, "peer", WSCloseCode(code), reason
            )
        transport._note_cause(cause)

    @_ends
    def _close_complete(self) -> None:
        """End the closing handshake; called by the reader when both CLOSE frames have passed.

        RFC 6455, 7.1.1: "the server ... MUST close the underlying TCP connection immediately";
        the client waits for that, so that the side which keeps TIME_WAIT is the client.
        """
        if not self._is_client:
            self._shut()
        elif not self._is_shutting:
            self._arm(self._options.close_timeout, self._abort)

    @_ends
    def disconnect(self, graceful: bool) -> None:
        """End the connection without a further frame."""
        transport = self.transport
        # (A CLOSE of the peer's has been noted as the cause.)
        if transport is not None and transport.disconnect_cause is None:
            transport._note_cause(
                self._cause_of_our_close(WSDisconnectKind.LOCAL_CLOSE)
                if transport.is_close_frame_sent
                else WSDisconnectCause(WSDisconnectKind.LOCAL_DISCONNECT, "local")
            )
        self._stop_frames()
        if graceful:
            self._shut()
        else:
            self._abort()

    def _discard_exhausted(self) -> None:
        """Give up on a peer that goes on sending after the end; called by the reader."""
        self._abort()

    @_ends
    def _shut(self) -> None:
        """Send what waits, then end our side; and linger, so that the peer can read it.

        Closing a socket with unread input, or input on its way, makes the system send a reset,
        which may overtake and destroy our last words. So only the write side is shut down first.
        """
        underlying = self._underlying
        transport = self.transport
        if underlying is None or transport is None:
            return
        if self._is_shutting or transport.is_disconnected:
            return
        # What still comes is discarded, but it has to be read.
        self.pause_reading(False)
        self._is_shutting = True
        self._stop_frames()
        transport._stop_sending()
        timeout = self._options.close_timeout
        self._deadline = None if timeout is None else self._loop.time() + timeout
        if underlying.is_closing():
            self._arm(timeout, self._abort)
        elif underlying.can_write_eof():
            try:
                underlying.write_eof()
            except OSError:
                self._abort()  # reset by the peer
            else:
                self._linger()
        else:
            # TLS: close() sends what waits, then close_notify, and waits for the peer's.
            underlying.close()
            self._arm(timeout, self._abort)

    @_ends
    def _linger(self) -> None:
        wait = _LINGER
        if self._deadline is not None:
            wait = min(wait, self._deadline - self._loop.time())
        self._arm(max(wait, 0.0), self._linger_over)

    @_ends
    def _linger_over(self) -> None:
        if self._underlying is None:
            return  # lost already; without memory a timer cannot be cancelled
        late = self._deadline is not None and self._loop.time() >= self._deadline
        if late or self._underlying.get_write_buffer_size() == 0:
            self._abort()
        else:
            self._linger()

    def _abort(self) -> None:
        if self.transport is not None and self.transport.is_disconnected:
            return
        self._stop_frames()
        if self.transport is not None:
            self.transport._stop_sending()
        # Without a loop there is nothing left to do, and asyncio's transports would raise.
        if self._underlying is not None and not self._loop.is_closed():
            self._is_shutting = True
            if self._is_in_watermark:
                # asyncio's transport would lose the connection twice.
                self._loop.call_soon(self._underlying.abort)
            else:
                self._underlying.abort()

    # ---- helpers ----

    def _arm(self, seconds: Optional[float], callback: Any) -> None:
        self._disarm()
        # (It may have been lost inside of what the timer is about.)
        if seconds is not None and self._underlying is not None:
            self._timer = self._loop.call_later(seconds, callback)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _trace(self, sent: bool, opcode: int, fin: bool, rsv: int, size: int) -> None:
        """Log one frame; called by the transport and the reader."""
        self._log(
            PICOWS_DEBUG_LL,
            "%s %s fin=%d rsv=%d, %d bytes",
            ">" if sent else "<",
            WSMsgType(opcode).name,
            fin,
            rsv >> 4,
            size,
        )

    def _log(
        self, level: int, message: str, *args: object, exc_info: Optional[BaseException] = None
    ) -> None:
        logger = self._options.logger
        if not logger.isEnabledFor(level):
            return
        logger.log(level, f"[%s] {message}", self._peer, *args, exc_info=exc_info)


def peer_of(transport: asyncio.BaseTransport) -> Any:
    """Return what the log calls the peer: its address, or the path of a unix socket.

    A client of a unix socket has no name: then it is our own path, and on Linux the peer's process.
    """
    peer = transport.get_extra_info("peername")
    if peer:
        return peer
    path = transport.get_extra_info("sockname") or ""
    if not isinstance(path, (str, bytes)):
        return "reset peer"  # an IP socket has a name for as long as it is connected
    name = os.fsdecode(path).replace("\0", "@") or "unix socket"
    sock = transport.get_extra_info("socket")
    # struct ucred: the process that connected, even if it is another's by now.
    if sock is not None and hasattr(socket, "SO_PEERCRED"):
        with contextlib.suppress(OSError):
            found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
            pid, uid, _ = _UCRED.unpack(found)
            return f"{name} pid {pid} uid {uid}"
    return name


def _direct_fd(transport: asyncio.Transport) -> int:
    """Return the descriptor through which bytes may go past the loop's transport, or -1."""
    kind = type(transport)
    if (kind.__module__, kind.__name__) not in _PLAIN_TRANSPORTS:
        return -1
    sock = transport.get_extra_info("socket")
    return -1 if sock is None else int(sock.fileno())


def _fit_reason(reason: Optional[str]) -> Optional[bytes]:
    """Cut a close reason to the 123 bytes that fit (RFC 6455, 5.5.1), at a character's end."""
    if not reason:
        return None
    return reason.encode("utf-8", "replace")[:123].decode("utf-8", "ignore").encode("utf-8")
