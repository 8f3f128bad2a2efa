"""What send(), send_ping() and send_pong() put on the wire, and what they refuse."""

import array

from kit import ROLES, attempt, link

DIFFERS = {
    "rsv": [f"{role}: {name}" for role in ROLES for name in ("rsv1", "rsv2 and rsv3")],
    "reserved-opcode": [f"{role}: opcode {opcode}" for role in ROLES for opcode in (3, 16, -1)],
    "fragment-order": [
        f"{role}: {name}"
        for role in ROLES
        for name in ("CONTINUATION without a start", "a message within a message")
    ],
    "control-size": [
        f"{role}: {name}" for role in ROLES for name in ("a PING of 126", "a PONG of 126")
    ],
    "control-fragment": [f"{role}: a PING without fin" for role in ROLES],
}

MESSAGES = {
    "None": None,
    "empty str": "",
    "empty bytes": b"",
    "str": "höhe",
    "bytes": b"\x00\xff",
    "bytearray": bytearray(b"abc"),
    "memoryview": memoryview(b"abcdef")[2:4],
    "array": array.array("H", [0x4142, 0x4344]),
    "memoryview of shorts": memoryview(array.array("H", [0x4142])),
    "a lone surrogate": "\ud800",
    "every second byte": memoryview(b"abcdef")[::2],
    "int": 5,
    "list": [1, 2],
    "object": object(),
}


async def main(ws, log):
    for role in ROLES:
        kinds = ws.WSMsgType

        async def sent(role, name, *calls):
            """Make the calls on a new connection; log what comes over the wire."""
            async with link(ws, role) as there:
                results = [attempt(getattr(there.transport, call[0]), *call[1:]) for call in calls]
                attempt(there.transport.disconnect)
                frames = await there.peer.rest()
                log(f"{role}: {name}", [results, frames])

        for name, message in MESSAGES.items():
            await sent(role, name, ["send", kinds.BINARY, message])
        await sent(role, "an int for the type", ["send", 1, "text"])
        await sent(role, "a str for the type", ["send", "TEXT", "text"])
        await sent(role, "opcode 3", ["send", 3, b"x"])
        await sent(role, "opcode 16", ["send", 16, b"x"])
        await sent(role, "opcode -1", ["send", -1, b"x"])
        await sent(role, "rsv1", ["send", kinds.TEXT, b"x", True, True])
        await sent(role, "rsv2 and rsv3", ["send", kinds.TEXT, b"x", True, False, True, True])
        await sent(
            role,
            "fragments",
            ["send", kinds.TEXT, b"a", False],
            ["send_ping", b"p"],
            ["send", kinds.CONTINUATION, b"b", False],
            ["send", kinds.CONTINUATION, b"c", True],
            ["send", kinds.BINARY, b"d"],
        )
        await sent(role, "CONTINUATION without a start", ["send", kinds.CONTINUATION, b"x"])
        await sent(
            role,
            "a message within a message",
            ["send", kinds.TEXT, b"a", False],
            ["send", kinds.TEXT, b"b"],
        )
        await sent(role, "a PING without fin", ["send", kinds.PING, b"x", False])
        await sent(role, "PINGs", ["send_ping"], ["send_ping", b"x"], ["send_ping", "ä"])
        await sent(role, "PONGs", ["send_pong"], ["send_pong", b"x"], ["send_pong", "ä"])
        await sent(role, "PING by send", ["send", kinds.PING, b"x"], ["send", kinds.PONG, None])
        await sent(role, "a PING of 125", ["send_ping", b"x" * 125])
        await sent(role, "a PING of 126", ["send_ping", b"x" * 126])
        await sent(role, "a PONG of 126", ["send_pong", b"x" * 126])
