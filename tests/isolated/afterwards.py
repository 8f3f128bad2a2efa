"""Every public method and property, called at a time when nothing of it can work any more."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "send": (2, b"too late"),
    "send_reuse_external_bytearray": (2, bytearray(20), 14),
    "measure_roundtrip_time": (1,),
}
# What may be said: the loop or the connection is gone, or this is another thread.
ALLOWED = (RuntimeError, OSError, ValueError, asyncio.CancelledError)


def finish(awaitable: Any) -> None:
    """Step a coroutine by hand, where no loop can."""
    try:
        awaitable.send(None)
    except StopIteration:
        pass
    finally:
        awaitable.close()


def use_everything(*things: Any) -> int:
    """Ask and call all that is public; nothing but ALLOWED may be raised. Returns how much."""
    count = 0
    for thing in things:
        repr(thing), hash(thing), dir(thing)
        for name in dir(thing):
            # To wait for connections means to wait.
            if name.startswith("_") or name in ("serve_forever", "on_ws_error"):
                continue
            count += 1
            try:
                value = getattr(thing, name)
                if callable(value):
                    value = value(*ARGUMENTS.get(name, ()))
                if inspect.iscoroutine(value):
                    finish(value)
            except ALLOWED:
                pass
            except TypeError as error:
                # A method with arguments of its own: of listeners and enums.
                if "argument" not in str(error):
                    raise
    return count
