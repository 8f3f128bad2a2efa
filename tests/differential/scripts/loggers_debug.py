"""Level 9 tells of single frames; it is looked at once for each connection."""

import logging

from kit import ROLES, TEXT, link


async def main(ws, log):
    records = []
    handler = logging.Handler(1)
    handler.emit = records.append
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    for role in ROLES:
        for name, loud in {"level 9": ws.PICOWS_DEBUG_LL, "level 10": logging.DEBUG}.items():
            records.clear()
            root.setLevel(loud)
            async with link(ws, role) as there:
                there.transport.send(ws.WSMsgType.TEXT, "x")
                there.peer.send_frame(TEXT, b"y")
                await there.listener.until("TEXT")
                there.peer.end()
                await there.events()
            log(f"{role}: {name}", any(r.levelno == ws.PICOWS_DEBUG_LL for r in records))
    root.setLevel(level)
    root.removeHandler(handler)
