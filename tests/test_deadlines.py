"""One timer for many who have the same time: who is late is told, in the order of coming."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from picows_c.deadlines import Deadlines


class FakeLoop:
    """A loop whose time and timers are the test's."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[Any] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Any) -> Any:
        timer = asyncio.TimerHandle(when, callback, (), self)  # type: ignore[arg-type]
        self.timers.append(timer)
        return timer

    def _timer_handle_cancelled(self, timer: Any) -> None:
        self.timers.remove(timer)

    def get_debug(self) -> bool:
        return False

    def go_to(self, now: float) -> None:
        """Let the timers ring that are due until then, each at its time."""
        while self.timers and min(timer.when() for timer in self.timers) <= now:
            timer = min(self.timers, key=lambda timer: timer.when())
            self.timers.remove(timer)
            self.now = timer.when()
            timer._callback()
        self.now = now


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


def test_whoever_came_first_is_due_first(loop):
    late: list[str] = []
    deadlines: Deadlines[str] = Deadlines(loop, 5.0, late.append)  # type: ignore[arg-type]
    deadlines.add("a")
    loop.go_to(102.0)
    deadlines.add("b")
    deadlines.add("c")
    assert len(loop.timers) == 1
    loop.go_to(104.9)
    assert late == []
    loop.go_to(105.0)
    assert late == ["a"]
    loop.go_to(106.9)
    assert late == ["a"]
    loop.go_to(107.0)
    assert late == ["a", "b", "c"]
    assert loop.timers == []


def test_who_has_left_is_not_late(loop):
    late: list[str] = []
    deadlines: Deadlines[str] = Deadlines(loop, 5.0, late.append)  # type: ignore[arg-type]
    for who in ("a", "b"):
        deadlines.add(who)
        loop.go_to(loop.now + 1.0)
    deadlines.discard("a")
    deadlines.discard("a")
    # The timer of the one that has left serves the other.
    assert len(loop.timers) == 1
    loop.go_to(105.9)
    assert late == []
    loop.go_to(106.0)
    assert late == ["b"]
    assert loop.timers == []


def test_where_nobody_is_there_is_no_timer(loop):
    deadlines: Deadlines[str] = Deadlines(loop, 5.0, pytest.fail)  # type: ignore[arg-type]
    deadlines.discard("nobody")
    deadlines.add("a")
    deadlines.add("b")
    deadlines.discard("a")
    assert len(loop.timers) == 1
    deadlines.discard("b")
    assert loop.timers == []
    deadlines.add("c")
    assert len(loop.timers) == 1
    deadlines.discard("c")
    loop.go_to(200.0)


def test_who_is_late_may_make_others_come_and_leave(loop):
    late: list[str] = []

    def tell(who: str) -> None:
        late.append(who)
        if who == "a":
            deadlines.discard("b")
            deadlines.add("d")

    deadlines: Deadlines[str] = Deadlines(loop, 5.0, tell)  # type: ignore[arg-type]
    for who in ("a", "b", "c"):
        deadlines.add(who)
    loop.go_to(105.0)
    assert late == ["a", "c"]
    assert len(loop.timers) == 1
    loop.go_to(110.0)
    assert late == ["a", "c", "d"]


def test_an_exception_leaves_the_others_their_timer(loop):
    late: list[str] = []

    def tell(who: str) -> None:
        if who == "a":
            raise KeyboardInterrupt
        late.append(who)

    deadlines: Deadlines[str] = Deadlines(loop, 5.0, tell)  # type: ignore[arg-type]
    deadlines.add("a")
    deadlines.add("b")
    with pytest.raises(KeyboardInterrupt):
        loop.go_to(105.0)
    loop.go_to(105.0)
    assert late == ["b"]
