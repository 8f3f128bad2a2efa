"""Which loggers hear of a connection, and how loud."""

import logging
import re

from kit import ROLES, TEXT, link, recorder

DIFFERS = {
    "logger-names": ["client: the library's prefix", "server: the library's prefix"],
    "error-logged": ["server: on_ws_connected raises: with a traceback"],
}


async def main(ws, log):
    records = []
    handler = logging.Handler(1)
    handler.emit = records.append
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)

    def names():
        """Names of the loggers, without the library's and the descriptor's part."""
        return sorted({re.sub(r"^picows(_c)?\.|\.\d+$", "", record.name) for record in records})

    own = logging.getLogger("an.own.one")
    for role in ROLES:
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
            log(f"{role}: {name}", names())
            levels = [record.levelname for record in records]
            log(f"{role}: {name}: levels", levels)
        records.clear()
        async with link(ws, role) as there:
            there.peer.end()
            await there.events()
        log(f"{role}: the library's prefix", records[0].name.partition(".")[0])

        def fail(*_):
            raise ValueError("why")

        for callback in ("on_ws_connected", "on_ws_frame", "on_ws_disconnected"):
            records.clear()
            async with link(ws, role, recorder(ws, **{callback: fail})) as there:
                there.peer.send_frame(TEXT, b"x")
                if callback == "on_ws_disconnected":
                    there.peer.end()
                await there.peer.ended()
                there.peer.end()
                await there.events()
            loud = [record for record in records if record.levelno > logging.INFO]
            log(f"{role}: {callback} raises", bool(loud))
            log(f"{role}: {callback} raises: with a traceback", any(r.exc_info for r in loud))

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
            loud = [record for record in records if record.levelno > logging.INFO]
            log(f"{role}: {name}", [[r.levelname, bool(r.exc_info)] for r in loud])

    root.setLevel(level)
    root.removeHandler(handler)
