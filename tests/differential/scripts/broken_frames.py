"""What breaks RFC 6455: the code that the peer sees, what is delivered, who hears of it."""

from kit import BINARY, CLOSE, CONTINUATION, PING, PONG, ROLES, TEXT, code_of, link, outcome

DIFFERS = {
    "rsv": [
        f"{role}: {name}" for role in ROLES for name in ("rsv1", "rsv2", "rsv3", "a PING with rsv1")
    ],
    "fragment-order": [
        f"{role}: {name}"
        for role in ROLES
        for name in (
            "CONTINUATION without a start",
            "CONTINUATION behind a whole message",
            "TEXT within a message",
            "BINARY within a message",
        )
    ],
    "error-texts": ["client: the text"],
}


async def main(ws, log):
    for role in ROLES:
        wrong_mask = None if role == "server" else b"\1\2\3\4"
        for name, frames in {
            **{f"opcode {opcode}": [(opcode, b"")] for opcode in (3, 7, 11, 15)},
            "a PING without fin": [(PING, b"", {"fin": False})],
            "a CLOSE without fin": [(CLOSE, b"", {"fin": False})],
            "wrong mask bit": [(TEXT, b"abc", {"mask": wrong_mask})],
            "a PING of 126": [(PING, b"x" * 126)],
            "a PONG of 70,000": [(PONG, b"x" * 70_000)],
            "5 in 16 bits": [(TEXT, b"hello", {"length_size": 2})],
            "5 in 64 bits": [(TEXT, b"hello", {"length_size": 8})],
            "65,535 in 64 bits": [(BINARY, b"x" * 65_535, {"length_size": 8})],
            "bit 63": [(BINARY, b"x", {"length": 1 << 63, "length_size": 8})],
            "rsv1": [(TEXT, b"x", {"rsv": 4})],
            "rsv2": [(TEXT, b"x", {"rsv": 2})],
            "rsv3": [(TEXT, b"x", {"rsv": 1})],
            "a PING with rsv1": [(PING, b"x", {"rsv": 4})],
            "CONTINUATION without a start": [(CONTINUATION, b"x")],
            "CONTINUATION behind a whole message": [(TEXT, b"x"), (CONTINUATION, b"y")],
            "TEXT within a message": [(TEXT, b"x", {"fin": False}), (TEXT, b"y")],
            "BINARY within a message": [(TEXT, b"x", {"fin": False}), (BINARY, b"y")],
            "a PING within a message": [
                (TEXT, b"x", {"fin": False}),
                (PING, b"p"),
                (CONTINUATION, b"y"),
            ],
            "text that is no UTF-8": [(TEXT, b"\xff")],
        }.items():
            async with link(ws, role) as there:
                delivered = 0
                for number, (opcode, payload, *options) in enumerate(frames):
                    # One by one: what is delivered before a broken one is another script's.
                    there.peer.send_frame(opcode, payload, **(options[0] if options else {}))
                    if number < len(frames) - 1 and opcode != PING:
                        delivered += 1
                        await there.listener.many(1 + delivered)
                # The answer is a CLOSE, or the PONG to this.
                there.peer.send_frame(PING, b"alive?")
                got = [code_of(frame) for frame in await there.peer.until(PONG)][:1]
                there.peer.end()
                events = await there.events()
                waiting = await outcome(there.transport.wait_disconnected())
                log(f"{role}: {name}", [got, events, waiting])

    async with link(ws, "client") as there:
        there.peer.send_frame(3)
        frame = await there.peer.receive()
        log("client: the text", frame[1][2:])
        there.peer.end()
        try:
            await there.transport.wait_disconnected()
        except ws.WSProtocolError as error:
            log("client: the exception has it", [error.code, str(error) == frame[1][2:].decode()])
