"""What an installed wheel has to be able to do: import and echo. Nothing else is needed here.

python -I echo.py VERSION
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
import sys
import sysconfig
from typing import Any

import picows_c
from picows_c import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server

MESSAGE = bytes(range(256)) * 1000


class EchoServer(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY):
            transport.send(frame.msg_type, frame)


class Client(WSListener):
    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.received.put_nowait(frame.get_payload_as_bytes())


async def echo(way: str, compression: bool) -> None:
    options: dict[str, Any] = {"transport": way}
    if compression:
        options.update(compression=True, assemble_messages=True)
    server = await ws_create_server(lambda _: EchoServer(), "127.0.0.1", 0, **options)
    async with server:
        port = server.sockets[0].getsockname()[1]
        transport, client = await ws_connect(Client, f"ws://127.0.0.1:{port}/", **options)
        assert isinstance(client, Client)
        transport.send(WSMsgType.BINARY, MESSAGE)
        assert await client.received.get() == MESSAGE
        transport.send(WSMsgType.TEXT, "\N{GREEK SMALL LETTER MU}")
        assert (await client.received.get()).decode() == "\N{GREEK SMALL LETTER MU}"
        transport.disconnect()
        await transport.wait_disconnected()


def main() -> None:
    version = sys.argv[1]
    assert picows_c.__version__ == version, picows_c.__version__
    assert importlib.metadata.version("picows_c") == version
    # It is the installed package that is tried, with its types.
    folder = os.path.dirname(os.path.abspath(picows_c.__file__))
    assert os.path.dirname(folder) in {
        os.path.abspath(sysconfig.get_path(name)) for name in ("purelib", "platlib")
    }
    for name in ("py.typed", "_core.pyi"):
        assert os.path.exists(os.path.join(folder, name)), name
    for way in ("auto", "loop"):
        for compression in (False, True):
            asyncio.run(asyncio.wait_for(echo(way, compression), 60))
    # Importing us does not bring the lock back to a free-threaded build.
    free = sysconfig.get_config_var("Py_GIL_DISABLED") == 1
    assert not free or not sys._is_gil_enabled()  # type: ignore[attr-defined]
    kind = "free-threaded " if free else ""
    print(f"{kind}{platform.python_version()}, {picows_c._core.mask_kernel()}", end=": ok")


if __name__ == "__main__":
    main()
