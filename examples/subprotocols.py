"""A server that adds numbers, and speaks two subprotocols: plain text and JSON.

python subprotocols.py --port 9001
"""

from __future__ import annotations

import argparse
import asyncio
import json

from picows_c import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_create_server,
)


class Adder(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        if transport.subprotocol is None:
            transport.send_close(WSCloseCode.PROTOCOL_ERROR, "json.add or text.add, please")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        text = frame.get_payload_as_utf8_text()
        if transport.subprotocol == "json.add":
            answer = json.dumps({"sum": sum(json.loads(text)["numbers"])})
        else:
            answer = str(sum(map(int, text.split())))
        transport.send(WSMsgType.TEXT, answer)


async def main(host: str, port: int) -> None:
    server = await ws_create_server(
        lambda request: Adder(),
        host,
        port,
        subprotocols=["json.add", "text.add"],  # the one that we like better first
        assemble_messages=True,
    )
    print("listening on", server.sockets[0].getsockname(), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9001)
    options = parser.parse_args()
    asyncio.run(main(options.host, options.port))
