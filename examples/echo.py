"""An echo server: plain, over TLS, or on a unix socket.

python echo.py --port 9001
python echo.py --port 9001 --cert cert.pem --key key.pem
python echo.py --unix /run/user/1000/echo.sock
"""

from __future__ import annotations

import argparse
import asyncio
import ssl

from picows_c import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
    ws_create_unix_server,
)


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            transport.send(frame.msg_type, frame)


def listener_for(request: WSUpgradeRequest) -> WSListener:
    return Echo()


async def main(options: argparse.Namespace) -> None:
    context = None
    if options.cert:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.cert, options.key)
    if options.unix:
        server = await ws_create_unix_server(
            listener_for, options.unix, mode=0o600, ssl=context, assemble_messages=True
        )
    else:
        server = await ws_create_server(
            listener_for, options.host, options.port, ssl=context, assemble_messages=True
        )
    print("listening on", server.sockets[0].getsockname(), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9001, help="0 for any free one")
    parser.add_argument("--unix", metavar="PATH", help="a unix socket instead of host and port")
    parser.add_argument("--cert", metavar="PEM", help="the certificate, for wss")
    parser.add_argument("--key", metavar="PEM", help="its key, where that is another file")
    asyncio.run(main(parser.parse_args()))
