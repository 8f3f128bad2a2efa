"""send_reuse_external_bytearray()."""

from kit import ROLES, attempt, link

DIFFERS = {
    "rsv": [f"{role}: rsv1" for role in ROLES],
    "reuse-buffer": [f"{role}: memoryview" for role in ROLES],
}


async def main(ws, log):
    kinds = ws.WSMsgType

    def buffer(payload, room=14):
        return bytearray(b"." * room) + payload

    for role in ROLES:
        for name, args in {
            "TEXT": [kinds.TEXT, buffer(b"text"), 14],
            "an int for the type": [2, buffer(b"binary"), 14],
            "more room": [kinds.BINARY, buffer(b"binary", 20), 20],
            "room within the payload": [kinds.BINARY, buffer(b"binary", 20), 22],
            "nothing": [kinds.BINARY, buffer(b""), 14],
            "126 bytes": [kinds.BINARY, buffer(b"x" * 126), 14],
            "70,000 bytes": [kinds.BINARY, buffer(b"x" * 70_000), 14],
            "without fin": [kinds.TEXT, buffer(b"text"), 14, False],
            "PING": [kinds.PING, buffer(b"ping"), 14],
            "rsv1": [kinds.TEXT, buffer(b"text"), 14, True, True],
            "too little room": [kinds.TEXT, buffer(b"text"), 13],
            "a negative offset": [kinds.TEXT, buffer(b"text"), -1],
            "beyond the end": [kinds.TEXT, buffer(b""), 15],
            "CLOSE": [kinds.CLOSE, buffer(b"\x03\xe8"), 14],
            "None": [kinds.TEXT, None, 14],
            "bytes": [kinds.TEXT, bytes(buffer(b"text")), 14],
            "memoryview": [kinds.TEXT, memoryview(buffer(b"text")), 14],
            "a str": [kinds.TEXT, "." * 14 + "text", 14],
        }.items():
            async with link(ws, role) as there:
                result = attempt(there.transport.send_reuse_external_bytearray, *args)
                there.transport.disconnect()
                log(f"{role}: {name}", [result, await there.peer.rest()])

        async with link(ws, role) as there:
            data = buffer(b"text")
            there.transport.send_reuse_external_bytearray(kinds.TEXT, data, 14)
            log(f"{role}: its size stays", len(data))
            data.extend(b"more")
            there.transport.send_close(1000)
            late = attempt(
                there.transport.send_reuse_external_bytearray, kinds.TEXT, buffer(b"late"), 14
            )
            there.transport.disconnect()
            log(f"{role}: after a CLOSE", [late, await there.peer.rest()])
