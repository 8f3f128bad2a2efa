"""A frame and its view, kept beyond the callback."""

from kit import BINARY, ROLES, link, recorder

DIFFERS = {
    "kept": [f"{role}: {what}" for role in ROLES for what in ("a view", "a frame")],
}


async def main(ws, log):
    for role in ROLES:
        kept = []

        def keep(_, frame, kept=kept):
            kept.append([frame, frame.get_payload_as_memoryview()])

        listener = recorder(ws, on_ws_frame=keep)
        async with link(ws, role, listener) as there:
            for i in range(3):
                there.peer.send_frame(BINARY, b"%d" % i * 8)
                await listener.until("BINARY", i + 1)
            log(f"{role}: a view", bytes(kept[0][1]))
            log(f"{role}: a frame", kept[0][0].get_payload_as_bytes())
