"""Automatic pings: when they go, what answers them, what happens without an answer."""

import asyncio

from kit import BINARY, CLOSE, PING, PONG, ROLES, TEXT, code_of, link, outcome, recorder

DIFFERS = {
    "liveness": [
        f"{role}: {name}"
        for role in ROLES
        for name in ("a slow frame instead of a PONG", "a PONG that is none")
    ],
}

IDLE, PERIOD = "PING_WHEN_IDLE", "PING_PERIODICALLY"


async def main(ws, log):
    def options(strategy=IDLE, idle=0.3, reply=0.3):
        return {
            "enable_auto_ping": True,
            "auto_ping_strategy": getattr(ws.WSAutoPingStrategy, strategy),
            "auto_ping_idle_timeout": idle,
            "auto_ping_reply_timeout": reply,
        }

    async def feed(peer, data, seconds):
        """Send in small steps, so that the connection is never idle."""
        for byte in data:
            if peer.writer.transport.is_closing():
                return  # uvloop's transports raise for what is written to them then
            peer.send(byte if isinstance(byte, bytes) else bytes([byte]))
            await asyncio.sleep(seconds / len(data))

    async def play(role, log):
        for strategy in (IDLE, PERIOD):
            async with link(ws, role, **options(strategy)) as there:
                first = await there.peer.receive()
                there.peer.send_frame(PONG, first[1])
                second = await there.peer.receive()
                # Any PONG is an answer.
                there.peer.send_frame(PONG, b"another")
                third = await there.peer.receive()
                there.peer.send_frame(PONG)
                there.peer.send_frame(PONG, b"unasked")
                events = await there.listener.until("PONG")
                log(f"{role}: {strategy}", [first, second, third, events])

            async with link(ws, role, **options(strategy)) as there:
                first = await there.peer.receive()
                frames = await there.peer.rest()
                log(f"{role}: {strategy}: no PONG", [first, code_of(frames[0]), frames[1:]])
                there.peer.end()
                waiting = await outcome(there.transport.wait_disconnected())
                log(f"{role}: {strategy}: no PONG: events", [await there.events(), waiting])
                if strategy == IDLE:
                    log(f"{role}: no PONG: the text", frames[0][1][2:])

        async with link(ws, role, **options(IDLE, 0.6, 0.6)) as there:
            await feed(there.peer, [there.peer.frame(TEXT, b"x")] * 15, 1.5)
            there.peer.send_frame(PING, b"mine")
            log(f"{role}: never idle", (await there.peer.until(PONG))[0])

        async with link(ws, role, **options(PERIOD, 0.4, 0.4)) as there:
            await feed(there.peer, [there.peer.frame(TEXT, b"x")] * 5, 0.5)
            log(f"{role}: periodically, though never idle", await there.peer.receive())

        async with link(ws, role, **options(IDLE, 0.5, 0.5)) as there:
            first = await there.peer.receive()
            await feed(there.peer, there.peer.frame(BINARY, b"x" * 30), 1.5)
            delivered = await outcome(there.listener.many(2))
            log(f"{role}: a slow frame instead of a PONG", [first, delivered])

        class OwnPing:
            """Pings are TEXT."""

            def send_user_specific_ping(self, transport):
                transport.send(ws.WSMsgType.TEXT, "ping")

            def is_user_specific_pong(self, frame):
                return frame.get_payload_as_bytes() == b"pong"

        class OwnPong:
            """Pongs are found by the listener itself."""

            def is_user_specific_pong(self, frame):
                return False

        def note(transport, frame):
            if frame.get_payload_as_bytes() == b"pong":
                transport.notify_user_specific_pong_received()

        def mixed(own, **hooks):
            listener = recorder(ws, **hooks)
            listener.__class__ = type("Mixed", (own, type(listener)), {})
            return listener

        async with link(ws, role, mixed(OwnPing), **options()) as there:
            first = await there.peer.receive()
            there.peer.send_frame(TEXT, b"pong")
            second = await there.peer.receive()
            there.peer.send_frame(TEXT, b"pong")
            there.peer.send_frame(TEXT, b"pong")
            events = await there.listener.until("TEXT")
            log(f"{role}: pings of one's own", [first, second, events])

        async with link(ws, role, mixed(OwnPong, on_ws_frame=note), **options()) as there:
            first = await there.peer.receive()
            there.peer.send_frame(TEXT, b"pong")
            second = await there.peer.receive()
            there.peer.send_frame(TEXT, b"pong")
            log(f"{role}: notified", [first, second, await there.listener.until("TEXT", 2)])
            there.transport.notify_user_specific_pong_received()
            await there.peer.receive()
            there.peer.send_frame(PONG)
            log(f"{role}: a PONG that is none", code_of(await there.peer.receive()))
            there.peer.end()
            log(f"{role}: a PONG that is none: events", await there.events())

        def fail(*_):
            raise ValueError("why")

        for method in ("send_user_specific_ping", "is_user_specific_pong"):
            listener = recorder(ws)
            setattr(type(listener), method, fail)
            async with link(ws, role, listener, **options()) as there:
                there.peer.send_frame(TEXT, b"x")
                await listener.until("TEXT")
                if method == "is_user_specific_pong":
                    await there.peer.receive()
                    there.peer.send_frame(PONG)
                frames = [code_of(frame) for frame in await there.peer.rest()]
                there.peer.end()
                waiting = await outcome(there.transport.wait_disconnected())
                log(f"{role}: {method} raises", [frames, await there.events(), waiting])

        async with link(ws, role, **options()) as there:
            first = await there.peer.receive()
            there.peer.send_frame(CLOSE, b"\x03\xe8")
            await there.listener.until("CLOSE")
            there.transport.send_close(1000)
            there.transport.disconnect()
            frames = await there.peer.rest()
            log(f"{role}: a CLOSE instead of a PONG", [first, frames])

    # Both at once, for the time it takes.
    steps = {role: [] for role in ROLES}
    await asyncio.gather(*(play(role, lambda *s, r=role: steps[r].append(s)) for role in ROLES))
    for role in ROLES:
        for step in steps[role]:
            log(*step)
