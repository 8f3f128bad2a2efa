"""A client whose masking keys run out once: what it sends afterwards can be inflated. Says "ok"."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys

from conftest import new_loop
from helpers import Recorder

from picows_c import WSMsgType, WSTransport, ws_connect, ws_create_server

LIBRARY, KIND, WAY = sys.argv[1:4]

if LIBRARY not in os.environ.get("LD_PRELOAD", ""):
    before = os.environ.get("LD_PRELOAD")
    os.environ["LD_PRELOAD"] = f"{before}:{LIBRARY}" if before else LIBRARY
    os.execv(sys.executable, [sys.executable, *sys.argv])

entropy_fails = ctypes.c_int.in_dll(ctypes.CDLL(LIBRARY), "entropy_fails")


def send(client: WSTransport, kind: WSMsgType, data: bytes, fin: bool) -> bool:
    """Send without entropy, again where that fails; return whether it did."""
    entropy_fails.value = 1
    try:
        client.send(kind, data, fin)
    except OSError:
        entropy_fails.value = 0
        client.send(kind, data, fin)
        return True
    finally:
        entropy_fails.value = 0
    return False


async def main() -> None:
    options = {"assemble_messages": True, "compression": True, "transport": WAY}
    heard = Recorder()
    server = await ws_create_server(lambda request: heard, "127.0.0.1", 0, **options)
    port = server.sockets[0].getsockname()[1]
    client, _ = await ws_connect(Recorder, f"ws://127.0.0.1:{port}/", **options)
    sent = []
    for fragments in (False, True):
        failed = 0
        # The keys of a pool are used up first.
        while not failed:
            first, last = os.urandom(200) * 2, os.urandom(100) * 3
            if fragments:
                failed += send(client, WSMsgType.BINARY, first, False)
                failed += send(client, WSMsgType.CONTINUATION, last, True)
            else:
                first = b""
                failed += send(client, WSMsgType.BINARY, last, True)
            sent.append(first + last)
    for message in sent:
        assert bytes(await asyncio.wait_for(heard.frames.get(), 60)) == message
    client.disconnect()
    await client.wait_disconnected()
    server.close()
    await server.wait_closed()
    print("ok", flush=True)


new_loop(KIND).run_until_complete(main())
