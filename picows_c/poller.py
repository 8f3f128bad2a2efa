"""One poller a loop: what the C side cannot say to the event loop itself."""

from __future__ import annotations

import asyncio
import os
import selectors
import weakref
from typing import Optional

from . import _core

# Found weakly from both sides: neither keeps the other. (uvloop uses the ids of its loops again.)
_pollers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[Poller]] = (
    weakref.WeakKeyDictionary()
)


class Poller(_core.Poller):
    """All sockets of one loop behind one descriptor, which the loop watches.

    One that is always the one with input is watched by the loop itself meanwhile.

    The loop keeps the poller, through a PollerHandle, for as long as there are sockets.
    """

    __slots__ = ("_is_watched", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = weakref.ref(loop)
        self._is_watched = False
        self._nests = isinstance(loop, asyncio.BaseEventLoop)

    def _open_loop(self) -> Optional[asyncio.AbstractEventLoop]:
        loop = self._loop()
        return None if loop is None or loop.is_closed() else loop

    def _first(self) -> None:
        """Have the loop watch us: there is a socket, and none was; called from C."""
        loop = self._open_loop()
        if loop is None:
            raise RuntimeError("Event loop is closed")
        if not self._is_watched:
            # (A loop that makes connections in its add_reader() comes here again: a second handle
            # would take the place of the first, and end them.)
            self._is_watched = True
            try:
                loop.add_reader(self.fileno(), _core.PollerHandle(self))
            except BaseException:
                self._is_watched = False
                raise

    def _last(self) -> None:
        """Note that the last socket has gone; called from C.

        Often the next one comes at once. And the descriptor must leave the loop one iteration
        before it is closed: uvloop aborts the process otherwise.
        """
        loop = self._open_loop()
        if loop is not None:
            loop.call_soon(self._retire)

    def _join(self, fd: int) -> None:
        """Have the loop itself watch a socket for input, called from C."""
        loop = self._open_loop()
        if loop is None:
            raise RuntimeError("Event loop is closed")
        # select() takes no descriptor above 1023, and says so in the midst of an iteration.
        if isinstance(getattr(loop, "_selector", None), selectors.SelectSelector):
            raise NotImplementedError("a loop that waits with select()")
        loop.add_reader(fd, self._turn_direct)

    def _leave(self, fd: int) -> None:
        """End that, where it has begun, before the descriptor is closed; called from C."""
        loop = self._open_loop()
        if loop is not None:
            loop.remove_reader(fd)

    def _retire(self) -> None:
        loop, fd = self._loop(), self.fileno()
        # (Closed meanwhile, it has no descriptor any more.)
        if self.count == 0 and self._is_watched and loop is not None and fd >= 0:
            self._is_watched = False
            loop.remove_reader(fd)
            loop.call_soon(self.fileno)  # holds us until the next iteration


def poller_of(loop: asyncio.AbstractEventLoop) -> Optional[Poller]:
    """Return the loop's poller, None where there cannot be one."""
    # Windows's proactor loop, and some foreign ones, watch no descriptors.
    if not has_poller() or type(loop).add_reader is asyncio.AbstractEventLoop.add_reader:
        return None
    known = _pollers.get(loop)
    poller = None if known is None else known()
    if poller is None or poller.fileno() < 0:
        poller = Poller(loop)
        _pollers[loop] = weakref.ref(poller)
    return poller


def choose_way(transport: str, loop: asyncio.AbstractEventLoop) -> Optional[Poller]:
    """Return the poller that ``transport=`` asks for, None for the loop's own transports."""
    if transport not in ("auto", "loop"):
        raise ValueError(f"transport must be 'auto' or 'loop', not {transport!r}")
    return poller_of(loop) if transport == "auto" else None


def has_poller() -> bool:
    """Return whether ``transport="auto"`` means the poller here.

    On macOS and the BSDs it is tried by the workflows; PICOWS_C_POLLER=kqueue turns it on.
    """
    if _core.POLLER == "epoll":
        return True
    return _core.POLLER is not None and os.environ.get("PICOWS_C_POLLER") == _core.POLLER


def _forked() -> None:
    """Leave kernel objects and connections to the parent: this is a forked child."""
    for known in list(_pollers.values()):
        poller = known()
        if poller is not None:
            poller._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
