"""An echo client for the suite's fuzzingserver: asks for each case, then for the report."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from testee import OPTIONS, EchoListener, run

from picows_c import WSFrame, WSListener, WSMsgType, WSProtocolError, WSTransport, ws_connect

# The fuzzingserver says what it is going to do shortly before it listens.
CONNECT_TRIES = 100
CASE_TIMEOUT = 60.0


class CountListener(WSListener):
    """Keeps the number of cases."""

    count = 0

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            self.count = int(frame.get_payload_as_utf8_text())


async def talk(factory: Any, url: str) -> Any:
    """Be connected until the fuzzingserver has had enough; return the listener."""
    transport, listener = await ws_connect(factory, url, open_timeout=CASE_TIMEOUT, **OPTIONS)
    try:
        await asyncio.wait_for(transport.wait_disconnected(), CASE_TIMEOUT)
    except WSProtocolError:
        pass  # what the case is about
    except asyncio.TimeoutError:
        print(f"{url}: given up after {CASE_TIMEOUT} s", flush=True)
        transport.disconnect(False)
    return listener


async def case_count(url: str) -> int:
    for _ in range(CONNECT_TRIES):
        try:
            return (await talk(CountListener, f"{url}/getCaseCount")).count
        except ConnectionRefusedError:
            await asyncio.sleep(0.05)
    raise ConnectionRefusedError(f"nobody listens at {url}")


async def main(url: str, agent: str) -> None:
    for case in range(1, await case_count(url) + 1):
        await talk(EchoListener, f"{url}/runCase?case={case}&agent={agent}")
    await talk(EchoListener, f"{url}/updateReports?agent={agent}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="ws://127.0.0.1:PORT")
    parser.add_argument("--agent", default="picows_c")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    arguments = parser.parse_args()
    run(main(arguments.url, arguments.agent), arguments.loop)
