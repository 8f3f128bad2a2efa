"""WSTransport: the user's handle of one connection."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Optional

from . import _core
from .closing import WSCloseHandshake, WSCloseInfo, WSDisconnectCause
from .enums import WSCloseCode
from .stats import WSTransportStats

if TYPE_CHECKING:
    from .handshake import WSUpgradeRequest, WSUpgradeResponse
    from .protocol import WSProtocol


class WSCork:
    """Keeps the frames of one connection together; see WSTransport.cork()."""

    __slots__ = ("_transport",)

    def __init__(self, transport: WSTransport) -> None:
        self._transport = transport

    def __enter__(self) -> None:
        self._transport._cork()

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        exc: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._transport._uncork()


class WSTransport(_core.WSTransport):
    """One WebSocket connection: sends frames, closes, and can be waited for.

    It belongs to the thread of its event loop: every method raises RuntimeError on another one.
    It can be asked anything after the connection, or the loop, has gone.
    """

    __slots__ = (
        "_closes",
        "_disconnect_cause",
        "_drain_waiters",
        "_error",
        "_is_disconnected",
        "_is_secure",
        "_is_write_paused",
        "_loop",
        "_request",
        "_response",
        "_subprotocol",
        "_waiter",
    )

    def __init__(
        self,
        owner: WSProtocol,
        target: asyncio.Transport,
        fd: int,
        is_client: bool,
        auto_pong: bool,
        traced: bool,
        write_limit: int,
        drops: bool,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(owner, target, fd, is_client, auto_pong, traced, write_limit, drops)
        self._loop = loop
        self._error: Optional[BaseException] = None
        self._waiter: Optional[asyncio.Future[None]] = None
        self._is_write_paused = False
        # In the order in which they came.
        self._drain_waiters: dict[asyncio.Future[None], None] = {}
        self._request: Optional[WSUpgradeRequest] = None
        self._response: Optional[WSUpgradeResponse] = None
        self._subprotocol: Optional[str] = None
        # CLOSE frames in the order in which they passed: whether it was ours, code, reason.
        self._closes: tuple[tuple[bool, int, Optional[str]], ...] = ()
        self._disconnect_cause: Optional[WSDisconnectCause] = None
        self._is_secure = target.get_extra_info("ssl_object") is not None
        self._is_disconnected = False

    @property
    def request(self) -> Optional[WSUpgradeRequest]:
        """The upgrade request (RFC 6455, 4.1)."""
        return self._request

    @property
    def response(self) -> Optional[WSUpgradeResponse]:
        """The upgrade response (RFC 6455, 4.2.2), None before it."""
        return self._response

    @property
    def subprotocol(self) -> Optional[str]:
        """The subprotocol agreed on (RFC 6455, 1.9), None for none."""
        return self._subprotocol

    @property
    def close_handshake(self) -> Optional[WSCloseHandshake]:
        """The CLOSE frames seen so far (RFC 6455, 7), None before the first."""
        if not self._closes:
            return None
        frames = {
            sent: WSCloseInfo(WSCloseCode(code), reason) for sent, code, reason in self._closes
        }
        received_first = not self._closes[0][0]
        return WSCloseHandshake(frames.get(False), frames.get(True), received_first)

    @property
    def disconnect_cause(self) -> Optional[WSDisconnectCause]:
        """Who ended the connection and why, None while it lasts.

        It is set before ``on_ws_disconnected`` runs.
        """
        return self._disconnect_cause

    @property
    def is_secure(self) -> bool:
        """Whether the connection runs over TLS."""
        return self._is_secure

    @property
    def is_disconnected(self) -> bool:
        """Whether the connection is gone."""
        return self._is_disconnected

    @property
    def stats(self) -> WSTransportStats:
        """What went through the connection so far; also after its end."""
        return WSTransportStats(*self._counters(), self.write_buffer_size)

    def cork(self) -> WSCork:
        """Return a context manager that lets frames leave together, in one call to the system.

        They leave when the outermost ``with`` block ends, when 64 KiB have come together, and
        before CLOSE, ``disconnect()`` and ``drain()`` do anything. ``with transport.cork(): ...``
        """
        return WSCork(self)

    async def drain(self) -> None:
        """Wait until what waits to be written has fallen below the low watermark.

        Returns at once while the high watermark was not crossed. Any number of tasks may wait.
        Raises ConnectionResetError where the connection is lost, before or meanwhile.
        """
        self._check_thread("drain")
        self._flush()
        if self._is_disconnected:
            raise ConnectionResetError("connection lost")
        if not self._is_write_paused:
            return
        waiter = self._loop.create_future()
        self._drain_waiters[waiter] = None
        try:
            await waiter
        finally:
            self._drain_waiters.pop(waiter, None)

    def pause_reading(self) -> None:
        """Take no more input; frames that were read already wait too.

        What the peer sends fills the buffers of both systems, until it cannot send any more. Auto
        ping waits meanwhile. Does nothing where reading is paused, or the connection is ending.
        """
        self._check_thread("pause_reading")
        if self._owner is not None:
            self._owner.pause_reading(True)

    def resume_reading(self) -> None:
        """Go on with the frames that wait, then with new input, from the loop's next turn on."""
        self._check_thread("resume_reading")
        if self._owner is not None:
            self._owner.pause_reading(False)

    async def measure_roundtrip_time(self, rounds: int) -> list[float]:
        """Ping the peer ``rounds`` times, one after the other; return the seconds each took.

        Pings are those of ``send_user_specific_ping()``. Auto ping waits meanwhile; several calls
        take turns. Raises ConnectionResetError where the connection is closing or lost, before or
        meanwhile.
        """
        self._check_thread("measure_roundtrip_time")
        if self._owner is None:
            raise ConnectionResetError("connection closed")
        return await self._owner.measure_roundtrip_time(rounds)

    def notify_user_specific_pong_received(self) -> None:
        """Say that the answer to ``send_user_specific_ping()`` came; harmless where none is due.

        For listeners that see it only in on_ws_frame(), or in a message that holds more.
        """
        self._check_thread("notify_user_specific_pong_received")
        if self._owner is not None:
            self._owner._pong_received()

    def disconnect(self, graceful: bool = True) -> None:
        """End the connection, without a CLOSE frame of its own; nothing is delivered afterwards.

        graceful: what waits to be written is sent first and the peer gets an orderly end of stream,
            within ``close_timeout`` at most; otherwise the connection is dropped at once.
        """
        self._check_thread("disconnect")
        owner = self._owner
        if owner is not None:
            owner.disconnect(graceful)

    async def wait_disconnected(self) -> None:
        """Wait until the connection is gone and ``on_ws_disconnected`` has run.

        On the client it raises the exception that ended the connection on this side: that of a
        callback, or WSProtocolError. What the peer did never raises. Cancelling the wait does not
        touch the connection. (A CancelledError that a callback raised comes out of here as well;
        ``disconnect_cause.exception`` tells it from one that is meant for the task that waits.)
        """
        self._check_thread("wait_disconnected")
        if not self._is_disconnected or self._owner is not None:
            if self._waiter is None:
                self._waiter = self._loop.create_future()
            await asyncio.shield(self._waiter)
        if self._error is not None and self.is_client_side:
            raise self._error

    # ---- for the protocol ----

    def _note_close(self, sent: bool, code: int, reason: Optional[str]) -> None:
        self._closes = (*self._closes, (sent, code, reason))

    def _note_error(self, error: BaseException) -> None:
        """Keep the first error: it is the one that ended the connection."""
        if self._error is None:
            self._error = error

    def _note_cause(self, cause: WSDisconnectCause) -> None:
        """Keep the first cause."""
        if self._disconnect_cause is None:
            self._disconnect_cause = cause

    def _log_error(self, error: BaseException, where: str) -> None:
        if self._owner is not None:
            self._owner._log_callback_error(error, where)

    def _note_write_paused(self, paused: bool) -> None:
        self._is_write_paused = paused
        self._write_paused(paused)
        if not paused:
            for waiter in self._take_drain_waiters():
                waiter.set_result(None)

    def _take_drain_waiters(self) -> list[asyncio.Future[None]]:
        waiters, self._drain_waiters = self._drain_waiters, {}
        return [waiter for waiter in waiters if not waiter.done()]

    def _finish(self) -> None:
        self._lost()
        try:
            for waiter in self._take_drain_waiters():
                waiter.set_exception(ConnectionResetError("connection lost"))
        finally:
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)
            self._waiter = None
