"""Frames that arrive in one read: last_in_buffer, tail_size."""

from kit import BINARY, PING, PONG, ROLES, TEXT, link, recorder

DIFFERS = {
    "last-in-buffer": [f"{role}: a PING behind" for role in ROLES],
}


async def main(ws, log):
    for role in ROLES:
        for name, kinds in {
            "three": [TEXT, BINARY, TEXT],
            "a PING before": [PING, TEXT],
            "a PING behind": [TEXT, PING],
            "a PING between": [TEXT, PING, BINARY],
        }.items():
            seen = []
            listener = recorder(
                ws,
                on_ws_frame=lambda _, frame, seen=seen: seen.append(
                    [int(frame.msg_type), frame.tail_size, frame.last_in_buffer]
                ),
            )
            async with link(ws, role, listener) as there:
                frames = [there.peer.frame(kind, b"xyz") for kind in kinds]
                there.peer.send(b"".join(frames))
                delivered = sum(kind != PING for kind in kinds)
                await listener.many(1 + delivered)
                if PING in kinds:
                    await there.peer.until(PONG)
            log(f"{role}: {name}", seen)
