"""The closing handshake where the listener leaves all to the library."""

from kit import CLOSE, IMPATIENCE, ROLES, TEXT, close_record, code_of, link, ours, outcome, recorder

DIFFERS = {
    "close-answered": [
        f"{role}: the peer's CLOSE: {what}"
        for role in ROLES
        for what in ("the answer", "the record")
    ],
    "close-completes": [
        "server: our CLOSE: the connection",
        "server: the peer's CLOSE: the connection",
    ],
    "close-timeout": [f"{role}: no answer: the connection" for role in ROLES],
    "close-record-when": [f"{role}: the record in the callbacks" for role in ROLES],
    "after-close": [f"{role}: a TEXT behind a CLOSE" for role in ROLES]
    + [f"{role}: two CLOSEs" for role in ROLES],
}


async def main(ws, log):
    ok = b"\x03\xe8"
    for role in ROLES:
        async with link(ws, role) as there:
            there.transport.send_close(1000, "bye")
            log(f"{role}: our CLOSE", await there.peer.receive())
            there.peer.send_frame(CLOSE, ok + b"bye too")
            await there.listener.until("CLOSE")
            log(f"{role}: our CLOSE: the record", close_record(there.transport))
            log(f"{role}: our CLOSE: the connection", await there.peer.ended(0.5))
            there.peer.end()
            log(f"{role}: our CLOSE: events", await there.events())
            log(f"{role}: our CLOSE: waiting", await outcome(there.transport.wait_disconnected()))

        async with link(ws, role) as there:
            there.peer.send_frame(CLOSE, ok + b"bye")
            await there.listener.until("CLOSE")
            answer = await outcome(there.peer.receive(), 0.5)
            log(f"{role}: the peer's CLOSE: the answer", answer)
            log(f"{role}: the peer's CLOSE: the record", close_record(there.transport))
            log(f"{role}: the peer's CLOSE: the connection", await there.peer.ended(0.5))
            there.peer.end()
            log(f"{role}: the peer's CLOSE: events", await there.events())

        async with link(ws, role, **ours(ws, close_timeout=0.2)) as there:
            there.transport.send_close(1000)
            await there.peer.receive()
            # The peer goes on reading and keeps its side open.
            left = await there.peer.ended(IMPATIENCE)
            log(f"{role}: no answer: the connection", left != "open")

        async with link(ws, role) as there:
            there.peer.send(there.peer.frame(CLOSE, ok) + there.peer.frame(TEXT, b"late"))
            there.peer.end()
            events = await there.events()
            log(f"{role}: a TEXT behind a CLOSE", events)

        async with link(ws, role) as there:
            there.peer.send(there.peer.frame(CLOSE, ok) + there.peer.frame(CLOSE, ok))
            log(f"{role}: two CLOSEs", code_of(await there.peer.receive()))
            there.peer.end()
            await there.events()

        records = []
        listener = recorder(
            ws,
            on_ws_frame=lambda transport, frame, records=records: records.append(
                close_record(transport)
            ),
        )
        async with link(ws, role, listener) as there:
            there.peer.send(there.peer.frame(TEXT, b"last") + there.peer.frame(CLOSE, ok))
            await listener.until("CLOSE")
            log(f"{role}: the record in the callbacks", [r and r["recv"] for r in records])

        async with link(ws, role) as there:
            there.peer.end()
            log(f"{role}: the end without a CLOSE", await there.events())
            log(f"{role}: the end: the record", close_record(there.transport))
            log(f"{role}: the end: waiting", await outcome(there.transport.wait_disconnected()))

        async with link(ws, role) as there:
            there.peer.abort()
            log(f"{role}: a reset", await there.events())
            log(f"{role}: a reset: waiting", await outcome(there.transport.wait_disconnected()))
