"""measure_roundtrip_time()."""

import asyncio

from kit import IMPATIENCE, PING, PONG, ROLES, TEXT, link, outcome, recorder

DIFFERS = {
    "rtt-dead": [f"{role}: after the end" for role in ROLES],
    "rtt-concurrent": [f"{role}: two at once" for role in ROLES],
}


async def main(ws, log):
    async def answer(peer, got):
        while True:
            frame = await peer.receive()
            if isinstance(frame, str):
                return
            got.append(frame)
            if frame[0] & 0xF == PING:
                peer.send_frame(PONG, frame[1])

    async def measure(transport, rounds):
        return await transport.measure_roundtrip_time(rounds)

    for role in ROLES:
        async with link(ws, role) as there:
            got = []
            answering = asyncio.ensure_future(answer(there.peer, got))
            times = await outcome(there.transport.measure_roundtrip_time(3))
            log(f"{role}: three rounds", [type(times).__name__, len(times), len(got)])
            log(f"{role}: are seconds", all(0 < t < 5 for t in times))
            log(f"{role}: no rounds", await outcome(there.transport.measure_roundtrip_time(0)))
            log(f"{role}: -1 rounds", await outcome(there.transport.measure_roundtrip_time(-1)))
            log(f"{role}: a str", await outcome(measure(there.transport, "1")))
            log(f"{role}: delivered", there.listener.events)
            there.peer.send_frame(PONG, b"unasked")
            log(f"{role}: an unasked PONG", await there.listener.until("PONG"))
            two = await outcome(
                asyncio.gather(
                    there.transport.measure_roundtrip_time(2),
                    there.transport.measure_roundtrip_time(2),
                ),
                IMPATIENCE,
            )
            log(f"{role}: two at once", [len(t) for t in two] if isinstance(two, list) else two)
            answering.cancel()

        async with link(ws, role) as there:
            measuring = asyncio.ensure_future(there.transport.measure_roundtrip_time(1))
            await there.peer.receive()
            there.peer.end()
            log(f"{role}: the end in between", await outcome(measuring))
            again = there.transport.measure_roundtrip_time(1)
            log(f"{role}: after the end", await outcome(again, IMPATIENCE))

        async with link(ws, role) as there:
            measuring = asyncio.ensure_future(there.transport.measure_roundtrip_time(1))
            await there.peer.receive()
            there.transport.notify_user_specific_pong_received()
            log(f"{role}: notified", len(await outcome(measuring)))
            there.transport.notify_user_specific_pong_received()
            there.transport.send(ws.WSMsgType.TEXT, "harmless")
            log(f"{role}: notified for nothing", await there.peer.receive())

        listener = recorder(ws)
        type(listener).send_user_specific_ping = lambda _, transport: transport.send(
            ws.WSMsgType.TEXT, "ping"
        )
        type(listener).is_user_specific_pong = lambda _, frame: frame.msg_type == TEXT
        async with link(ws, role, listener) as there:
            measuring = asyncio.ensure_future(there.transport.measure_roundtrip_time(1))
            asked = await there.peer.receive()
            there.peer.send_frame(TEXT, b"pong")
            log(f"{role}: pings of one's own", [asked, len(await outcome(measuring))])
            log(f"{role}: delivered of one's own", listener.events)
