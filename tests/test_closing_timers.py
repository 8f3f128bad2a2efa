"""No end of a connection waits for a timer where both sides have said that they are done."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from helpers import Recorder
from raw import soon
from served import until

from picows_c import WSMsgType, WSProtocolError
from picows_c.poller import has_poller

WAYS = ["auto", "loop"] if has_poller() else ["loop"]


class Ending(Recorder):
    """Ends the connection in one way, in its first callback with a frame."""

    end = ""

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        super().on_ws_frame(transport, frame)
        if self.end and frame.msg_type == WSMsgType.BINARY:
            end, self.end = self.end, ""
            if end == "close":
                transport.send_close(1000, "bye")
            elif end == "disconnect":
                transport.disconnect()
            elif end == "drop":
                transport.disconnect(False)
            elif end == "raise":
                raise ValueError("planned")
            elif end == "fail":
                raise WSProtocolError(1008, "planned")

    def on_ws_error(self, transport: Any, exc: Any, where: str) -> None:
        """Planned."""


class Timers:
    """Counts the timers of ours that fired, by their names."""

    def __init__(self, loop: asyncio.AbstractEventLoop, monkeypatch: Any) -> None:
        self.fired: list[str] = []
        later = loop.call_later

        def call_later(delay: float, callback: Any, *args: Any, **options: Any) -> Any:
            owner = type(getattr(callback, "__self__", callback)).__module__
            if not owner.startswith("picows_c") and "picows_c" not in str(callback):
                return later(delay, callback, *args, **options)

            def fires() -> None:
                self.fired.append(getattr(callback, "__qualname__", repr(callback)))
                callback(*args)

            return later(delay, fires, **options)

        monkeypatch.setattr(loop, "call_later", call_later, raising=False)


@pytest.mark.parametrize("end", ["close", "disconnect", "drop", "raise", "fail"])
@pytest.mark.parametrize("who", ["client", "server"])
@pytest.mark.parametrize("other", WAYS)
async def test_no_timer_fires(net, other, who, end, monkeypatch):
    """Each end, whoever begins, over each pair of ways, plain and with TLS."""
    loop = asyncio.get_running_loop()
    timers = Timers(loop, monkeypatch)
    served: list[Ending] = []

    def factory(request):
        served.append(Ending())
        return served[0]

    async with net.serve(factory, transport=other):
        _, client = await net.connect(Ending)
        await until(lambda: bool(served) and served[0].connected.is_set())
        ender, writer = (client, served[0]) if who == "client" else (served[0], client)
        ender.end = end
        writer.transport.send(WSMsgType.BINARY, b"end it")
        for listener in (client, served[0]):
            await soon(listener.disconnected.wait())
            assert listener.events.count("disconnected") == 1
    assert timers.fired == []
