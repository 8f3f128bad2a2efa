"""How fast a server echoes, seen from here."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections import deque
from typing import Any, Optional

from picows_c import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from . import connecting
from .problems import FAILED, INTERRUPTED, USAGE, Problem, end_of

DESCRIPTION = """\
Send messages to a server that echoes, and time the answers. Each connection keeps so many messages
in flight; the time of a message includes its wait for those before it. CPU is that of this process:
with many connections it may be this side that is measured.
"""
# Answers that are due at the end are waited for so long.
PATIENCE = 5.0
# How many connections are opened at once.
OPENING = 50


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark's options."""
    connecting.add_options(parser)
    parser.add_argument("-c", "--connections", metavar="N", type=int, default=1, help="(1)")
    parser.add_argument("--size", metavar="BYTES", type=int, default=256, help="of a message (256)")
    parser.add_argument("--text", action="store_true", help="send TEXT, not BINARY")
    parser.add_argument(
        "--in-flight", metavar="N", type=int, default=1, help="messages of each connection (1)"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--seconds", metavar="S", type=float, default=5.0, help="how long (5)")
    length.add_argument("--count", metavar="N", type=int, help="how many messages, over all")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress")


# ---- figures ----


class Latencies:
    """How often each latency occurred, to within one part in 128, in little memory."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.total = 0
        self.max = 0

    def add(self, nanoseconds: int) -> None:
        """Count one."""
        # Eight significant bits; what they leave out is in the upper ones.
        shift = max(0, nanoseconds.bit_length() - 8)
        key = (shift << 8) | (nanoseconds >> shift)
        self._counts[key] = self._counts.get(key, 0) + 1
        self.count += 1
        self.total += nanoseconds
        self.max = max(self.max, nanoseconds)

    def percentile(self, percent: float) -> int:
        """Return the latency that so many percent do not exceed, in nanoseconds."""
        due = self.count * percent / 100
        for key in sorted(self._counts, key=_upper_end):
            due -= self._counts[key]
            if due <= 0:
                return min(_upper_end(key), self.max)
        return self.max


def _upper_end(key: int) -> int:
    shift = key >> 8
    return (((key & 0xFF) + 1) << shift) - 1


class Run:
    """What all connections have in common."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.kind = WSMsgType.TEXT if options.text else WSMsgType.BINARY
        self.payload = bytes(ord("a") + i % 26 for i in range(options.size))
        self.in_flight = options.in_flight
        self.left: Optional[int] = options.count
        self.is_over = False
        self.latencies = Latencies()
        self.connections: list[Connection] = []
        self.changed = asyncio.Event()
        self.problem: Optional[Problem] = None

    def take(self) -> bool:
        """Return whether one more message is to be sent, and count it."""
        if self.left is None:
            return not self.is_over
        if self.left == 0 or self.is_over:
            return False
        self.left -= 1
        return True

    def fail(self, text: str) -> None:
        """End it all: the figures would mean nothing."""
        if self.problem is None:
            self.problem = Problem(text)
        self.is_over = True
        self.changed.set()

    @property
    def due(self) -> int:
        """How many answers are still to come."""
        return sum(len(connection.sent) for connection in self.connections)


class Connection(WSListener):
    """Sends the next message for each one that came back."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.sent: deque[int] = deque()
        self.is_closing = False
        run.connections.append(self)

    def start(self, transport: WSTransport) -> None:
        """Put the first messages on their way."""
        run = self._run
        with transport.cork():
            for _ in range(run.in_flight):
                if run.take():
                    self.sent.append(time.perf_counter_ns())
                    transport.send(run.kind, run.payload)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take the time of an echo and send the next message."""
        now = time.perf_counter_ns()
        run = self._run
        if frame.msg_type == WSMsgType.CLOSE or self.is_closing:
            return
        if not self.sent or frame.msg_type != run.kind or bytes(frame) != run.payload:
            run.fail("the server does not echo: it sent something else")
            return
        run.latencies.add(now - self.sent.popleft())
        if run.take():
            self.sent.append(time.perf_counter_ns())
            transport.send(run.kind, run.payload)
        elif not self.sent:
            run.changed.set()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Fail where nobody asked for that."""
        if not self.is_closing:
            text, _ = end_of(transport.disconnect_cause)
            self._run.fail(f"a connection ended before its time: {text}")


# ---- the course of it ----


async def main(options: argparse.Namespace, stop: asyncio.Event) -> int:
    """Measure and print. Returns the exit code."""
    for name in ("connections", "in_flight", "seconds"):
        if not getattr(options, name) > 0:
            raise Problem(f"--{name.replace('_', '-')} must be above 0", USAGE)
    if options.size < 0 or (options.count is not None and options.count <= 0):
        raise Problem("--size and --count cannot be negative, or 0 messages", USAGE)
    run = Run(options)
    limit = max(options.size, 1 << 20)
    more = {"assemble_messages": True, "max_frame_size": limit, "max_message_size": limit}
    pairs: list[tuple[WSTransport, Any]] = []
    while len(pairs) < options.connections:
        batch = min(OPENING, options.connections - len(pairs))
        opening = (
            connecting.connect(lambda: Connection(run), options, stop, **more) for _ in range(batch)
        )
        pairs += await asyncio.gather(*opening)
    began, cpu = time.perf_counter(), _cpu()
    for transport, connection in pairs:
        connection.start(transport)
    await _until_over(run, options, stop, began)
    elapsed = time.perf_counter() - began
    used = [now - before for now, before in zip(_cpu(), cpu)]
    for transport, connection in pairs:
        connection.is_closing = True
        transport.send_close(WSCloseCode.OK)
    await asyncio.gather(*(_gone(transport) for transport, _ in pairs))
    if run.problem is not None:
        raise run.problem
    figures = _figures(run, options, elapsed, used)
    print(json.dumps(figures) if options.json else _report(figures), flush=True)
    if stop.is_set():
        return INTERRUPTED
    return 0 if run.latencies.count else FAILED


async def _gone(transport: WSTransport) -> None:
    try:
        await asyncio.wait_for(transport.wait_disconnected(), PATIENCE)
    except Exception:
        transport.disconnect(False)


async def _until_over(
    run: Run, options: argparse.Namespace, stop: asyncio.Event, began: float
) -> None:
    """Return when time is over, all was sent and answered, something failed, or it is stopped."""
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(stop.wait())]
    tasks[0].add_done_callback(lambda _: run.changed.set())
    if not options.quiet:
        tasks.append(asyncio.ensure_future(_show_progress(run, began)))
    end = None
    if options.count is None:
        end = loop.call_later(options.seconds, run.changed.set)
    try:
        # With --count a connection that has nothing left wakes us; others may have.
        while not (stop.is_set() or run.problem):
            await run.changed.wait()
            run.changed.clear()
            if options.count is None or not (run.left or run.due):
                break
        run.is_over = True
        deadline = time.monotonic() + PATIENCE
        while run.due and not run.problem and (left := deadline - time.monotonic()) > 0:
            try:
                await asyncio.wait_for(run.changed.wait(), left)
            except asyncio.TimeoutError:
                break
            run.changed.clear()
    finally:
        if end is not None:
            end.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if run.due and not run.problem:
        run.fail(f"{run.due} messages were not answered within {PATIENCE:.0f} s")


async def _show_progress(run: Run, began: float) -> None:
    before = 0
    while True:
        await asyncio.sleep(1)
        now, seconds = run.latencies.count, time.perf_counter() - began
        print(f"{seconds:6.0f} s  {now - before:>12,} messages", file=sys.stderr, flush=True)
        before = now


def _cpu() -> tuple[float, float]:
    times = os.times()
    return times.user, times.system


def _figures(
    run: Run, options: argparse.Namespace, elapsed: float, used: list[float]
) -> dict[str, Any]:
    latencies = run.latencies
    count = latencies.count
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    figures: dict[str, Any] = {
        "connections": options.connections,
        "in_flight": options.in_flight,
        "size": options.size,
        "kind": run.kind.name,
        "loop": loop,
        "seconds": elapsed,
        "messages": count,
        "messages_per_second": count / elapsed,
        "bytes_per_second": count * options.size / elapsed,
        "cpu_user_seconds": used[0],
        "cpu_system_seconds": used[1],
    }
    if count:
        figures["latency_us"] = {
            "mean": latencies.total / count / 1e3,
            **{f"p{p:g}": latencies.percentile(p) / 1e3 for p in (50, 90, 99, 99.9)},
            "max": latencies.max / 1e3,
        }
    return figures


def _report(figures: dict[str, Any]) -> str:
    user, system = figures["cpu_user_seconds"], figures["cpu_system_seconds"]
    seconds, count = figures["seconds"], figures["messages"]
    lines = [
        f"connections: {figures['connections']}, in flight on each: {figures['in_flight']}; "
        f"{figures['size']:,} bytes {figures['kind']}, {figures['loop']}",
        f"messages  {count:,} in {seconds:.2f} s: {figures['messages_per_second']:,.0f} a second, "
        f"{figures['bytes_per_second'] / 1e6:,.1f} MB/s each way",
    ]
    if count:
        shown = (f"{name} {value:,.1f}" for name, value in figures["latency_us"].items())
        lines.append(f"latency   {', '.join(shown)} us")
        lines.append(
            f"CPU       {100 * (user + system) / seconds:.0f} % here: "
            f"{user / count * 1e6:.2f} us user, {system / count * 1e6:.2f} us system a message"
        )
    return "\n".join(lines)
