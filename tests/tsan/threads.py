"""One loop a thread, many connections; frames, views and connections' ends on other threads.

    python tests/tsan/threads.py [--threads 8] [--rounds 20] [--tls FOLDER]

To be run by a free-threaded CPython with ThreadSanitizer (run.py); with any other it is a test of
the results alone. FOLDER has server.pem and ca.pem.
"""

from __future__ import annotations

import argparse
import asyncio
import queue
import ssl
import sys
import threading
from pathlib import Path
from typing import Any, Optional

from picows_c import (
    PermessageDeflate,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
    ws_create_server,
)

SIZES = [0, 5, 128, 129, 3000, 70000]
# What all threads share.
DEFLATE = PermessageDeflate(server_no_context_takeover=True, client_no_context_takeover=True)


class Echo(WSListener):
    """Answers; and hands every frame to another thread, which reads and frees it."""

    def __init__(self, away: queue.Queue[Any]) -> None:
        self.away = away

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.BINARY:
            transport.send(WSMsgType.BINARY, frame)
            self.away.put((frame, frame.get_payload_as_bytes()))
            self.away.put((memoryview(frame), frame.get_payload_as_bytes()))


class Client(WSListener):
    def __init__(self, away: queue.Queue[Any]) -> None:
        self.away = away
        self.got = 0
        self.news = asyncio.Event()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.got += 1
        self.away.put((memoryview(frame)[1:], frame.get_payload_as_bytes()[1:]))
        self.news.set()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.news.set()


def read_and_free(away: queue.Queue[Any], wrong: list[object]) -> None:
    """Look at what comes from the other threads, then let go of it."""
    while (item := away.get()) is not None:
        shown, expected = item
        if bytes(memoryview(shown)) != expected:
            wrong.append(f"a frame of {len(expected)} bytes changed")
        del item, shown


def called_from_elsewhere(transport: WSTransport, wrong: list[object]) -> None:
    try:
        transport.send(WSMsgType.BINARY, b"x")
        wrong.append("another thread may send")
    except RuntimeError:
        pass


async def talk(args: Any, number: int, aways: list[queue.Queue[Any]], wrong: list[object]) -> None:
    """Serve, connect, exchange, end, again and again."""
    server_context: Optional[ssl.SSLContext] = None
    client_context: Optional[ssl.SSLContext] = None
    if args.tls and number % 2:
        server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_context.load_cert_chain(Path(args.tls) / "server.pem")
        client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client_context.load_verify_locations(Path(args.tls) / "ca.pem")
    away = aways[(number + 1) % len(aways)]
    options: dict[str, Any] = {"transport": "loop" if number % 4 == 3 else "auto"}
    if number % 3 == 2:
        options |= {"assemble_messages": True, "compression": DEFLATE}
    server = await ws_create_server(
        lambda request: Echo(away), "127.0.0.1", 0, ssl=server_context, **options
    )
    port = server.sockets[0].getsockname()[1]
    scheme = "ws" if server_context is None else "wss"
    others: list[threading.Thread] = []
    for _ in range(args.rounds):
        pairs = [
            await ws_connect(
                lambda: Client(away),
                f"{scheme}://127.0.0.1:{port}/",
                ssl_context=client_context,
                **options,
            )
            for _ in range(5)
        ]
        for transport, client in pairs:
            assert isinstance(client, Client)
            for size in SIZES:
                transport.send(WSMsgType.BINARY, bytes(size))
            while client.got < len(SIZES) and not transport.is_disconnected:
                client.news.clear()
                await client.news.wait()
            if client.got < len(SIZES):
                wrong.append(f"{client.got} of {len(SIZES)} answers: {transport.disconnect_cause}")
        others.append(threading.Thread(target=called_from_elsewhere, args=(pairs[0][0], wrong)))
        others[-1].start()
        for transport, _ in pairs:
            transport.disconnect()
            await transport.wait_disconnected()
        # The last references may go elsewhere, too.
        away.put((b"", b"", pairs)[:2])
        del pairs, transport, client
    for other in others:
        await asyncio.to_thread(other.join)
    server.close()
    await server.wait_closed()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tls", help="a folder with server.pem and ca.pem")
    args = parser.parse_args()
    wrong: list[object] = []
    aways: list[queue.Queue[Any]] = [queue.Queue() for _ in range(args.threads)]
    readers = [threading.Thread(target=read_and_free, args=(away, wrong)) for away in aways]

    def run(number: int) -> None:
        try:
            asyncio.run(talk(args, number, aways, wrong))
        except BaseException as error:
            wrong.append(error)

    loops = [threading.Thread(target=run, args=(number,)) for number in range(args.threads)]
    for thread in readers + loops:
        thread.start()
    for thread in loops:
        thread.join()
    for away in aways:
        away.put(None)
    for thread in readers:
        thread.join()
    if wrong:
        sys.exit(f"wrong: {wrong}")
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(f"{args.threads} loops, {args.rounds * 5 * args.threads} connections, GIL: {gil}")


if __name__ == "__main__":
    main()
