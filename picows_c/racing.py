"""Which of a host's addresses is connected to: one after the other, or overlapping (RFC 8305)."""

from __future__ import annotations

import asyncio
import functools
import itertools
import socket
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from typing import Any, Callable, Optional

# RFC 8305, 5: "The recommended value for a default delay is 250 milliseconds."
DEFAULT_DELAY = 0.25

# What getaddrinfo() says of one address.
AddressInfo = tuple[int, int, int, str, Any]
_Attempt = Callable[[], Coroutine[Any, Any, Optional[socket.socket]]]


async def connect_first(
    loop: asyncio.AbstractEventLoop,
    addresses: Sequence[AddressInfo],
    make_socket: Callable[[AddressInfo], Awaitable[Optional[socket.socket]]],
    delay: Optional[float],
    interleave: Optional[int],
) -> socket.socket:
    """Return a socket that is connected to one of the addresses; all others are closed.

    make_socket: makes a non-blocking socket for an address; None where that address is left out.
        A socket that is connected already is taken as it is.
    delay: seconds after which the next attempt begins beside those that last; None to begin it only
        when the one before has failed.
    interleave: how many addresses of the first family stand before one of the next; 0 for the order
        of the resolver, None for 1 where attempts may overlap.

    Raises OSError when all have failed, of the kind that all have in common.
    """
    if interleave is None:
        interleave = 0 if delay is None else 1
    if interleave:
        addresses = _interleaved(addresses, interleave)
    errors: list[Exception] = []
    attempts = [functools.partial(_attempt, loop, info, make_socket, errors) for info in addresses]
    try:
        if len(attempts) == 1 or delay is None:
            sock = await _one_by_one(attempts)
        else:
            sock = await _overlapping(loop, attempts, delay)
        if sock is None:
            raise _common(errors)
        return sock
    finally:
        errors.clear()  # their tracebacks have this frame


def _interleaved(addresses: Sequence[AddressInfo], count: int) -> list[AddressInfo]:
    """Mix the families (RFC 8305, 4), ``count`` addresses of the first one in front."""
    families: dict[int, list[AddressInfo]] = {}
    for info in addresses:
        families.setdefault(info[0], []).append(info)
    first, *others = families.values()
    rows = itertools.zip_longest(first[count - 1 :], *others)
    mixed = [info for row in rows for info in row if info is not None]
    return first[: count - 1] + mixed


async def _attempt(
    loop: asyncio.AbstractEventLoop,
    info: AddressInfo,
    make_socket: Callable[[AddressInfo], Awaitable[Optional[socket.socket]]],
    errors: list[Exception],
) -> Optional[socket.socket]:
    """Connect to one address; None, and an error more, where that fails."""
    sock = None
    try:
        sock = await make_socket(info)
        if sock is not None and not is_connected(sock):
            await loop.sock_connect(sock, info[4])
        return sock
    except BaseException as error:
        if sock is not None:
            sock.close()
        if not isinstance(error, OSError):
            raise
        errors.append(error)
        return None


async def _one_by_one(attempts: Iterable[_Attempt]) -> Optional[socket.socket]:
    for attempt in attempts:
        sock = await attempt()
        if sock is not None:
            return sock
    return None


async def _overlapping(
    loop: asyncio.AbstractEventLoop, attempts: Iterable[_Attempt], delay: float
) -> Optional[socket.socket]:
    """Begin an attempt whenever one has failed, or after the delay; the first socket wins."""
    tasks: list[asyncio.Task[Optional[socket.socket]]] = []
    kept = None
    try:
        winner = await _first(loop, iter(attempts), delay, tasks)
        lasting = [task for task in tasks if not task.done()]
        for task in lasting:
            task.cancel()
        if lasting:
            await asyncio.wait(lasting)
        kept = winner
        return None if winner is None else winner.result()
    finally:
        for task in tasks:
            if task is not kept:
                task.cancel()
                # It may have been done in the same turn, or be about to.
                task.add_done_callback(_close)


async def _first(
    loop: asyncio.AbstractEventLoop,
    attempts: Iterable[_Attempt],
    delay: float,
    tasks: list[asyncio.Task[Optional[socket.socket]]],
) -> Optional[asyncio.Task[Optional[socket.socket]]]:
    """Return the first task that has a socket, None where all have failed."""
    waiting = list(attempts)
    lasting: set[asyncio.Task[Optional[socket.socket]]] = set()
    while waiting or lasting:
        if waiting:
            task = loop.create_task(waiting.pop(0)())
            tasks.append(task)
            lasting.add(task)
        done, lasting = await asyncio.wait(
            lasting,
            timeout=delay if waiting else None,
            return_when=asyncio.FIRST_COMPLETED,
        )
        for task in done:
            if task.result() is not None:
                return task
    return None


def _close(task: asyncio.Task[Optional[socket.socket]]) -> None:
    """Close what an attempt has connected that nobody needs any more."""
    if task.cancelled() or task.exception() is not None:
        return
    sock = task.result()
    if sock is not None:
        sock.close()


def _common(errors: Sequence[Exception]) -> Exception:
    """Make one error of all: of their kind where it is one, with all of their texts."""
    texts = list(dict.fromkeys(map(str, errors)))
    if not errors:
        return OSError("there is no address to connect to")
    if len(texts) == 1:
        return errors[0]
    numbers = {error.errno for error in errors if isinstance(error, OSError)}
    text = f"all addresses failed: {'; '.join(texts)}"
    number = numbers.pop() if len(numbers) == 1 else None
    # OSError makes its subclass of the number.
    return OSError(text) if number is None else OSError(number, text)


def is_connected(sock: socket.socket) -> bool:
    """Return whether the socket has a peer."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True
