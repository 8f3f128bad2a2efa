"""A client that cares for the latest quote only: what is older when it is read is passed over.

python market_data.py ws://127.0.0.1:9001/quotes
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Optional

from picows_c import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect


class Quotes(WSListener):
    def __init__(self) -> None:
        self.received = 0
        self.handled = 0
        self.newest: Optional[WSFrame] = None

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self.received += 1
            self.newest = frame  # a frame may be kept
        # Otherwise there is more behind it, perhaps a newer one: deciding now would be too late.
        if frame.last_in_buffer and self.newest is not None:
            self.handled += 1
            self.decide(self.newest.get_payload_as_ascii_text())
            self.newest = None

    def decide(self, quote: str) -> None:
        print("latest", quote, flush=True)


async def main(url: str) -> None:
    # A quiet market and a dead line look the same; a ping tells them apart.
    transport, listener = await ws_connect(
        Quotes,
        url,
        assemble_messages=True,
        enable_auto_ping=True,
        auto_ping_idle_timeout=5,
        auto_ping_reply_timeout=5,
    )
    await transport.wait_disconnected()
    assert isinstance(listener, Quotes)
    print(f"handled {listener.handled} of {listener.received}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    asyncio.run(main(parser.parse_args().url))
