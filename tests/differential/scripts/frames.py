"""WSFrame: attributes, getters, text."""

from kit import BINARY, CLOSE, CONTINUATION, PING, PONG, ROLES, TEXT, attempt, link, recorder

DIFFERS = {
    "frame-bools": [f"{role}: type of fin" for role in ROLES],
    "close-getters": [f"{role}: close getters of a TEXT" for role in ROLES],
}

GETTERS = ("get_payload_as_bytes", "get_payload_as_utf8_text", "get_payload_as_ascii_text")
CLOSE_GETTERS = ("get_close_code", "get_close_message", "get_close_reason")

FRAMES = {
    "TEXT": (TEXT, "höhe".encode()),
    "ASCII": (TEXT, b"abc"),
    "not UTF-8": (TEXT, b"\xff"),
    "BINARY": (BINARY, b"\x00\xff"),
    "empty": (BINARY, b""),
    "PING": (PING, b"ping"),
    "PONG": (PONG, b"pong"),
    "126 bytes": (BINARY, b"x" * 126),
    "70,000 bytes": (BINARY, b"x" * 70_000),
    "CLOSE": (CLOSE, b"\x03\xe8"),
    "CLOSE with a reason": (CLOSE, b"\x0f\xa0h\xc3\xb6he"),
    "an empty CLOSE": (CLOSE, b""),
}


async def main(ws, log):
    def look(transport, frame):
        view = frame.get_payload_as_memoryview()
        looks.append(
            {
                "str": str(frame),
                "type": int(frame.msg_type),
                "bits": [frame.fin, frame.rsv1, frame.rsv2, frame.rsv3],
                "sizes": [frame.payload_size, frame.tail_size, frame.last_in_buffer],
                "payload": [attempt(getattr(frame, getter)) for getter in GETTERS],
                "view": [bytes(view), view.readonly, view.format, view.nbytes, view.contiguous],
                "enum": isinstance(frame.msg_type, ws.WSMsgType),
                "fin": type(frame.fin).__name__,
                "close": [attempt(getattr(frame, getter)) for getter in CLOSE_GETTERS],
            }
        )
        if frame.msg_type == ws.WSMsgType.CLOSE:
            transport.disconnect()

    for role in ROLES:
        for name, (opcode, payload) in FRAMES.items():
            looks = []
            listener = recorder(ws, on_ws_frame=look)
            async with link(ws, role, listener, enable_auto_pong=False) as there:
                there.peer.send_frame(opcode, payload)
                await listener.until(ws.WSMsgType(opcode).name)
                (seen,) = looks
            close, fin = seen.pop("close"), seen.pop("fin")
            log(f"{role}: {name}", seen)
            if opcode == CLOSE:
                log(f"{role}: close getters of {name}", close)
            elif opcode == TEXT and payload == b"abc":
                log(f"{role}: close getters of a TEXT", close)
                log(f"{role}: type of fin", fin)

        looks = []
        listener = recorder(ws, on_ws_frame=look)
        async with link(ws, role, listener) as there:
            there.peer.send_frame(TEXT, b"a", fin=False)
            there.peer.send_frame(CONTINUATION, b"b", fin=False)
            there.peer.send_frame(CONTINUATION, b"c")
            await listener.until("CONTINUATION", 2)
        log(f"{role}: fragments", [[seen["type"], seen["bits"]] for seen in looks])
