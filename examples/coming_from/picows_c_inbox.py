import asyncio
import sys

from picows_c import WSListener, WSMsgType, ws_connect


class Inbox(WSListener):
    """Messages that are awaited. Where too many wait, the peer has to wait, too."""

    def __init__(self, size=16):
        self.size = size
        self.messages = asyncio.Queue()

    def on_ws_connected(self, transport):
        self.transport = transport

    def on_ws_frame(self, transport, frame):
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            self.messages.put_nowait(frame)  # kept, not copied
            if self.messages.qsize() >= self.size:
                transport.pause_reading()

    def on_ws_disconnected(self, transport):
        self.messages.put_nowait(None)

    async def receive(self):
        """Return the next message; None at the end, once."""
        message = await self.messages.get()
        if self.messages.qsize() < self.size:
            self.transport.resume_reading()
        return message


async def main(url):
    inbox = Inbox()
    transport, _ = await ws_connect(lambda: inbox, url, assemble_messages=True)
    transport.send(WSMsgType.TEXT, "hello")
    message = await inbox.receive()
    if message is not None:
        print(message.get_payload_as_utf8_text())
    transport.send_close()
    await transport.wait_disconnected()


asyncio.run(main(sys.argv[1]))
