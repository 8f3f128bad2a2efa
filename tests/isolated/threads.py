"""A loop in each of several threads, with hundreds of connections; frames change threads.

    python threads.py LOOP THREADS CONNECTIONS MESSAGES

Prints "ok", and whether the GIL was on before and after.
"""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from typing import Any

from conftest import new_loop
from helpers import EchoListener

from picows_c import WSListener, WSMsgType, ws_connect, ws_create_server

KIND = sys.argv[1]
THREADS, CONNECTIONS, MESSAGES = map(int, sys.argv[2:5])
SIZES = [0, 1, 125, 128, 129, 1000, 70_000]
LOST = object()


def gil() -> bool:
    return getattr(sys, "_is_gil_enabled", lambda: True)()


class Counting(WSListener):
    """Sends the next message when the last one is back; its frames are freed elsewhere."""

    def __init__(self, number: int, bin_: queue.SimpleQueue[Any]) -> None:
        self.number, self.bin = number, bin_
        self.left = MESSAGES

    def payload(self) -> bytes:
        size = SIZES[(self.number + self.left) % len(SIZES)]
        return bytes([self.number % 251, self.left % 251]) * (size // 2) + b"!" * (size % 2)

    def on_ws_connected(self, transport: Any) -> None:
        transport.send(WSMsgType.BINARY, self.payload())

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type != WSMsgType.BINARY:
            return
        assert bytes(frame) == self.payload()
        self.bin.put((frame, memoryview(frame), self.payload()))
        del frame
        self.left -= 1
        if self.left:
            transport.send(WSMsgType.BINARY, self.payload())
        else:
            transport.send_close(1000)


async def talk(bin_: queue.SimpleQueue[Any], strangers: queue.SimpleQueue[Any]) -> None:
    server = await ws_create_server(lambda r: EchoListener(), "127.0.0.1", 0, backlog=CONNECTIONS)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    made = await asyncio.gather(
        *(ws_connect(lambda n=n: Counting(n, bin_), url) for n in range(CONNECTIONS))
    )
    strangers.put(made[0][0])
    for transport, listener in made:
        await transport.wait_disconnected()
        assert listener.left == 0, listener.left
    server.close()
    await server.wait_closed()


def run(bin_: Any, strangers: Any, failed: list[BaseException]) -> None:
    try:
        loop = new_loop(KIND)
        loop.run_until_complete(asyncio.wait_for(talk(bin_, strangers), 200))
        loop.close()
    except BaseException as error:
        failed.append(error)


def free(bin_: queue.SimpleQueue[Any]) -> None:
    """Look at frames of other threads' connections, and free them."""
    kept: list[Any] = []
    while True:
        item = bin_.get()
        if item is LOST:
            return
        frame, view, payload = item
        assert view == payload
        assert frame.get_payload_as_bytes() == payload
        assert frame.payload_size == len(payload)
        kept.append(item)
        if len(kept) > 500:
            kept.clear()


def calls(transport: Any) -> list[Any]:
    return [
        lambda: transport.send(WSMsgType.BINARY, b"no"),
        lambda: transport.send_reuse_external_bytearray(2, bytearray(20), 14),
        transport.send_ping,
        transport.send_pong,
        transport.send_close,
        transport.disconnect,
        transport.pause_reading,
        transport.resume_reading,
        transport.notify_user_specific_pong_received,
        lambda: transport.cork().__enter__(),
        lambda: transport.drain().send(None),
        lambda: transport.wait_disconnected().send(None),
        lambda: transport.measure_roundtrip_time(1).send(None),
    ]


def intrude(strangers: queue.SimpleQueue[Any], failed: list[BaseException]) -> None:
    """Call another thread's transports: a RuntimeError each time, and no harm done."""
    while True:
        transport = strangers.get()
        if transport is LOST:
            return
        for number, call in enumerate(calls(transport) * 20):
            try:
                call()
                failed.append(AssertionError(f"call {number % 13} went through"))
            except RuntimeError:
                pass
            except BaseException as error:
                failed.append(error)


def main() -> None:
    before = gil()
    failed: list[BaseException] = []
    bin_: queue.SimpleQueue[Any] = queue.SimpleQueue()
    strangers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    others = [
        threading.Thread(target=free, args=(bin_,)),
        threading.Thread(target=intrude, args=(strangers, failed)),
    ]
    loops = [threading.Thread(target=run, args=(bin_, strangers, failed)) for _ in range(THREADS)]
    for thread in (*others, *loops):
        thread.start()
    for thread in loops:
        thread.join()
    bin_.put(LOST)
    strangers.put(LOST)
    for thread in others:
        thread.join()
    for error in failed:
        raise error
    print("ok", before, gil())


main()
