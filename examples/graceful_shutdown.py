"""A server that says goodbye: SIGTERM and SIGINT close every connection with 1001.

python graceful_shutdown.py --port 9001
"""

from __future__ import annotations

import argparse
import asyncio
import signal

from picows_c import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            transport.send(frame.msg_type, frame)


async def main(host: str, port: int, timeout: float) -> None:
    server = await ws_create_server(lambda request: Echo(), host, port, assemble_messages=True)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    print("listening on", server.sockets[0].getsockname(), flush=True)
    await stop.wait()

    # Whoever is in a hurry asks again, and is obeyed at once.
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)

    print("closing", server.stats.open, "connections", flush=True)
    unanswered = await server.close_gracefully(timeout=timeout, reason="restart")
    print(unanswered, "did not answer", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9001)
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds for all to answer")
    options = parser.parse_args()
    asyncio.run(main(options.host, options.port, options.timeout))
