"""A health page beside the socket: the listener factory sees every request, not only upgrades.

python health.py --port 9001        curl -i http://127.0.0.1:9001/health
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Union

from picows_c import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            transport.send(frame.msg_type, frame)


async def main(host: str, port: int, most: int) -> None:
    def health() -> WSUpgradeResponse:
        stats = server.stats
        body = json.dumps(stats._asdict()).encode()
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
        if stats.open >= most:
            return WSUpgradeResponse.create_error_response(503, body, headers)
        return WSUpgradeResponse.create_ok_response(body, headers)

    def listener_for(
        request: WSUpgradeRequest,
    ) -> Union[WSListener, WSUpgradeResponseWithListener, None]:
        if request.path == b"/health":
            return WSUpgradeResponseWithListener(health(), None)
        return Echo() if request.path == b"/echo" else None

    server = await ws_create_server(
        listener_for, host, port, max_connections=most, assemble_messages=True
    )
    print("listening on", server.sockets[0].getsockname(), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9001)
    parser.add_argument("--most", type=int, default=10_000, help="connections at once")
    options = parser.parse_args()
    asyncio.run(main(options.host, options.port, options.most))
