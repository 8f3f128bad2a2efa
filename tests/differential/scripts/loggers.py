"""Which loggers hear of a connection, and how loud."""

import contextlib
import logging
import re

from kit import ROLES, TEXT, link, recorder

DIFFERS = {
    "logger-names": ["client: the library's prefix", "server: the library's prefix"],
    "error-logged": [
        "server: on_ws_connected raises: with a traceback",
        "client: on_ws_connected raises: with a traceback",
        "client: on_ws_frame raises: with a traceback",
        "client: on_ws_disconnected raises: with a traceback",
    ],
    "peer-errors": ["client: a broken frame", "server: a broken frame"],
}


async def main(ws, log):
    with heard(logging.INFO) as records:
        for role in ROLES:
            await tell_names(ws, log, role, records)
            await tell_exceptions(ws, log, role, records)
    for role in ROLES:
        await tell_frames(ws, log, role)


@contextlib.contextmanager
def heard(level):
    """Give the list of what is logged from this level on."""
    records = []
    handler = logging.Handler(1)
    handler.emit = records.append
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(level)
    try:
        yield records
    finally:
        root.setLevel(before)
        root.removeHandler(handler)


async def tell_names(ws, log, role, records):
    own = logging.getLogger("an.own.one")
    for name, logger in {
        "None": None,
        "a str": "some.name",
        "a logger": own,
        "an adapter": logging.LoggerAdapter(own, {}),
    }.items():
        records.clear()
        async with link(ws, role, logger_name=logger) as there:
            there.peer.end()
            await there.events()
        # Without the library's and the descriptor's part.
        names = {re.sub(r"^picows(_c)?\.|\.\d+$", "", record.name) for record in records}
        log(f"{role}: {name}", sorted(names))
        log(f"{role}: {name}: levels", [record.levelname for record in records])
    records.clear()
    async with link(ws, role) as there:
        there.peer.end()
        await there.events()
    log(f"{role}: the library's prefix", records[0].name.partition(".")[0])


async def tell_exceptions(ws, log, role, records):
    def fail(*_):
        raise ValueError("why")

    def loud():
        return [record for record in records if record.levelno > logging.INFO]

    for callback in ("on_ws_connected", "on_ws_frame", "on_ws_disconnected"):
        records.clear()
        async with link(ws, role, recorder(ws, **{callback: fail})) as there:
            there.peer.send_frame(TEXT, b"x")
            if callback == "on_ws_disconnected":
                there.peer.end()
            await there.peer.ended()
            there.peer.end()
            await there.events()
        log(f"{role}: {callback} raises", bool(loud()))
        log(f"{role}: {callback} raises: with a traceback", any(r.exc_info for r in loud()))

    for name, frame in {"a broken frame": 3, "an exception that goes on": TEXT}.items():
        records.clear()
        listener = recorder(ws, on_ws_frame=fail)
        async with link(ws, role, listener, disconnect_on_exception=False) as there:
            there.peer.send_frame(frame, b"x")
            if frame == TEXT:
                await listener.until("TEXT")
                there.peer.end()
            await there.peer.ended()
            there.peer.end()
            await there.events()
        log(f"{role}: {name}", [[r.levelname, bool(r.exc_info)] for r in loud()])


async def tell_frames(ws, log, role):
    """Level 9 tells of single frames; it is looked at once for each connection."""
    for name, level in {"level 9": ws.PICOWS_DEBUG_LL, "level 10": logging.DEBUG}.items():
        with heard(level) as records:
            async with link(ws, role) as there:
                there.transport.send(ws.WSMsgType.TEXT, "x")
                there.peer.send_frame(TEXT, b"y")
                await there.listener.until("TEXT")
                there.peer.end()
                await there.events()
        log(f"{role}: {name}", any(r.levelno == ws.PICOWS_DEBUG_LL for r in records))
