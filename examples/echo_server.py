"""The smallest server: it answers each message with itself. python echo_server.py"""

import asyncio

from picows_c import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server


class ServerClientListener(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        print("New client connected", flush=True)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        # Other frames are PONG, and CLOSE, which the library answers.
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            transport.send(frame.msg_type, frame)


async def main() -> None:
    def listener_factory(request: WSUpgradeRequest) -> WSListener:
        # Routing can be implemented here by looking at request.path and request.headers.
        return ServerClientListener()

    # Whole messages: a peer may send one in fragments (RFC 6455, 5.4).
    server = await ws_create_server(listener_factory, "127.0.0.1", 9001, assemble_messages=True)
    for sock in server.sockets:
        print(f"Server started on {sock.getsockname()}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
