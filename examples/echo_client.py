"""The client of echo_server.py: it says something and prints the answer. python echo_client.py"""

import asyncio

from picows_c import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect


class ClientListener(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, "Hello world")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            print(f"Echo reply: {frame.get_payload_as_utf8_text()}")
            transport.send_close(WSCloseCode.OK)


async def main(url: str) -> None:
    transport, _ = await ws_connect(ClientListener, url, assemble_messages=True)
    await transport.wait_disconnected()


if __name__ == "__main__":
    asyncio.run(main("ws://127.0.0.1:9001"))
