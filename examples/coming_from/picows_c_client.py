import asyncio
import sys

from picows_c import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect


class Hello(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, "hello")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            print(frame.get_payload_as_utf8_text())
            transport.send_close()


async def main(url: str) -> None:
    transport, _ = await ws_connect(Hello, url, assemble_messages=True)
    await transport.wait_disconnected()


asyncio.run(main(sys.argv[1]))
