"""Exceptions of every callback, on both sides."""

from kit import ROLES, TEXT, close_record, code_of, link, outcome, recorder

DIFFERS = {
    "invalid-text": [f"{role}: on_ws_frame: text that is no UTF-8" for role in ROLES],
    "close-codes": [
        f"{role}: {callback}: a code that may not be sent"
        for role in ROLES
        for callback in ("on_ws_connected", "on_ws_frame")
    ],
    "control-size": [
        f"{role}: {callback}: a reason of 200"
        for role in ROLES
        for callback in ("on_ws_connected", "on_ws_frame")
    ],
    "after-end": [f"{role}: a frame behind on_ws_connected" for role in ROLES],
}


async def main(ws, log):
    def kinds(callback):
        error = ws.WSProtocolError
        found = {
            "ValueError": ValueError("why"),
            "another code": error(4000, "why"),
            "without a reason": error(1008, ""),
            "a code that may not be sent": error(1005, "why"),
            "a reason of 200": error(4000, "x" * 200),
            "text of another decoder": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"),
        }
        return found if callback != "on_ws_disconnected" else {"ValueError": ValueError("why")}

    def raising(error):
        def hook(*_):
            raise error

        return hook

    async def play(role, name, listener, payload=b"payload", **options):
        async with link(ws, role, listener, **options) as there:
            there.peer.send_frame(TEXT, payload)
            if name.startswith("on_ws_disconnected"):
                await listener.until("TEXT")
                there.peer.end()
            got = await there.peer.receive()
            code = code_of(got)
            reason = got[1][2:] if isinstance(got, list) else None
            ended = await there.peer.ended()
            there.peer.end()
            events = await there.events()
            if name.startswith("on_ws_connected"):
                behind = [event for event in events if event[0] == "TEXT"]
                events = [event for event in events if event[0] != "TEXT"]
            waiting = await outcome(there.transport.wait_disconnected())
            record = close_record(there.transport)
            log(f"{role}: {name}", [code, reason, ended, events, waiting, record])
            if name == "on_ws_connected: ValueError":
                log(f"{role}: a frame behind on_ws_connected", behind)

    for role in ROLES:
        for callback in ("on_ws_connected", "on_ws_frame", "on_ws_disconnected"):
            for name, error in kinds(callback).items():
                listener = recorder(ws, **{callback: raising(error)})
                await play(role, f"{callback}: {name}", listener)

        def decode(_, frame):
            frame.get_payload_as_utf8_text()

        listener = recorder(ws, on_ws_frame=decode)
        await play(role, "on_ws_frame: text that is no UTF-8", listener, b"\xff")

        def decode_ascii(_, frame):
            frame.get_payload_as_ascii_text()

        listener = recorder(ws, on_ws_frame=decode_ascii)
        await play(role, "on_ws_frame: text that is no ASCII", listener, b"\xc3\xb6")

        def both(*_):
            raise KeyError("one of both")

        listener = recorder(ws, on_ws_frame=both, on_ws_disconnected=raising(ValueError("late")))
        await play(role, "two exceptions", listener)

        for name, error in {
            "ValueError": ValueError("why"),
            "WSProtocolError": ws.WSProtocolError(4000, "why"),
        }.items():
            failing = recorder(ws, on_ws_frame=raising(error))
            async with link(ws, role, failing, disconnect_on_exception=False) as there:
                there.peer.send_frame(TEXT, b"one")
                await failing.until("TEXT")
                there.peer.send_frame(TEXT, b"two")
                if name == "ValueError":
                    await failing.until("TEXT", 2)
                    there.transport.send(ws.WSMsgType.TEXT, "alive")
                got = await there.peer.receive()
                there.peer.end()
                await there.events()
                log(f"{role}: not disconnecting: {name}", [got, failing.events[:2]])
