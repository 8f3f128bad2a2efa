"""A CLOSE from the peer that the listener answers itself, as picows wants it: every code."""

from kit import CLOSE, ROLES, close_record, link, outcome, recorder

CODES = (0, 1, 999, 1000, 1001, 1002, 1003, 1004, 1005, 1006, *range(1007, 1016))
CODES = (*CODES, 1016, 2999, 3000, 3999, 4000, 4999, 5000, 65535)

DIFFERS = {
    "close-codes": [f"{role}: {code}" for role in ROLES for code in (0, 1006, 5000, 65535)]
    + [f"client: {code}: waiting" for code in (0, 1006, 5000, 65535)],
    "close-empty": [f"{role}: empty" for role in ROLES],
}


async def main(ws, log):
    def answer(transport, frame):
        transport.send_close(frame.get_close_code(), frame.get_close_message())
        transport.disconnect()

    async def close(name, payload):
        for role in ROLES:
            async with link(ws, role, recorder(ws, on_ws_frame=answer)) as there:
                there.peer.send_frame(CLOSE, payload)
                got = await there.peer.receive()
                refused = got[1][:2] != payload[:2]
                there.peer.end()
                events = await there.events()
                record = close_record(there.transport)
                if refused:  # the wording is another script's
                    got[1] = got[1][:2]
                    record["sent"][1] = "a text"
                log(f"{role}: {name}", [got, events, record])
                log(f"{role}: {name}: waiting", await outcome(there.transport.wait_disconnected()))

    for code in CODES:
        await close(str(code), code.to_bytes(2, "big"))
    await close("1000 with a reason", b"\x03\xe8why")
    await close("4000 with a reason", b"\x0f\xa0gr\xc3\xbcnd")
    await close("empty", b"")
    await close("one byte", b"\x03")
    await close("a reason that is no UTF-8", b"\x03\xe8\xff")
    await close("a long reason", b"\x03\xe8" + b"x" * 123)
