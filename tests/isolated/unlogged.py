"""Everything is logged, to a full disk or to a stderr that takes nothing: no connection cares.

Logging reports its own failures on stderr, which is not there either.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from conftest import new_loop
from helpers import EchoListener, Recorder

from picows_c import PICOWS_DEBUG_LL, WSListener, WSMsgType, ws_connect, ws_create_server

KIND, WHERE = sys.argv[1:3]


class Failing(WSListener):
    def on_ws_frame(self, transport, frame):
        raise ValueError("for the log")


async def main() -> None:
    server = await ws_create_server(
        lambda r: Failing() if r.path == b"/failing" else EchoListener(), "127.0.0.1", 0
    )
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for _ in range(20):
        client, listener = await ws_connect(Recorder, url + "/")
        for size in (0, 100, 10_000):
            client.send(WSMsgType.BINARY, bytes(size))
            assert bytes(await listener.frames.get()) == bytes(size)
        client.send_close(1000)
        await client.wait_disconnected()
        client, _ = await ws_connect(WSListener, url + "/failing")
        client.send(WSMsgType.TEXT, "x")
        await client.wait_disconnected()
        assert client.close_handshake.recv.code == 1011
    server.close()


if WHERE == "full":
    # Unbuffered: each line is refused.
    full = open("/dev/full", "w", buffering=1)  # noqa: SIM115
    os.dup2(full.fileno(), 2)
else:
    # (Closed for good its number would be the next socket's.)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 2)
logging.basicConfig(level=PICOWS_DEBUG_LL, stream=sys.stderr)
loop = new_loop(KIND)
loop.run_until_complete(asyncio.wait_for(main(), 100))
loop.close()
print("ok", flush=True)
os._exit(0)  # what the interpreter cannot flush at its end is not our subject
