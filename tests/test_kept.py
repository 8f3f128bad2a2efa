"""Frames and views that are kept: past the callback, the connection, the loop."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from conftest import new_loop, run_on
from helpers import Recorder
from raw import BINARY, ROLES, TEXT, against, pattern, soon

import picows_c
from picows_c import WSListener, WSMsgType, ws_connect, ws_create_server

# Around what is kept in the frame itself (128), around small read blocks, and larger ones.
SIZES = [0, 1, 2, 125, 126, 127, 128, 129, 130, 255, 256, 257, 400, 498, 500, 505, 511, 512, 513]
SIZES += [600, 1000, 1023, 1024, 1025, 3000, 65535, 65536, 65537, 200_000]


class Keeper(Recorder):
    """Takes from each frame what can be taken, and looks at none of it until later."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = []

    def on_ws_frame(self, transport, frame):
        n = len(self.kept)
        view = frame.get_payload_as_memoryview()
        things = [
            frame,
            view,
            view[1:-1],
            memoryview(frame)[::2],
            memoryview(frame).toreadonly().cast("b"),
        ]
        # Not always the frame itself: one thing alone must hold the bytes.
        self.kept.append((n, frame.payload_size, things[n % len(things)], n % len(things)))
        super().on_ws_frame(transport, frame)
        self.frames.get_nowait()
        if self.wanted == len(self.kept):
            self.complete.set()

    def want(self, count: int) -> None:
        self.wanted = count
        self.complete = asyncio.Event()


def check(kept) -> None:
    assert kept
    for n, size, thing, kind in kept:
        expected = pattern(size, n)
        if kind == 2:
            expected = expected[1:-1]
        elif kind == 3:
            expected = expected[::2]
        assert bytes(thing) == expected, f"message {n} of {size} bytes, kept as {kind}"


# ---- past the callback ----


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("block", [256, 512, 4096, 65536, 65664])
@pytest.mark.parametrize("burst", [False, True], ids=["one per read", "bursts"])
async def test_kept_past_everything(net, role, block, burst):
    """All sizes, three times over, so that blocks would be used again."""
    sizes = SIZES * 3
    listener = Keeper()
    listener.want(len(sizes))
    async with against(net, role, listener, read_buffer_init_size=block) as peer:
        frames = [peer.frame(BINARY, pattern(size, n)) for n, size in enumerate(sizes)]
        if burst:
            peer.write(*frames)
        else:
            for i, frame in enumerate(frames):
                peer.write(frame)
                while len(listener.kept) <= i:
                    await asyncio.sleep(0)
        await soon(listener.complete.wait())
        check(listener.kept)
    gc.collect()
    check(listener.kept)


