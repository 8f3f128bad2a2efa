"""One event loop a thread, all on one port: the system spreads connections over them.

python threads.py --port 9001 --threads 4     (with the GIL, processes are better)
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import threading

from picows_c import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server


class Who(WSListener):
    """Answers with the name of its thread: a connection stays in the one that accepted it."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, threading.current_thread().name)


async def serve(sock: socket.socket, stop: threading.Event) -> None:
    server = await ws_create_server(lambda request: Who(), sock=sock, assemble_messages=True)
    # This waits in a helper thread; the loop goes on serving.
    await asyncio.get_running_loop().run_in_executor(None, stop.wait)
    await server.close_gracefully(timeout=10)


def main(host: str, port: int, count: int) -> None:
    # Each thread has a listening socket of its own, and all of them the same port.
    socks = [socket.create_server((host, port), reuse_port=True)]
    address = socks[0].getsockname()
    socks += [socket.create_server(address, reuse_port=True) for _ in range(1, count)]

    stop = threading.Event()
    threads = [
        threading.Thread(target=asyncio.run, args=[serve(sock, stop)], name=f"loop-{number}")
        for number, sock in enumerate(socks)
    ]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    for thread in threads:
        thread.start()
    print("listening on", address, flush=True)
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9001)
    parser.add_argument("--threads", type=int, default=4)
    options = parser.parse_args()
    main(options.host, options.port, options.threads)
