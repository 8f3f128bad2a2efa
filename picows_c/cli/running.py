"""The event loop of a command, and how Ctrl-C ends it."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.util
import signal
import threading
from collections.abc import Coroutine
from typing import Any, Callable, TypeVar

from .problems import INTERRUPTED, USAGE, Problem

T = TypeVar("T")

LOOPS = ("auto", "asyncio", "uvloop")


def add_loop_option(parser: argparse.ArgumentParser) -> None:
    """Let the user choose the event loop."""
    parser.add_argument(
        "--loop",
        choices=LOOPS,
        default="auto",
        help="the event loop; auto is uvloop where it is installed",
    )


def run(main: Callable[[asyncio.Event], Coroutine[Any, Any, int]], loop: str) -> int:
    """Run ``main(stop)`` on an event loop and return what it returns.

    ``stop`` is set by the first SIGINT or SIGTERM; the second one raises KeyboardInterrupt.
    """
    runner: Callable[[Coroutine[Any, Any, int]], int] = asyncio.run
    if loop != "asyncio" and importlib.util.find_spec("uvloop") is not None:
        runner = importlib.import_module("uvloop").run
    elif loop == "uvloop":
        raise Problem("uvloop is not installed: pip install picows_c[uvloop]", USAGE)
    return runner(_stoppable(main))


async def _stoppable(main: Callable[[asyncio.Event], Coroutine[Any, Any, int]]) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    seen = False

    # (loop.add_signal_handler() does not exist on Windows.)
    def interrupted(signum: int, frame: object) -> None:
        nonlocal seen
        if seen:
            raise KeyboardInterrupt
        seen = True
        loop.call_soon_threadsafe(stop.set)

    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, interrupted)
    try:
        return await main(stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def unless_stopped(work: Coroutine[Any, Any, T], stop: asyncio.Event) -> T:
    """Return what ``work`` returns; cancel it and raise Problem where ``stop`` comes first."""
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Problem("interrupted", INTERRUPTED)
    finally:
        for each in (task, stopped):
            each.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)
