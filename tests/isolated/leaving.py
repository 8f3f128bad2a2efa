"""The interpreter ends, one way or another, over open connections; it must do so in silence."""

from __future__ import annotations

import asyncio
import atexit
import ssl
import sys
import threading
from pathlib import Path
from typing import Any

from afterwards import use_everything
from conftest import new_loop
from helpers import EchoListener, Recorder

from picows_c import WSMsgType, ws_connect, ws_create_server

HOW, KIND, WAY, SCHEME, FOLDER = sys.argv[1:6]
kept: list[Any] = []  # until the module is torn down


def contexts() -> Any:
    if SCHEME == "ws":
        return None, None
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(Path(FOLDER) / "server.pem")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(Path(FOLDER) / "ca.pem")
    return server, client


class Echo(EchoListener):
    def pause_writing(self) -> None:
        """Say nothing of it."""

    resume_writing = pause_writing


class Leaving(Recorder):
    def pause_writing(self) -> None:
        """Say nothing of it."""

    resume_writing = pause_writing

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        super().on_ws_frame(transport, frame)
        if HOW == "exit in a callback":
            sys.exit(0)
        if HOW == "exit in a flood":
            transport.send(WSMsgType.BINARY, frame)
            if len(self.events) > 500:
                sys.exit(0)


class Last:
    """Uses everything when it is torn down itself."""

    def __init__(self, things: list[Any]) -> None:
        self.things = things

    def __del__(self) -> None:
        use_everything(*self.things)


async def talk() -> None:
    """Make connections, plain and busy ones, and leave all of them open."""
    server = await ws_create_server(
        lambda r: Echo(), "127.0.0.1", 0, ssl=contexts()[0], transport=WAY
    )
    port = server.sockets[0].getsockname()[1]
    for busy in (0.0, 1.0):
        client, listener = await ws_connect(
            Leaving,
            f"{SCHEME}://127.0.0.1:{port}/",
            ssl_context=contexts()[1],
            transport=WAY,
            busy_poll=busy,
        )
        client.send(WSMsgType.BINARY, bytes(1000))
        frame = await listener.frames.get()
        kept.extend([client, listener, frame, memoryview(frame), server])
    # Something waits to be sent, and something is on its way.
    client.send(WSMsgType.BINARY, bytes(5_000_000))
    if HOW == "exit in a flood":
        await client.wait_disconnected()


def things() -> list[Any]:
    return [thing for thing in kept if not isinstance(thing, memoryview)]


def main() -> None:
    loop = new_loop(KIND)
    if HOW == "daemon thread":
        ready = threading.Event()

        async def run() -> None:
            await talk()
            ready.set()
            await asyncio.Event().wait()

        threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True).start()
        ready.wait()
        return
    loop.run_until_complete(talk())
    if HOW == "atexit":
        atexit.register(lambda: use_everything(*things()))
    elif HOW == "torn down":
        kept.append(Last(things()))
    elif HOW == "torn down last":
        sys.kept = Last(things())  # type: ignore[attr-defined]
    elif HOW == "cycle":
        cycle: list[Any] = [Last(things())]
        cycle.append(cycle)
    elif HOW == "forgotten":
        kept.clear()
    elif HOW == "exit":
        sys.exit(0)
    if HOW != "never closed":
        loop.close()
        assert use_everything(*things()) > 20 or HOW == "forgotten"


main()
