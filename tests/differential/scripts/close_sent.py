"""send_close(): what goes over the wire, what is refused, what is recorded."""

from kit import ROLES, attempt, close_record, link

CODES = (999, 1000, 1001, 1004, 1005, 1006, 1007, 1014, 1015, 2999, 3000, 4999, 5000, 65535, 70000)

REFUSED = (999, 1004, 1005, 1006, 1015, 2999, 5000, 65535, 70000)
DIFFERS = {
    "close-codes": [f"{role}: {code}" for role in ROLES for code in REFUSED],
    "close-empty": [
        f"{role}: {name}" for role in ROLES for name in ("nothing", "NO_INFO", "0 with a reason")
    ],
    "control-size": [f"{role}: a reason of 124" for role in ROLES],
    "argument-errors": [
        f"{role}: {name}" for role in ROLES for name in ("a reason that is no UTF-8", "-1")
    ],
    "close-no-reason": ["no reason in the record"],
}


async def main(ws, log):
    for role in ROLES:
        for name, args in {
            "nothing": [],
            "NO_INFO": [ws.WSCloseCode.NO_INFO],
            "0 with a reason": [0, "why"],
            **{str(code): [code] for code in CODES},
            "a member": [ws.WSCloseCode.GOING_AWAY],
            "a reason": [1000, "why"],
            "an empty reason": [1000, ""],
            "a reason not ASCII": [1000, "gründe"],
            "a reason in bytes": [1000, b"why"],
            "a reason in a bytearray": [1000, bytearray(b"why")],
            "a reason that is no UTF-8": [1000, b"\xff"],
            "a reason of 123": [1000, "x" * 123],
            "a reason of 124": [1000, "x" * 124],
            "an int for a reason": [1000, 5],
            "a str for a code": ["1000"],
            "-1": [-1],
        }.items():
            async with link(ws, role) as there:
                result = attempt(there.transport.send_close, *args)
                state = [there.transport.is_close_frame_sent, close_record(there.transport)]
                there.transport.disconnect()
                log(f"{role}: {name}", [result, state, await there.peer.rest()])

    async with link(ws, "client") as there:
        there.transport.send_close(1000)
        log("no reason in the record", there.transport.close_handshake.sent.reason)

    for role in ROLES:
        async with link(ws, role) as there:
            transport = there.transport
            transport.send(ws.WSMsgType.TEXT, "before")
            transport.send_close(1000, "one")
            second = attempt(transport.send_close, 1001, "two")
            after = [
                attempt(transport.send, ws.WSMsgType.TEXT, "after"),
                attempt(transport.send_ping, b"after"),
                attempt(transport.send_pong, b"after"),
            ]
            state = [second, after, transport.is_disconnected, close_record(transport)]
            transport.disconnect()
            log(f"{role}: after a CLOSE", [state, await there.peer.rest()])
