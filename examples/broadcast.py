"""A chat room: whatever one says all hear. Its page for browsers is served beside the socket.

python broadcast.py --port 9001        and open http://127.0.0.1:9001/ in two windows
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Union

from picows_c import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    broadcast,
    ws_create_server,
)

PAGE = Path(__file__).with_name("broadcast.html")
members: set[WSTransport] = set()


def say_to_all(text: Union[str, WSFrame]) -> None:
    # One frame is built for all; those it returns read too slowly, and miss it.
    broadcast(members, WSMsgType.TEXT, text)


class Member(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        members.add(transport)
        say_to_all(f"{len(members)} in the room")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            say_to_all(frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        members.discard(transport)
        say_to_all(f"{len(members)} in the room")


def listener_for(
    request: WSUpgradeRequest,
) -> Union[WSListener, WSUpgradeResponseWithListener, None]:
    if request.path == b"/room":
        return Member()
    if request.path == b"/":
        page = WSUpgradeResponse.create_ok_response(
            PAGE.read_bytes(), {"Content-Type": "text/html; charset=utf-8"}
        )
        return WSUpgradeResponseWithListener(page, None)
    return None  # 404


async def main(host: str, port: int) -> None:
    server = await ws_create_server(
        listener_for,
        host,
        port,
        assemble_messages=True,
        compression=True,
        max_message_size=4096,
        max_write_buffer_size=1024 * 1024,
        enable_auto_ping=True,
    )
    print("listening on", server.sockets[0].getsockname(), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9001)
    options = parser.parse_args()
    asyncio.run(main(options.host, options.port))
