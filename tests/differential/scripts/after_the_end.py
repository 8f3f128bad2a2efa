"""What is delivered after the end was decided: nothing, or what was read already."""

from kit import ROLES, TEXT, link, recorder

DIFFERS = {
    "after-end": [
        f"{role}: {name}"
        for role in ROLES
        for name in ("disconnect()", "disconnect(False)", "an exception")
    ],
    "before-broken": [f"{role}: a broken frame behind" for role in ROLES],
}


async def main(ws, log):
    def once(hook):
        """Run the hook in the first callback only."""
        calls = []

        def first(transport, frame):
            calls.append(frame)
            if len(calls) == 1:
                hook(transport)

        return first

    def fail(_):
        raise ValueError("why")

    for role in ROLES:
        for name, hook in {
            "disconnect()": lambda transport: transport.disconnect(),
            "disconnect(False)": lambda transport: transport.disconnect(False),
            "an exception": fail,
            "nothing": lambda transport: None,
            "send_close()": lambda transport: transport.send_close(1000),
        }.items():
            listener = recorder(ws, on_ws_frame=once(hook))
            async with link(ws, role, listener) as there:
                frames = [there.peer.frame(TEXT, b"%d" % i) for i in range(4)]
                there.peer.send(b"".join(frames))
                if name in ("nothing", "send_close()"):
                    await listener.until("TEXT", 4)
                else:
                    await there.peer.ended()
                there.peer.end()
                log(f"{role}: {name}", await there.events())

        def echo(transport, frame):
            transport.send(frame.msg_type, frame.get_payload_as_bytes())

        async with link(ws, role, recorder(ws, on_ws_frame=echo)) as there:
            frames = [there.peer.frame(TEXT, b"%d" % i) for i in range(2)]
            there.peer.send(b"".join(frames) + there.peer.frame(3, b"broken"))
            got = [f if isinstance(f, str) else [f[0], f[1][:2]] for f in await there.peer.rest()]
            there.peer.end()
            log(f"{role}: a broken frame behind", [got, await there.events()])