def test_kept_past_the_loop(loop_kind):
    listener = Keeper()

    async def main() -> None:
        server = await ws_create_server(lambda request: Burst(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        listener.want(len(SIZES))
        transport, _ = await ws_connect(
            lambda: listener, f"ws://127.0.0.1:{port}/", read_buffer_init_size=512
        )
        await soon(listener.complete.wait())
        transport.disconnect()
        await soon(transport.wait_disconnected())
        server.close()
        await server.wait_closed()

    class Burst(WSListener):
        def on_ws_connected(self, transport):
            for n, size in enumerate(SIZES):
                transport.send(WSMsgType.BINARY, pattern(size, n))

    run_on(loop_kind, main())
    listener.transport = None
    gc.collect()
    check(listener.kept)


async def test_numpy_arrays(net, need):
    need("numpy", importlib.util.find_spec("numpy"))
    import numpy as np

    class Arrays(Keeper):
        def on_ws_frame(self, transport, frame):
            array = np.frombuffer(frame.get_payload_as_memoryview(), dtype=np.uint8)
            assert not array.flags.writeable
            whole = np.frombuffer(frame, dtype=np.uint8)
            self.kept.append((len(self.kept), frame.payload_size, [array, whole[1:]], 0))
            if len(self.kept) == self.wanted:
                self.complete.set()

    sizes = [size for size in SIZES if size > 0] * 2
    listener = Arrays()
    listener.want(len(sizes))
    async with against(net, "client", listener, read_buffer_init_size=512) as peer:
        peer.write(*(peer.frame(BINARY, pattern(size, n)) for n, size in enumerate(sizes)))
        await soon(listener.complete.wait())
    gc.collect()
    for n, size, (array, rest), _ in listener.kept:
        assert array.tobytes() == pattern(size, n)
        assert rest.tobytes() == pattern(size, n)[1:]


@pytest.mark.parametrize("role", ROLES)
async def test_freed_on_another_thread(plain, role):
    """While the connection goes on receiving."""

    class Handing(Keeper):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            # The thread has the only reference.
            queue.put(self.kept[-1])
            self.kept[-1] = None

    def free() -> int:
        freed = 0
        for entry in iter(queue.get, None):
            check([entry])
            freed += 1
            del entry
        return freed

    count = 3000
    queue: SimpleQueue[Any] = SimpleQueue()
    listener = Handing()
    listener.want(count)
    freeing = asyncio.get_running_loop().run_in_executor(None, free)
    try:
        async with against(plain, role, listener, read_buffer_init_size=512) as peer:
            for n in range(count):
                peer.send(BINARY, pattern(SIZES[n % 25], n))
                if n % 50 == 0:
                    await peer.writer.drain()
            await soon(listener.complete.wait())
    finally:
        queue.put(None)
        freed = await soon(freeing)
    assert freed == count


# ---- the frame object itself ----


class Holder(Recorder):
    """Holds each frame in one certain way."""

    def __init__(self, hold) -> None:
        super().__init__()
        self.hold = hold
        self.held = []

    def on_ws_frame(self, transport, frame):
        self.events.append(frame.msg_type.name)
        self.held.append(self.hold(frame))
        self.frames.put_nowait(None)


def in_a_closure(frame):
    return lambda: frame


def in_a_traceback(frame):
    try:
        raise ValueError("held")
    except ValueError as error:
        return error


HOLDS = {
    "frame": (lambda frame: frame, bytes),
    "view": (memoryview, bytes),
    "slice of a view": (lambda frame: memoryview(frame)[:], bytes),
    "method": (lambda frame: frame.get_payload_as_bytes, lambda method: method()),
    "closure": (in_a_closure, lambda closure: bytes(closure())),
    "traceback": (
        in_a_traceback,
        lambda error: bytes(error.__traceback__.tb_frame.f_locals["frame"]),
    ),
    "cycle": (lambda frame: [[frame]], lambda cycle: bytes(cycle[0][0])),
}


@pytest.mark.parametrize("how", HOLDS)
async def test_a_held_frame_is_not_used_again(plain, how):
    hold, look = HOLDS[how]
    listener = Holder(hold)
    async with against(plain, "server", listener) as peer:
        payloads = [pattern(size, n) for n, size in enumerate([0, 5, 128, 129, 600] * 5)]
        for payload in payloads:
            peer.send(BINARY, payload)
            await soon(listener.frames.get())
        assert [look(thing) for thing in listener.held] == payloads
    assert [look(thing) for thing in listener.held] == payloads


async def test_frames_held_for_a_while(plain):
    """Each is let go when a later one comes: in turn, and in the other order."""
    listener = Recorder()
    async with against(plain, "client", listener) as peer:
        window = []
        for n in range(200):
            peer.send(TEXT, b"%d" % n)
            window.append((n, await soon(listener.frames.get())))
            for i, frame in window:
                assert bytes(frame) == b"%d" % i
            if len(window) == 5:
                window = window[2:4] if n % 2 else window[:1]


async def test_frame_in_the_exception_that_ended_the_connection(net):
    class Failing(Recorder):
        def on_ws_frame(self, transport, frame):
            super().on_ws_frame(transport, frame)
            self.frames.get_nowait()
            raise RuntimeError("after this frame")

    listener = Failing()
    async with against(net, "client", listener) as peer:
        transport = listener.transport
        peer.write(peer.frame(BINARY, pattern(600)), peer.frame(BINARY, bytes(600)))
        await peer.expect_close(1011)
        peer.abort()
        with pytest.raises(RuntimeError, match="after this frame") as caught:
            await soon(transport.wait_disconnected())
    locals_ = [tb.frame.f_locals for tb in caught.traceback]
    (frame,) = {id(f["frame"]): f["frame"] for f in locals_ if "frame" in f}.values()
    assert bytes(frame) == pattern(600)


async def test_views_must_be_released_by_nobody(plain):
    """A view that is still exported does not keep a connection from ending, nor the next read."""
    listener = Recorder()
    async with against(plain, "server", listener, read_buffer_init_size=512) as peer:
        views = []
        for n in range(20):
            peer.send(BINARY, pattern(2000, n))
            views.append((await soon(listener.frames.get())).get_payload_as_memoryview())
        for view in views[::2]:
            view.release()
        for n, view in list(enumerate(views))[1::2]:
            assert view == pattern(2000, n)


# ---- what it costs ----

COST = """
import asyncio, gc, json, sys, tracemalloc
from picows_c import WSListener, WSMsgType, ws_connect, ws_create_server

how, kind = sys.argv[1:]
COUNT, SIZE = 1_000 if how == "between" else 10_000, 600

class Source(WSListener):
    def on_ws_frame(self, transport, frame):
        if how == "between":
            transport.send(WSMsgType.BINARY, bytes(200_000))
        for _ in range(COUNT if how == "burst" else 1):
            transport.send(WSMsgType.BINARY, b"x" * SIZE)

class Keeper(WSListener):
    def __init__(self):
        self.kept = [None] * COUNT
        self.count = 0
        self.done = asyncio.Event()
    def on_ws_connected(self, transport):
        transport.send(WSMsgType.TEXT, "go")
    def on_ws_frame(self, transport, frame):
        if frame.payload_size != SIZE:
            return
        self.kept[self.count] = frame
        self.count += 1
        if self.count == COUNT:
            self.done.set()
        elif how != "burst":
            transport.send(WSMsgType.TEXT, "go")

async def main():
    server = await ws_create_server(lambda request: Source(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    keeper = Keeper()
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    transport, _ = await ws_connect(lambda: keeper, f"ws://127.0.0.1:{port}/")
    await asyncio.wait_for(keeper.done.wait(), 50)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    assert all(bytes(frame) == b"x" * SIZE for frame in keeper.kept)
    transport.disconnect()
    await transport.wait_disconnected()
    server.close()
    keeper.kept.clear()
    gc.collect()
    print(json.dumps([after - before, COUNT * SIZE, tracemalloc.get_traced_memory()[0] - before]))

tracemalloc.start()
if kind == "uvloop":
    from uvloop import run
else:
    from asyncio import run
run(main())
"""


@pytest.mark.parametrize("how", ["burst", "single", "between"])
def test_cost_of_kept_frames(how, loop_kind, tmp_path):
    """Kept frames of 600 bytes cost at most three times their payload, also between large ones."""
    new_loop(loop_kind).close()
    script = tmp_path / "cost.py"
    script.write_text(COST)
    installed = str(Path(picows_c.__file__).resolve().parents[1])
    result = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), how, loop_kind],
        env={**os.environ, "PYTHONPATH": installed},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    cost, payload, left = json.loads(result.stdout)
    assert payload < cost <= 3 * payload
    # One block, and one that has grown, lie ready for the next connection.
    assert left < (500_000 if how == "between" else 300_000)
