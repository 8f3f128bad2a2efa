"""Say something to a server and print what it answers.

python say.py ws://127.0.0.1:9001/ hello
python say.py wss://localhost:9001/ hello --ca ca.pem
python say.py ws://localhost/ hello --unix /run/user/1000/echo.sock
"""

from __future__ import annotations

import argparse
import asyncio
import ssl

from picows_c import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect


class Say(WSListener):
    def __init__(self, text: str) -> None:
        self.text = text

    def on_ws_connected(self, transport: WSTransport) -> None:
        transport.send(WSMsgType.TEXT, self.text)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            print(frame.get_payload_as_utf8_text())
            transport.send_close(WSCloseCode.OK)


async def main(options: argparse.Namespace) -> None:
    is_secure = options.url.startswith("wss:")
    transport, _ = await ws_connect(
        lambda: Say(options.text),
        options.url,
        ssl_context=ssl.create_default_context(cafile=options.ca) if is_secure else None,
        unix_path=options.unix,
        assemble_messages=True,
    )
    await transport.wait_disconnected()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("text")
    parser.add_argument("--ca", metavar="PEM", help="who signed the server's certificate")
    parser.add_argument("--unix", metavar="PATH", help="connect to this unix socket")
    asyncio.run(main(parser.parse_args()))
