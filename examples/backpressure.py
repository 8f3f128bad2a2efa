"""Two ways to treat a client that reads too slowly: wait for it, or leave things out.

python backpressure.py --port 9001     /all waits, /latest leaves out
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Optional

from picows_c import WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

MESSAGE = bytes(1016)


class Numbers(WSListener):
    """Counts, each number in a message of a kilobyte; afterwards says how it went."""

    def __init__(self, total: int, waits: bool) -> None:
        self.total = total
        self.waits = waits
        self.most = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.task = asyncio.get_running_loop().create_task(self.count(transport))

    async def count(self, transport: WSTransport) -> None:
        for number in range(self.total):
            transport.send(WSMsgType.BINARY, number.to_bytes(8, "big") + MESSAGE)
            self.most = max(self.most, transport.write_buffer_size)
            if self.waits:
                await transport.drain()  # while more than 64 KiB wait
        dropped = transport.stats.messages_dropped
        print(f"{dropped} dropped, at most {self.most} bytes waited", flush=True)
        transport.send_close()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.task.cancel()


async def main(host: str, port: int, total: int, limit: int) -> None:
    def listener_for(request: WSUpgradeRequest) -> Optional[WSListener]:
        waits = {b"/all": True, b"/latest": False}.get(request.path)
        return None if waits is None else Numbers(total, waits)

    server = await ws_create_server(
        listener_for, host, port, max_write_buffer_size=limit, on_write_overflow="drop"
    )
    print("listening on", server.sockets[0].getsockname(), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9001)
    parser.add_argument("--total", type=int, default=20_000, help="messages for each client")
    parser.add_argument("--limit", type=int, default=256 * 1024, help="bytes that may wait")
    options = parser.parse_args()
    asyncio.run(main(options.host, options.port, options.total, options.limit))
