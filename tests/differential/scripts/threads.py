"""Every method on another thread than the transport's."""

import asyncio
import re

from kit import ROLES, link

CALLS = {
    "send": lambda ws, t: t.send(ws.WSMsgType.TEXT, "x"),
    "send_ping": lambda ws, t: t.send_ping(),
    "send_pong": lambda ws, t: t.send_pong(),
    "send_close": lambda ws, t: t.send_close(1000),
    "disconnect": lambda ws, t: t.disconnect(),
    "wait_disconnected": lambda ws, t: asyncio.run(t.wait_disconnected()),
    "measure_roundtrip_time": lambda ws, t: asyncio.run(t.measure_roundtrip_time(1)),
    "send_reuse_external_bytearray": lambda ws, t: t.send_reuse_external_bytearray(
        ws.WSMsgType.TEXT, bytearray(20), 14
    ),
    "notify_user_specific_pong_received": lambda ws, t: t.notify_user_specific_pong_received(),
}


async def main(ws, log):
    def attempt(call, transport):
        try:
            call(ws, transport)
        except Exception as error:
            return [type(error).__name__, re.sub(r"\d+", "N", str(error))]

    for role in ROLES:
        async with link(ws, role) as there:
            loop = asyncio.get_running_loop()
            for name, call in CALLS.items():
                told = await loop.run_in_executor(None, attempt, call, there.transport)
                log(f"{role}: {name}", told)
            there.transport.send(ws.WSMsgType.TEXT, "alive")
            log(f"{role}: nothing of it was sent", await there.peer.receive())
