"""WSProtocol: the asyncio glue of one connection.

The data path is _core.WSReader, from which it derives; what is here runs once per connection:
opening, errors, and the way to the end. ClientProtocol and ServerProtocol add the two sides of the
handshake.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Optional, cast

from . import _core
from .enums import WSCloseCode
from .errors import WSProtocolError
from .listener import WSListener
from .options import ConnectionOptions
from .transport import WSTransport

if TYPE_CHECKING:
    from .handshake import WSUpgradeResponse

# After our last byte the peer gets this long to close its side, before we close on it.
_LINGER = 1.0

# The loops' own stream transports, through whose socket we may send: nothing stands between it
# and them. Any other transport may change the bytes on their way.
_PLAIN_TRANSPORTS = {
    ("asyncio.selector_events", "_SelectorSocketTransport"),
    ("uvloop.loop", "TCPTransport"),
    ("uvloop.loop", "UnixTransport"),
}


class WSProtocol(_core.WSReader, asyncio.BufferedProtocol):
    """The life of one connection.

    HANDSHAKE -> OPEN -> SHUTTING -> LOST; an end may come from each. One timer serves whichever
    state has a deadline.
    """

    __slots__ = (
        "__weakref__",
        "_deadline",
        "_is_client",
        "_is_open",
        "_is_shutting",
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
        self._timer: Optional[asyncio.TimerHandle] = None
        self._deadline: Optional[float] = None
        self._underlying: Optional[asyncio.Transport] = None
        self._peer: Any = None
        self.transport: Optional[WSTransport] = None
        self.listener: Optional[WSListener] = None

    # ---- asyncio.BaseProtocol ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        # uvloop's transports have the whole surface of asyncio.Transport, but not its name.
        underlying = cast("asyncio.Transport", transport)
        self._underlying = underlying
        # asyncio's TLS transport does not know it any more at the end.
        self._peer = underlying.get_extra_info("peername")
        self.transport = WSTransport(
            self,
            underlying,
            _direct_fd(underlying),
            self._is_client,
            self._options.enable_auto_pong,
            self._loop,
        )
        if isinstance(underlying, _core.Stream):
            underlying._bind(self.transport)
        self._arm(self._options.handshake_timeout, self._handshake_timed_out)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        """Tell whoever waits; then let go of everything."""
        self._disarm()
        transport, listener = self.transport, self.listener
        if transport is None or transport.is_disconnected:
            return
        self._stop_frames()
        transport._stop_sending()
        transport.is_disconnected = True
        self._log(logging.INFO, "Disconnected%s", f": {exc!r}" if exc is not None else "")
        try:
            if self._is_open and listener is not None:
                listener.on_ws_disconnected(transport)
        except Exception as error:
            self._note_exception("on_ws_disconnected", error)
        finally:
            transport._finish()
            self._free()
            self.listener = None
            if self._underlying is not None:
                # asyncio's TLS transport before CPython 3.11 warns where only the peer closed.
                self._underlying.close()
            self._underlying = None

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
        self.transport._write_paused(paused)
        if self.listener is None or not self._is_open:
            return
        if getattr(type(self.listener), method) is getattr(WSListener, method):
            self._log(logging.WARNING, "%s: the write buffer crossed its watermark", method)
            return
        try:
            getattr(self.listener, method)()
        except Exception as error:
            # The connection goes on.
            self._log(logging.ERROR, "Unhandled exception in %s", method, exc_info=error)

    # ---- opening ----

    def _open(self, listener: WSListener, response: WSUpgradeResponse, extended: bool) -> None:
        """Begin with frames; the listener hears of it first."""
        transport = self.transport
        assert transport is not None
        transport.response = response
        self.listener = listener
        self._disarm()
        self._is_open = True
        self._start_frames(transport, listener, self._options.max_frame_size, extended)
        try:
            listener.on_ws_connected(transport)
        except Exception as error:
            self._fail_callback("on_ws_connected", error)

    def _handshake_timed_out(self) -> None:
        raise NotImplementedError

    # ---- errors ----

    def _callback_failed(self, error: Exception, invalid_text: bool) -> None:
        """Decide what an exception of on_ws_frame means; called by the reader."""
        if self._options.disconnect_on_exception or isinstance(error, WSProtocolError):
            code = WSCloseCode.INVALID_TEXT if invalid_text else WSCloseCode.INTERNAL_ERROR
            self._fail_callback("on_ws_frame", error, code)
        else:
            self._log(logging.ERROR, "Unhandled exception in on_ws_frame", exc_info=error)

    def _fail_callback(
        self, where: str, error: Exception, code: int = WSCloseCode.INTERNAL_ERROR
    ) -> None:
        reason = None
        if isinstance(error, WSProtocolError):
            code, reason = error.code, str(error)
        self._note_exception(where, error)
        self._fail(code, reason)

    def _protocol_failed(self, code: int, text: str) -> None:
        """Fail the connection (RFC 6455, 7.1.7): the peer broke a rule; called by the reader."""
        self._log(logging.ERROR, "Protocol error, close code %d: %s", code, text)
        assert self.transport is not None
        self.transport._note_error(WSProtocolError(WSCloseCode(code), text))
        self._fail(code, text)

    def _note_exception(self, where: str, error: Exception) -> None:
        """Keep the first exception for wait_disconnected; log what nobody will see otherwise."""
        transport = self.transport
        assert transport is not None
        if self._is_client and transport._error is None:
            self._log(logging.ERROR, "Exception in %s: %r", where, error)
        else:
            self._log(logging.ERROR, "Unhandled exception in %s", where, exc_info=error)
        transport._note_error(error)

    def _fail(self, code: int, reason: Optional[str]) -> None:
        transport = self.transport
        assert transport is not None
        try:
            transport.send_close(code, _fit_reason(reason))
        except (TypeError, ValueError):
            # The code came from a user's WSProtocolError.
            self._log(logging.ERROR, "close code %r may not be sent, 1011 goes instead", code)
            transport.send_close(WSCloseCode.INTERNAL_ERROR)
        self._shut()

    # ---- closing ----

    def _close_sent(self, code: int, reason: Optional[str]) -> None:
        """Note our CLOSE and give the peer a deadline to answer; called by the transport."""
        transport = self.transport
        assert transport is not None
        transport._note_close(True, code, reason)
        if not transport._is_close_frame_received and not transport.is_disconnected:
            self._arm(self._options.close_timeout, self._abort)

    def _close_received(self, code: int, reason: Optional[str]) -> None:
        """Note the peer's CLOSE, before it is delivered; called by the reader."""
        assert self.transport is not None
        self.transport._note_close(False, code, reason)

    def _close_complete(self) -> None:
        """End the closing handshake; called by the reader when both CLOSE frames have passed.

        RFC 6455, 7.1.1: "the server ... MUST close the underlying TCP connection immediately";
        the client waits for that, so that the side which keeps TIME_WAIT is the client.
        """
        if not self._is_client:
            self._shut()
        elif not self._is_shutting:
            self._arm(self._options.close_timeout, self._abort)

    def disconnect(self, graceful: bool) -> None:
        """End the connection without a further frame."""
        self._stop_frames()
        if graceful:
            self._shut()
        else:
            self._abort()

    def _discard_exhausted(self) -> None:
        """Give up on a peer that goes on sending after the end; called by the reader."""
        self._abort()

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

    def _linger(self) -> None:
        wait = _LINGER
        if self._deadline is not None:
            wait = min(wait, self._deadline - self._loop.time())
        self._arm(max(wait, 0.0), self._linger_over)

    def _linger_over(self) -> None:
        assert self._underlying is not None
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
        if self._underlying is not None:
            self._is_shutting = True
            self._underlying.abort()

    # ---- helpers ----

    def _arm(self, seconds: Optional[float], callback: Any) -> None:
        self._disarm()
        if seconds is not None:
            self._timer = self._loop.call_later(seconds, callback)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _log(
        self, level: int, message: str, *args: object, exc_info: Optional[BaseException] = None
    ) -> None:
        logger = self._options.logger
        if not logger.isEnabledFor(level):
            return
        logger.log(level, f"[%s] {message}", self._peer, *args, exc_info=exc_info)


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
