"""One of many processes behind nginx, each on a unix socket of its own; nginx.conf belongs to it.

python behind_nginx.py --unix /run/echo/1.sock
python behind_nginx.py --unix /run/echo/2.sock
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from typing import Optional

from picows_c import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_unix_server,
)


class Echo(WSListener):
    def __init__(self, client: str) -> None:
        self.client = client

    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, f"process {os.getpid()}, client {self.client}")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            transport.send(frame.msg_type, frame)


def listener_for(request: WSUpgradeRequest) -> Optional[WSListener]:
    # Anybody can send this header. Only nginx can reach our socket, and it sets it itself.
    return Echo(request.headers.get("X-Real-IP", "unknown"))


async def main(path: str) -> None:
    server = await ws_create_unix_server(
        listener_for,
        path,
        mode=0o660,  # ours and nginx's group
        assemble_messages=True,
        # More often than proxy_read_timeout, so that nginx does not take silence for death.
        enable_auto_ping=True,
        auto_ping_idle_timeout=20,
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print("listening on", server.sockets[0].getsockname(), flush=True)
    await stop.wait()
    await server.close_gracefully(timeout=10, reason="restart")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--unix", metavar="PATH", required=True)
    asyncio.run(main(parser.parse_args().unix))
