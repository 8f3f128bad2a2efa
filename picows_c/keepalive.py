"""Pings of one connection (RFC 6455, 5.5.2): liveness, and how long a round trip takes."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Optional

from . import _core
from .enums import WSAutoPingStrategy
from .listener import EXITS, rebinds

if TYPE_CHECKING:
    from .protocol import WSProtocol


class Keepalive:
    """Sends pings and waits for their answers; one at a time is under way.

    The timer serves whatever comes next: a ping, or the end of waiting for its answer.
    """

    __slots__ = (
        "_awaits_reply",
        "_input",
        "_lock",
        "_loop",
        "_measuring",
        "_pong",
        "_protocol",
        "_timer",
    )

    def __init__(self, protocol: WSProtocol, loop: asyncio.AbstractEventLoop) -> None:
        self._protocol = protocol
        self._loop = loop
        self._timer: Optional[asyncio.TimerHandle] = None
        # the answer that is expected
        self._pong: Optional[asyncio.Future[float]] = None
        # what _input() had counted when the ping was sent
        self._input = 0
        # whether the timer ends the wait for an answer
        self._awaits_reply = False
        self._measuring = 0
        self._lock: Optional[asyncio.Lock] = None

    def start(self) -> None:
        """Begin to ping by ``enable_auto_ping``."""
        self._protocol._watch_input()
        self._schedule()

    def stop(self) -> None:
        """End: no ping and no answer will come."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pong is not None and not self._pong.done():
            self._pong.set_exception(ConnectionResetError("connection closed"))
            self._pong.exception()  # nobody may be waiting
        self._pong = None

    # ---- auto ping ----

    def _schedule(self) -> None:
        options = self._protocol._options
        seconds = options.ping_idle_timeout
        if options.ping_strategy == WSAutoPingStrategy.PING_WHEN_IDLE:
            seconds -= self._protocol._input()[1]
        self._timer = self._loop.call_later(max(seconds, 0.0), self._ping_due)

    def _ping_due(self) -> None:
        protocol, options = self._protocol, self._protocol._options
        self._timer = None
        if not protocol._is_alive():
            return
        self._input, idle = protocol._input()
        is_busy = (
            options.ping_strategy == WSAutoPingStrategy.PING_WHEN_IDLE
            and idle < options.ping_idle_timeout
        )
        if is_busy:
            self._schedule()
            return
        # Measuring pings as well; and whose input we do not take cannot answer.
        if self._measuring or protocol._is_reading_paused:
            self._timer = self._loop.call_later(options.ping_idle_timeout, self._ping_due)
            return
        self._awaits_reply = True
        try:
            self._ping()
        except EXITS:
            raise
        except BaseException as error:
            protocol._auto_ping_failed(error)
            return
        if self._pong is None:
            self._schedule()  # the listener said at once that it is there
        elif protocol._is_alive():
            self._timer = self._loop.call_later(options.ping_reply_timeout, self._reply_due)

    def _reply_due(self) -> None:
        protocol = self._protocol
        self._timer = None
        self._awaits_reply = False
        if not protocol._is_alive():
            return
        count, _ = protocol._input()
        # Any byte counts: the answer may stand behind a large frame on a slow line.
        if count != self._input or protocol._is_reading_paused:
            self._schedule()
        else:
            protocol._ping_timed_out()

    # ---- pings and their answers ----

    def _ping(self) -> None:
        """Send one, and expect its answer. Raises what the listener raises."""
        protocol = self._protocol
        listener, transport = protocol.listener, protocol.transport
        if listener is None or transport is None:
            return
        if self._pong is None:
            self._pong = self._loop.create_future()
        asks = rebinds(listener, "is_user_specific_pong")
        protocol._expect_pong(_core.PONG_ASK if asks else _core.PONG_OPCODE)
        listener.send_user_specific_ping(transport)

    def pong_received(self) -> None:
        """Hear that the answer is there."""
        pong, self._pong = self._pong, None
        self._protocol._expect_pong(_core.PONG_NONE)
        if pong is not None and not pong.done():
            pong.set_result(time.monotonic())
        if self._awaits_reply:
            self._awaits_reply = False
            if self._timer is not None:
                self._timer.cancel()
                self._schedule()

    async def measure(self, rounds: int) -> list[float]:
        """Return the seconds of so many round trips, one after the other."""
        if self._lock is None:
            self._lock = asyncio.Lock()
        self._measuring += 1
        try:
            async with self._lock:
                return [await self._measure_once() for _ in range(rounds)]
        finally:
            self._measuring -= 1

    async def _measure_once(self) -> float:
        # An answer that is still on its way must not be taken for the next one's.
        while self._pong is not None:
            await asyncio.shield(self._pong)
        if not self._protocol._is_alive():
            raise ConnectionResetError("connection closed")
        # uvloop's clock has a resolution of a millisecond.
        begin = time.monotonic()
        self._ping()
        if self._pong is None:  # the listener said at once that it is there
            return time.monotonic() - begin
        return await asyncio.shield(self._pong) - begin
