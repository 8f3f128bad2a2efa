"""The Host header, for names that lead elsewhere."""

import re
import socket

from kit import accepting, raw_server, recorder

DIFFERS = {
    "host-userinfo": ["userinfo"],
    "host-normal": ["the scheme's own port", "in upper case", "an IRI"],
}


async def main(ws, log):
    heads = []

    async def handle(peer):
        heads.append((await peer.reader.readuntil(b"\r\n\r\n")).decode())
        peer.send(accepting(re.search("Sec-WebSocket-Key: (.*)\r", heads[-1])[1]))

    async with raw_server(handle) as port:
        for name, host in {
            "a name": "example.test",
            "a port": "example.test:81",
            "the scheme's own port": "example.test:80",
            "in upper case": "EXAMPLE.test",
            "an IRI": "bücher.test",
            "IPv6": "[::1]",
            "IPv6 and a port": "[::1]:81",
            "userinfo": "user:secret@example.test",
        }.items():
            listener = recorder(ws)
            transport, _ = await ws.ws_connect(
                lambda x=listener: x,
                f"ws://{host}/",
                socket_factory=lambda _: socket.create_connection(("127.0.0.1", port)),
            )
            log(name, re.search("Host: (.*)\r", heads[-1])[1])
            transport.disconnect(False)
            await listener.until("disconnected")
