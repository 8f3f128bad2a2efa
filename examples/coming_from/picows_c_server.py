import asyncio
import sys

from picows_c import WSListener, WSMsgType, ws_create_server


class Echo(WSListener):
    def on_ws_frame(self, transport, frame):
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            transport.send(frame.msg_type, frame)


async def main(port):
    server = await ws_create_server(
        lambda request: Echo(), "127.0.0.1", port, assemble_messages=True
    )
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))
