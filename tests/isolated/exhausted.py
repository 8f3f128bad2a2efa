"""ws_connect without a descriptor to be had: OSError each time, and nothing is lost by it."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import sys

import pytest
from conftest import new_loop
from helpers import EchoListener, Recorder, without_descriptors

from picows_c import WSListener, WSMsgType, ws_connect, ws_create_server

KIND, WAY = sys.argv[1:3]


async def main() -> None:
    server = await ws_create_server(lambda r: EchoListener(), "127.0.0.1", 0, transport=WAY)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    client, listener = await ws_connect(Recorder, url, transport=WAY)
    before = len(os.listdir("/dev/fd"))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 20, hard))
    with without_descriptors():
        for _ in range(50):
            for attempt in (
                ws_connect(WSListener, url, transport=WAY),
                ws_create_server(lambda r: EchoListener(), "127.0.0.1", 0, transport=WAY),
            ):
                with pytest.raises(OSError) as caught:
                    await attempt
                assert caught.value.errno == errno.EMFILE, caught.value
                del caught
        # Who is connected is not hindered.
        client.send(WSMsgType.TEXT, "still")
        assert bytes(await listener.frames.get()) == b"still"
    assert len(os.listdir("/dev/fd")) == before
    again, _ = await ws_connect(WSListener, url, transport=WAY)
    for transport in (again, client):
        transport.disconnect()
        await transport.wait_disconnected()
    server.close()


loop = new_loop(KIND)
loop.run_until_complete(asyncio.wait_for(main(), 100))
loop.close()
print("ok")
