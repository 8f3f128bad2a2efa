"""max_frame_size, and buffers of every size."""

from kit import BINARY, CLOSE, CONTINUATION, PING, ROLES, TEXT, code_of, link, outcome

DIFFERS = {"after-end": [f"{role}: the second is too large" for role in ROLES]}


async def main(ws, log):
    for role in ROLES:
        for name, frames in {
            "the limit": [(BINARY, 1000)],
            "one more": [(BINARY, 1001)],
            "a length alone": [(BINARY, 1 << 40)],
            "the second is too large": [(TEXT, 1000), (TEXT, 70_000)],
            "a PING beyond the limit": [(PING, 125)],
        }.items():
            limit = 100 if name.startswith("a PING") else 1000
            async with link(ws, role, max_frame_size=limit) as there:
                for opcode, size in frames:
                    payload = b"x" * min(size, 70_000)
                    there.peer.send_frame(opcode, payload, length=size)
                    if size == 1000:
                        await there.listener.until(ws.WSMsgType(opcode).name)
                if name in ("the limit", "a PING beyond the limit"):
                    there.peer.send_frame(PING, b"alive?")
                got = code_of(await there.peer.receive())
                there.peer.abort()
                sizes = [[event[0], len(event[1])] for event in (await there.events())[1:-1]]
                waiting = await outcome(there.transport.wait_disconnected())
                log(f"{role}: {name}", [got, sizes, waiting])

        for size in (256, 2048, 65536):
            async with link(ws, role, read_buffer_init_size=size) as there:
                payload = bytes(i % 251 for i in range(300_000))
                there.peer.send_frame(BINARY, payload[:10], fin=False)
                there.peer.send_frame(CONTINUATION, payload)
                there.peer.send_frame(CLOSE)
                events = await there.listener.until("CLOSE")
                whole = [event[1] for event in events[1:3]] == [payload[:10], payload]
                log(f"{role}: read_buffer_init_size {size}", whole)

        async with link(ws, role) as there:
            data = b"".join(there.peer.frame(BINARY, b"%d" % i * i) for i in range(200))
            for at in range(0, len(data), 1777):
                there.peer.send(data[at : at + 1777])
                await there.peer.writer.drain()
            events = await there.listener.until("BINARY", 200)
            log(f"{role}: in pieces", events[1:] == [["BINARY", b"%d" % i * i] for i in range(200)])
