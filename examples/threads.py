"""One event loop a thread, all on one port: the system spreads connections over them.

python threads.py --port 9001 --threads 4     (with the GIL, processes are better)
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import threading

from picows_c import WSFrame, WSListener, WSMsgType, WSServer, WSTransport, ws_create_server


class Who(WSListener):
    """Answers with the name of its thread: a connection stays in the one that accepted it."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, threading.current_thread().name)


async def listen(host: str, port: int) -> WSServer:
    return await ws_create_server(lambda request: Who(), host, port, reuse_port=True)


async def serve(host: str, port: int, stop: threading.Event) -> None:
    server = await listen(host, port)
    # This waits in a helper thread; the loop goes on serving.
    await asyncio.get_running_loop().run_in_executor(None, stop.wait)
    await server.close_gracefully(timeout=10)


async def main(host: str, port: int, count: int) -> None:
    # The main thread has a loop like the others, and hears the signals.
    server = await listen(host, port)
    address = server.sockets[0].getsockname()
    stop = threading.Event()
    threads = [
        threading.Thread(
            target=lambda: asyncio.run(serve(host, address[1], stop)), name=f"loop-{n}"
        )
        for n in range(1, count)
    ]
    for thread in threads:
        thread.start()

    done = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, done.set)
    print("listening on", address, flush=True)
    await done.wait()

    stop.set()
    await server.close_gracefully(timeout=10)
    for thread in threads:
        await asyncio.get_running_loop().run_in_executor(None, thread.join)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9001)
    parser.add_argument("--threads", type=int, default=4)
    options = parser.parse_args()
    asyncio.run(main(options.host, options.port, options.threads))
