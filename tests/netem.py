"""Two network namespaces, and between them a link that does to packets what bad networks do.

Each end is a thread in a namespace of its own: a socket that it makes stays there, whoever uses it
afterwards. The link is the two TUN devices, carried by the event loop. A namespace is gone with its
last descriptor, so that nothing is left of it, whatever becomes of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import functools
import os
import random
import socket
import struct
import sys
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

NEAR, FAR = "10.0.0.1", "10.0.0.2"
MTU = 1500
# So many packets are taken at a time, before others have their turn.
BATCH = 64

# linux/sched.h, linux/if_tun.h, linux/sockios.h, linux/if.h
CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFDSTADDR, SIOCSIFMTU = 0x8914, 0x8916, 0x8918, 0x8922
IFF_UP = 0x1
DEVICE = b"wan0"

# TCP waits 200 ms at least before it sends again; here a round trip takes less than one.
RTO_MIN = Path("/proc/sys/net/ipv4/tcp_rto_min_us")


@dataclass
class Conditions:
    """What becomes of packets in one direction; shares are 0 to 1."""

    loss: float = 0.0
    duplicates: float = 0.0
    # held back until others have passed
    reordering: float = 0.0
    # one bit is flipped; the checksum finds it
    corruption: float = 0.0
    # seconds; jitter comes on top, between nothing and so much
    delay: float = 0.0
    jitter: float = 0.0
    # bytes a second, and how many may wait for that
    rate: Optional[float] = None
    queue: int = 64 * 1024
    # nothing passes
    is_down: bool = False
    # becomes so after that many packets
    down_after: Optional[int] = None


class Luck:
    """What a connection has lost lately, in both directions.

    TCP waits twice as long after each loss until something is acknowledged: without a bound here
    there is none for how long a test takes.
    """

    # so many packets of a connection are lost at most, until so many others of it have passed
    MOST, BETWEEN = 3, 6

    def __init__(self) -> None:
        self._lost: Counter[frozenset[bytes]] = Counter()
        self._passed: Counter[frozenset[bytes]] = Counter()

    def _connection(self, packet: bytes) -> frozenset[bytes]:
        # (The ports, behind an IP head without options.)
        return frozenset((packet[20:22], packet[22:24]))

    def may_lose(self, packet: bytes) -> bool:
        connection = self._connection(packet)
        if self._lost[connection] == self.MOST:
            return False
        self._lost[connection] += 1
        self._passed[connection] = 0
        return True

    def passed(self, packet: bytes) -> None:
        connection = self._connection(packet)
        self._passed[connection] += 1
        if self._passed[connection] == self.BETWEEN:
            self._lost[connection] = 0


class Direction:
    """Carries packets from one device to the other."""

    # seconds for which a packet is held back: time for others, if there are any
    HELD = 0.003

    def __init__(
        self, source: int, sink: int, conditions: Conditions, luck: Luck, seed: str
    ) -> None:
        self.source, self.sink = source, sink
        self.conditions = conditions
        self.dice = random.Random(seed)
        # what happened, by its name in Conditions
        self.counts: Counter[str] = Counter()
        self.lost = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        self._free_at = 0.0
        self._luck = luck
        self._taken = self._newest = 0
        self._loop.add_reader(source, self._readable)

    def close(self) -> None:
        self._is_open = False
        self._loop.remove_reader(self.source)

    def _readable(self) -> None:
        for _ in range(BATCH):
            try:
                packet = os.read(self.source, MTU + 100)
            except BlockingIOError:
                return
            # (A new device also speaks IPv6, about itself.)
            if packet[0] >> 4 == 4:
                self._take(packet)

    def _lose(self, why: str) -> None:
        self.counts[why] += 1
        self.counts["lost"] += 1
        self.lost.set()

    def _take(self, packet: bytes) -> None:
        conditions, dice = self.conditions, self.dice
        if conditions.down_after is not None and self._taken >= conditions.down_after:
            conditions.is_down = True
        self._taken += 1
        if conditions.is_down:
            self._lose("is_down")
            return
        if dice.random() < conditions.loss and self._luck.may_lose(packet):
            self._lose("loss")
            return
        self._luck.passed(packet)
        wait = conditions.delay + dice.random() * conditions.jitter
        self.counts["delay"] += wait > 0
        if conditions.rate is not None:
            now = self._loop.time()
            begins = max(now, self._free_at)
            if (begins - now) * conditions.rate > conditions.queue:
                self._lose("queue")
                return
            self._free_at = begins + len(packet) / conditions.rate
            wait += self._free_at - now
            self.counts["rate"] += 1
        if dice.random() < conditions.corruption:
            at = dice.randrange(len(packet))
            packet = packet[:at] + bytes([packet[at] ^ 1 << dice.randrange(8)]) + packet[at + 1 :]
            self.counts["corruption"] += 1
        if dice.random() < conditions.duplicates:
            self._later(dice.random() * self.HELD, packet)
            self.counts["duplicates"] += 1
        if dice.random() < conditions.reordering:
            wait += self.HELD
        self._later(wait, packet)

    def _later(self, wait: float, packet: bytes) -> None:
        if wait > 0:
            self._loop.call_later(wait, self._pass, self._taken, packet)
        else:
            self._pass(self._taken, packet)

    def _pass(self, number: int, packet: bytes) -> None:
        if not self._is_open:
            return
        if self.conditions.is_down:
            self._lose("is_down")
            return
        self.counts["reordering"] += number < self._newest
        self._newest = max(number, self._newest)
        self.counts["passed"] += 1
        # What is no IP packet any more the device does not take.
        with contextlib.suppress(OSError):
            os.write(self.sink, packet)


class End:
    """A namespace with one device, and the thread that makes sockets there."""

    def __init__(self, address: str, peer: str) -> None:
        self.address, self.peer = address, peer
        self._thread = ThreadPoolExecutor(1)
        try:
            self.tun: int = self._thread.submit(self._enter).result()
        except BaseException:
            self._thread.shutdown()
            raise

    def _enter(self) -> int:
        import fcntl

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"unshare(CLONE_NEWNET): {os.strerror(number)}")
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", DEVICE, IFF_TUN | IFF_NO_PI))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                # (The route to the peer comes with its address.)
                for what, name in ((SIOCSIFADDR, self.address), (SIOCSIFDSTADDR, self.peer)):
                    address = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(name))
                    fcntl.ioctl(sock, what, struct.pack("16s16s8x", DEVICE, address))
                fcntl.ioctl(sock, SIOCSIFMTU, struct.pack("16si20x", DEVICE, MTU))
                fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH22x", DEVICE, IFF_UP))
            # Only for speed; not every kernel has it, not every container may write it.
            with contextlib.suppress(OSError):
                RTO_MIN.write_text("5000")
        except BaseException:
            os.close(tun)
            raise
        return tun

    def socket(self) -> socket.socket:
        """Make a TCP socket in the namespace."""
        sock = self._thread.submit(socket.socket).result()
        sock.setblocking(False)
        return sock

    def listening(self) -> socket.socket:
        """Make one that can be listened on."""
        sock = self.socket()
        sock.bind((self.address, 0))
        return sock

    def close(self) -> None:
        os.close(self.tun)
        self._thread.shutdown()


@functools.cache
def forbidden() -> Optional[str]:
    """Say why there can be no such network here; None where there can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    try:
        End(NEAR, FAR).close()
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.ENOENT, errno.ENODEV, errno.ENOSYS,
                           errno.EINVAL, errno.ENXIO, errno.EROFS):  # fmt: skip
            return f"network namespaces and TUN devices take root, and a kernel with both: {error}"
        raise
    return None


