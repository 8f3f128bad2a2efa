"""A loop that is neither closed nor kept is collected, and its connections with it."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import warnings
import weakref

from conftest import new_loop
from helpers import EchoListener, Recorder

from picows_c import WSMsgType, ws_connect, ws_create_server


async def talk():
    """Echo, and leave everything open."""
    server = await ws_create_server(lambda r: EchoListener(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made = [await ws_connect(Recorder, f"ws://127.0.0.1:{port}/") for _ in range(3)]
    for client, listener in made:
        client.send(WSMsgType.TEXT, "x")
        assert bytes(await listener.frames.get()) == b"x"
    return server, made


def forget():
    loop = new_loop(sys.argv[1])
    loop.run_until_complete(asyncio.wait_for(talk(), 30))
    return weakref.ref(loop)


def descriptors():
    gc.collect()
    gc.collect()
    return sorted(os.listdir("/dev/fd"))


# asyncio's loops say that they were not closed, and ours says so of its connections.
warnings.simplefilter("ignore", ResourceWarning)
forget()
before = descriptors()
for _ in range(5):
    ref = forget()
    after = descriptors()
    assert ref() is None, gc.get_referrers(ref())
    assert after == before, (before, after)
print("ok")
