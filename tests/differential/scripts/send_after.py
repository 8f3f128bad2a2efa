"""What a transport says after the end."""

from kit import ROLES, attempt, close_record, link, outcome

DIFFERS = {
    "send-after-disconnect": [f"{role}: what the peer got" for role in ROLES],
    "close-after-end": [f"{role}: its record" for role in ROLES],
}


async def main(ws, log):
    async def try_all(transport):
        return [
            attempt(transport.send, ws.WSMsgType.TEXT, "late"),
            attempt(transport.send_ping),
            attempt(transport.send_pong, b"late"),
            attempt(transport.disconnect),
            attempt(transport.disconnect, False),
        ]

    for role in ROLES:
        async with link(ws, role) as there:
            there.transport.disconnect(False)
            state = there.transport.is_disconnected
            log(f"{role}: after disconnect(False)", [state, await try_all(there.transport)])
            log(f"{role}: its events", await there.events())
            log(f"{role}: then", [there.transport.is_disconnected, await there.peer.ended()])

        async with link(ws, role) as there:
            there.transport.send(ws.WSMsgType.TEXT, "before")
            there.transport.disconnect()
            log(f"{role}: after disconnect()", attempt(there.transport.send_ping))
            log(f"{role}: what the peer got", await there.peer.rest())
            there.peer.end()
            await there.events()

        async with link(ws, role) as there:
            there.peer.end()
            await there.events()
            transport = there.transport
            await outcome(transport.wait_disconnected())
            log(
                f"{role}: after the peer's end",
                [await try_all(transport), transport.is_disconnected],
            )
            log(f"{role}: send_close", attempt(transport.send_close, 1000, "late"))
            log(f"{role}: its record", [close_record(transport), transport.is_close_frame_sent])
            log(
                f"{role}: what is left",
                [
                    transport.is_secure,
                    transport.is_client_side == (role == "client"),
                    transport.request.path,
                    int(transport.response.status),
                ],
            )
            log(f"{role}: waiting again", await outcome(transport.wait_disconnected()))
