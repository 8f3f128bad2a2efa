"""A client that a test leads to hostile servers, while it talks to an honest one.

python led_astray.py LOOP WAY HONEST [CA]. A line on stdin is a command, one on stdout its answer:

    honest          a new connection to HONEST, and an old one, exchange messages
    hostile URL N   begin N connections
    impatient URL N  the same, with an open_timeout that soon ends what does not go on
    outcomes        what has become of them, as JSON: opening, open, or how they ended: how many
    leave           give up those that are left; how many descriptors are open then
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import ssl
import sys
from collections import Counter
from typing import Any, Optional

from conftest import new_loop
from helpers import EchoListener, Recorder
from raw import pattern, soon

from picows_c import WSMsgType, ws_connect

OPTIONS: dict[str, Any] = {
    "transport": sys.argv[2],
    "assemble_messages": True,
    "compression": True,
    "max_message_size": 1 << 20,
    "max_write_buffer_size": 1 << 20,
    "open_timeout": None,
    "websocket_handshake_timeout": None,
    "ssl_handshake_timeout": None,
    "close_timeout": 0.5,
}
CONTEXT: Optional[ssl.SSLContext] = None
if len(sys.argv) > 4:
    CONTEXT = ssl.create_default_context(cafile=sys.argv[4])


class Victim(EchoListener):
    """Answers each message with itself; ends where it is asked to."""

    def pause_writing(self) -> None:
        """Say nothing of it."""

    resume_writing = pause_writing

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type == WSMsgType.TEXT and frame.get_payload_as_bytes() == b"close":
            transport.send_close(1000, "as you like")
            return
        super().on_ws_frame(transport, frame)


class Client:
    def __init__(self) -> None:
        self.hostile: dict[asyncio.Task[None], str] = {}
        self.ended: Counter[str] = Counter()
        self.old: Any = None

    async def connect(self, factory: Any, url: str, **more: Any) -> Any:
        options = {**OPTIONS, **more}
        if url.startswith("wss:"):
            options["ssl_context"] = CONTEXT
        else:
            del options["ssl_handshake_timeout"]
        return await ws_connect(factory, url, **options)

    async def honest(self) -> str:
        new = await self.connect(Recorder, sys.argv[3])
        self.old = self.old or await self.connect(Recorder, sys.argv[3])
        for transport, listener in (new, self.old):
            for size in (0, 1, 200, 70_000):
                transport.send(WSMsgType.BINARY, pattern(size))
                assert bytes(await soon(listener.frames.get())) == pattern(size)
        new[0].disconnect()
        await soon(new[0].wait_disconnected())
        return "ok"

    async def live(self, url: str, options: dict[str, Any]) -> None:
        """Live one connection to a hostile server, from its opening to its end."""
        me: Any = asyncio.current_task()
        try:
            transport, _ = await self.connect(Victim, url, **options)
        except (Exception, asyncio.CancelledError) as error:
            # (Some subclasses have more to say than what they are.)
            kind = ssl.SSLError if isinstance(error, ssl.SSLError) else type(error)
            self.ended[kind.__name__] += 1
            del self.hostile[me]
            return
        self.hostile[me] = "open"
        try:
            await transport.wait_disconnected()
        except asyncio.CancelledError:
            transport.disconnect(False)
            await transport.wait_disconnected()
        except Exception:  # the cause says it
            pass
        self.ended[transport.disconnect_cause.kind.name] += 1
        del self.hostile[me]

    def hostility(self, url: str, count: str, **options: Any) -> str:
        self.ended.clear()
        for _ in range(int(count)):
            self.hostile[asyncio.ensure_future(self.live(url, options))] = "opening"
        return "begun"

    async def leave(self) -> str:
        tasks = list(self.hostile)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
        return str(len(os.listdir("/proc/self/fd")))

    async def obey(self, command: str, *arguments: str) -> str:
        if command == "honest":
            return await self.honest()
        if command == "hostile":
            return self.hostility(*arguments)
        if command == "impatient":
            return self.hostility(*arguments, open_timeout=0.2)
        if command == "outcomes":
            return json.dumps(Counter(self.hostile.values()) + self.ended)
        assert command == "leave"
        return await self.leave()


def complain(_: Any, context: dict[str, Any]) -> None:
    # (uvloop's own: a TLS handshake that fails when nobody waits for it any more.)
    if not isinstance(context.get("exception"), ssl.SSLError):
        print(context, file=sys.stderr)


async def main() -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(complain)
    client = Client()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(await client.obey(*line.split()), flush=True)


logging.disable(logging.CRITICAL)
loop = new_loop(sys.argv[1])
loop.run_until_complete(main())
loop.close()
