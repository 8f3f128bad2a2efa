"""What a process that is measured notes: time, CPU, percentiles."""

from __future__ import annotations

import resource
import time
from typing import Any

# A mark that no counter reaches.
NEVER = -(1 << 60)


class Meter:
    """Rate and CPU of each of ``count`` messages that come after a tenth as many.

    Whoever counts down from ``total`` calls reached() where its counter equals the mark, at first
    ``count``; what is returned is the next one.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.total = count + count // 10
        self.figures: dict[str, Any] = {}
        self._seconds = self._user = self._system = 0.0

    def reached(self) -> int:
        if self._user == 0.0:
            self.begin()
            return 0
        self.end()
        return NEVER

    def begin(self) -> None:
        # Microseconds, where os.times() has hundredths of a second.
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self._began = time.perf_counter()
        self._user, self._system = usage.ru_utime, usage.ru_stime

    def end(self) -> None:
        seconds = time.perf_counter() - self._began
        usage = resource.getrusage(resource.RUSAGE_SELF)
        user, system = usage.ru_utime - self._user, usage.ru_stime - self._system
        self.figures.update(
            rate=self.count / seconds,
            user_us=user / self.count * 1e6,
            system_us=system / self.count * 1e6,
            cpu_seconds=user + system,
            busy=(user + system) / seconds,
        )

    def share(self, parts: int) -> None:
        """Make the figures those of one of the parts that each message has had."""
        self.figures["rate"] *= parts
        for key in ("user_us", "system_us"):
            self.figures[key] /= parts


class Windows:
    """The CPU of work that comes in waves of ``size``, the first of which warms up.

    What happens between the last of a wave and the first of the next one does not count.
    """

    def __init__(self, size: int, waves: int) -> None:
        self._size = size
        self._left = size * (waves + 1)
        self._waves = waves
        self._user = self._system = self._seconds = 0.0

    def one(self) -> bool:
        """Note one; return whether it was the last of all."""
        at = self._left % self._size
        if self._left <= self._size * self._waves and at in (0, 1):
            usage = resource.getrusage(resource.RUSAGE_SELF)
            sign = 1 if at == 1 else -1
            self._user += sign * usage.ru_utime
            self._system += sign * usage.ru_stime
            self._seconds += sign * time.perf_counter()
        self._left -= 1
        return self._left == 0

    def figures(self) -> dict[str, Any]:
        # From the first of a wave to its last there is one less.
        count = (self._size - 1) * self._waves
        return {
            "rate": count / self._seconds,
            "user_us": self._user / count * 1e6,
            "system_us": self._system / count * 1e6,
            "cpu_seconds": self._user + self._system,
            "busy": (self._user + self._system) / self._seconds,
        }


def percentiles(name: str, seconds: list[float]) -> dict[str, float]:
    """Return p50, p99 and p99.9 in microseconds, each under a name that begins with this one."""
    values = sorted(seconds)
    parts = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    return {
        f"{name}{key}_us": values[min(int(len(values) * part), len(values) - 1)] * 1e6
        for key, part in parts.items()
    }
