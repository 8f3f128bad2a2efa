"""A client that comes back, until an error says that there is no use.

python reconnecting.py ws://127.0.0.1:9001/
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys

from picows_c import (
    WSBackoff,
    WSError,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    reconnect,
)


class Subscriber(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        # A server remembers nothing: subscribe anew each time.
        transport.send(WSMsgType.TEXT, "subscribe")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            print("heard", frame.get_payload_as_utf8_text(), flush=True)


async def main(url: str, initial: float, maximum: float) -> None:
    try:
        async for transport, _ in reconnect(
            Subscriber,
            url,
            backoff=WSBackoff(initial, maximum),
            assemble_messages=True,
            enable_auto_ping=True,
        ):
            print("connected", flush=True)
            await transport.wait_disconnected()
            cause = transport.disconnect_cause
            print("lost:", cause.kind.name if cause else "?", flush=True)
    except (WSError, OSError, ssl.CertificateError) as error:
        # Only what lasts arrives here; what passes was logged and waited out.
        sys.exit(f"giving up: {error}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--initial", type=float, default=1.0, help="seconds")
    parser.add_argument("--maximum", type=float, default=60.0, help="seconds")
    options = parser.parse_args()
    asyncio.run(main(options.url, options.initial, options.maximum))
