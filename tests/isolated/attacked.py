"""An echo server of whole, compressed messages for the tests to attack; prints its port.

python attacked.py LOOP WAY
"""

from __future__ import annotations

import asyncio
import logging
import sys

from conftest import new_loop
from helpers import EchoListener

from picows_c import ws_create_server


class Echo(EchoListener):
    def pause_writing(self) -> None:
        """Say nothing of it."""

    resume_writing = pause_writing


async def main() -> None:
    server = await ws_create_server(
        lambda request: Echo(),
        "127.0.0.1",
        0,
        transport=sys.argv[2],
        assemble_messages=True,
        compression=True,
        max_message_size=1 << 20,
        max_write_buffer_size=1 << 20,
        websocket_handshake_timeout=None,
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


logging.disable(logging.CRITICAL)
loop = new_loop(sys.argv[1])
loop.run_until_complete(main())
loop.close()