class Link:
    """Both directions: from the near end, a client's, to the far one, a server's, and back."""

    def __init__(self, there: Conditions, back: Conditions, seed: str) -> None:
        with contextlib.ExitStack() as stack:
            self.near = End(NEAR, FAR)
            stack.callback(self.near.close)
            self.far = End(FAR, NEAR)
            stack.callback(self.far.close)
            luck = Luck()
            self.directions = (
                Direction(self.near.tun, self.far.tun, there, luck, f"{seed} there"),
                Direction(self.far.tun, self.near.tun, back, luck, f"{seed} back"),
            )
            self._stack = stack.pop_all()

    @property
    def counts(self) -> Counter[str]:
        return self.directions[0].counts + self.directions[1].counts

    def set_down(self, is_down: bool) -> None:
        """Let nothing pass, in either direction; neither end is told. Or let all pass again."""
        for direction in self.directions:
            direction.conditions.is_down = is_down
            direction.conditions.down_after = None

    async def lost(self, direction: int, packets: int = 1) -> None:
        """Wait until so many more packets have been lost."""
        one = self.directions[direction]
        enough = one.counts["lost"] + packets
        while one.counts["lost"] < enough:
            one.lost.clear()
            await one.lost.wait()

    def close(self) -> None:
        for direction in self.directions:
            direction.close()
        self._stack.close()


@contextlib.asynccontextmanager
async def linked(
    there: Optional[Conditions] = None, back: Optional[Conditions] = None, seed: Any = 0
) -> AsyncIterator[Link]:
    """Make a link for a while."""
    link = Link(there or Conditions(), back or Conditions(), str(seed))
    try:
        yield link
    finally:
        link.close()
