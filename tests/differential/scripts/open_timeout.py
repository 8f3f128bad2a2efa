"""A peer that takes the connection and then says nothing, before TLS and before HTTP."""

import ssl

from kit import IMPATIENCE, ours, outcome, pem, raw_server

DIFFERS = {"open-timeout": ["silent before TLS"]}


async def main(ws, log):
    context = ssl.create_default_context(cafile=pem("authority"))

    async def say_nothing(peer):
        await peer.ended()

    async with raw_server(say_nothing) as port:
        for name, scheme in {"silent before TLS": "wss", "silent before HTTP": "ws"}.items():
            connecting = ws.ws_connect(
                ws.WSListener,
                f"{scheme}://localhost:{port}/",
                ssl_context=context if scheme == "wss" else None,
                websocket_handshake_timeout=0.2,
                **ours(ws, open_timeout=0.3),
            )
            log(name, await outcome(connecting, IMPATIENCE))
