import asyncio
import sys

from picows_c import WSListener, WSMsgType, ws_connect


class Hello(WSListener):
    def on_ws_connected(self, transport):
        transport.send(WSMsgType.TEXT, "hello")

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.TEXT:
            print(frame.get_payload_as_utf8_text())
            transport.send_close()


async def main(url):
    transport, _ = await ws_connect(Hello, url, assemble_messages=True)
    await transport.wait_disconnected()


asyncio.run(main(sys.argv[1]))
