"""What others may hand us, and ours calls: a transport with odd answers, a loop that calls back.

A transport of a custom loop answers with anything, and sends from inside of its answers. A loop
is asked to watch a descriptor: its add_reader() makes connections, ends some, has the poller take
its turn, or closes it. What must hold: an answer that is no size is an error that says so; each
connection that was made is counted, and hears of its end once.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import random
import socket
from typing import Any, Callable

from wireparse import must

import picows_c
from picows_c import WSMsgType
from picows_c.poller import Poller, has_poller
from picows_c.stream import Stream

SIZES = [0, 0, 1, 5, 1 << 20, -1, -1, -7, -(1 << 40), 1 << 70, "x", None]
# What an odd answer comes to.
ERRORS = (ValueError, TypeError, OverflowError, ConnectionResetError)
# So many connections a poller: more than its table begins with, twice over.
MOST = 60


class Owner:
    """What a WSTransport tells of itself."""

    def _trace(self, *args: object) -> None:
        pass

    def _overflowed(self) -> None:
        pass

    def _close_sent(self, *args: object) -> None:
        pass


class OddTransport(asyncio.Transport):
    """A transport of a custom loop."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng
        self.calls: Callable[[], None] = int
        self.answers: list[object] = []
        self.depth = 0

    def _inside(self) -> None:
        if self.depth < 2 and self.rng.random() < 0.2:
            self.depth += 1
            try:
                self.calls()
            finally:
                self.depth -= 1

    def get_write_buffer_size(self) -> Any:
        self._inside()
        self.answers.append(self.rng.choice(SIZES))
        return self.answers[-1]

    def is_closing(self) -> bool:
        self._inside()
        return self.rng.random() < 0.2

    def write(self, data: Any) -> None:
        self._inside()

    def abort(self) -> None:
        self._inside()


def call_odd_transport(rng: random.Random) -> None:
    """Make calls on a WSTransport over an OddTransport."""
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        odd = OddTransport(rng)
        ours = picows_c.WSTransport(
            Owner(),  # type: ignore[arg-type]
            odd,
            rng.choice([-1, near.fileno()]),
            rng.random() < 0.5,
            True,
            rng.random() < 0.5,
            rng.choice([0, 100, 1 << 20]),
            rng.random() < 0.5,
            asyncio.get_running_loop(),
        )

        def asked() -> None:
            odd.answers.clear()
            try:
                size = ours.write_buffer_size
            except ValueError as error:
                must("get_write_buffer_size() of the transport" in str(error), f"{error!r}")
            else:
                must(size >= 0, f"write_buffer_size is {size}")

        def corked() -> None:
            with ours.cork():
                ours.send(WSMsgType.BINARY, b"x" * rng.choice([1, 70_000]))
                repr(ours.stats)

        calls: list[Callable[[], object]] = [
            asked,
            corked,
            lambda: ours.stats,
            lambda: ours.send(WSMsgType.BINARY, b"x" * rng.choice([0, 1, 9000, 70_000])),
            lambda: ours.send_ping(b"x"),
            lambda: ours.send_close(1000),
        ]

        def call() -> None:
            weights = [3, 3, 3, 6, 2, 1]
            with contextlib.suppress(ERRORS):
                rng.choices(calls, weights)[0]()

        odd.calls = call
        for _ in range(rng.randrange(1, 12)):
            call()


class Pinging(asyncio.Protocol):
    """The protocol of a Stream: it goes on for as long as it has to."""

    def __init__(self, hostile: HostileLoop) -> None:
        self.hostile = hostile
        self.far: Any = None
        self.left = 40
        self.lost = 0

    def data_received(self, data: bytes) -> None:
        self.left -= 1
        if self.left > 0:
            with contextlib.suppress(OSError):
                self.far.send(b"again")
        if self.hostile.rng.random() < 0.02:
            self.hostile.act()

    def connection_lost(self, exc: object) -> None:
        self.lost += 1


class HostileLoop:
    """The running loop, with an add_reader() that does something else first."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.real = asyncio.get_running_loop()
        self.poller = Poller(self)  # type: ignore[arg-type]
        self.made: list[tuple[Stream, Pinging]] = []
        self.depth = 0
        # Whether the poller was closed, and whether the loop has its descriptor.
        self.is_ended = self.is_watching = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def add_reader(self, fd: int, callback: Any, *args: Any) -> None:
        is_poller = fd == self.poller.fileno()
        if self.rng.random() < 0.05:
            raise OSError("add_reader() does not want to")
        while self.rng.random() < 0.6:
            self.act()
        # An open descriptor is closed behind the loop's back never: uvloop ends the process.
        if is_poller and self.rng.random() < 0.1 and not self.is_watching:
            self.is_ended = True
            self.poller._forked()
        if self.is_ended:
            return
        self.is_watching |= is_poller
        self.real.add_reader(fd, callback, *args)

    def act(self) -> None:
        if self.depth > 2 or self.is_ended:
            return
        self.depth += 1
        try:
            kind = self.rng.randrange(5)
            if kind <= 1:
                for _ in range(self.rng.choice([1, 2, 20, 40])):
                    self.add()
            elif kind == 2 and self.made:
                self.rng.choice(self.made)[0].abort()
            elif kind == 3 and self.made:
                self.rng.choice(self.made)[0].write(b"x" * self.rng.choice([1, 1 << 20]))
            elif self.poller.fileno() >= 0:
                self.poller._turn()
        finally:
            self.depth -= 1

    def add(self) -> None:
        """Make a connection, unless it is refused."""
        if len(self.made) >= MOST or self.is_ended:
            return
        protocol = Pinging(self)
        near, protocol.far = socket.socketpair()
        near.setblocking(False)
        protocol.far.setblocking(False)
        fd = near.detach()
        try:
            loop: Any = self
            stream = Stream(self.poller, loop, fd, protocol, contextvars.copy_context(), {})
        except (OSError, RuntimeError) as error:
            must("add_reader" in str(error) or self.is_ended, f"{error!r}")
            self.poller._drop(fd)
            protocol.far.close()
            return
        must(not self.is_ended, "a closed poller took a connection")
        self.made.append((stream, protocol))
        stream._start()

    async def run(self) -> None:
        """Make connections, let them talk, end them."""
        for _ in range(self.rng.choice([1, 1, 3, 10])):
            self.add()
        for _ in range(self.rng.randrange(4)):
            if self.made:
                # One that is alone long enough is watched by the loop itself.
                self.rng.choice(self.made)[1].data_received(b"")
            for _ in range(self.rng.choice([1, 40])):
                await asyncio.sleep(0)
            self.act()
        self.depth = 9  # from here on nothing else is done
        for stream, protocol in self.made:
            stream.abort()
            protocol.far.close()
        for _ in range(5):
            await asyncio.sleep(0)
        must(self.poller.count == 0, f"the poller has {self.poller.count} sockets left")
        lost = [protocol.lost for _, protocol in self.made]
        must(self.is_ended or lost == [1] * len(lost), f"connection_lost() was called: {lost}")


async def run(rng: random.Random) -> None:
    """Be both, some times."""
    for _ in range(10):
        call_odd_transport(rng)
    if has_poller():
        for _ in range(5):
            await HostileLoop(rng).run()
