"""Deadlines: one timer for many who have the same time each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, Optional, TypeVar

_Who = TypeVar("_Who")


class Deadlines(Generic[_Who]):
    """Calls ``late(who)`` for each who is still there so many seconds after it came.

    All have the same time: whoever came first is due first, and the loop has one timer for all of
    them; none where nobody is here, for the system charges for each sleep that has an end.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, seconds: float, late: Callable[[_Who], None]
    ) -> None:
        self._loop = loop
        self._seconds = seconds
        self._late = late
        self._due: dict[_Who, float] = {}
        self._timer: Optional[asyncio.TimerHandle] = None

    def add(self, who: _Who) -> None:
        """Begin to wait for somebody who is not here yet."""
        due = self._due[who] = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._ring)

    def discard(self, who: _Who) -> None:
        """Wait no longer for somebody, who may not be here."""
        self._due.pop(who, None)
        if not self._due and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        now = self._loop.time()
        try:
            while self._due:
                who, due = next(iter(self._due.items()))
                if due > now:
                    break
                del self._due[who]
                self._late(who)
        finally:
            if self._due and self._timer is None:
                self._timer = self._loop.call_at(next(iter(self._due.values())), self._ring)
