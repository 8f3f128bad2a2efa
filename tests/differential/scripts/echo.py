"""Both ends are the library: every type and size, there and back."""

from kit import recorder, serving

SIZES = (0, 1, 125, 126, 127, 65535, 65536, 200_000)


async def main(ws, log):

    def echo(transport, frame):
        if frame.msg_type != ws.WSMsgType.CLOSE:
            payload = frame.get_payload_as_memoryview()
            transport.send(frame.msg_type, payload, frame.fin, frame.rsv1, frame.rsv2, frame.rsv3)

    server = recorder(ws, on_ws_frame=echo)
    async with serving(ws, lambda _: server) as port:
        client = recorder(ws)
        transport, _ = await ws.ws_connect(lambda: client, f"ws://127.0.0.1:{port}/")
        kinds = ws.WSMsgType
        count = 0
        for size in SIZES:
            payload = bytes(i % 251 for i in range(size))
            transport.send(kinds.BINARY, payload)
            count += 1
            events = await client.until("BINARY", count)
            log(f"{size} bytes", events[-1] == ["BINARY", payload])
        transport.send(kinds.TEXT, "Grüße, 世界, 🐄")
        log("text", (await client.until("TEXT"))[-1])
        transport.send(kinds.PONG, b"unasked")
        log("an unasked PONG", (await client.until("PONG"))[-1])
        transport.send(kinds.TEXT, "a", fin=False)
        transport.send(kinds.CONTINUATION, "b", False)
        transport.send_ping(b"between")
        transport.send(kinds.CONTINUATION, b"")
        events = await client.until("CONTINUATION", 2)
        log("fragments", [event for event in events[-4:] if event[0] != "PONG"])
        for i in range(1000):
            transport.send(kinds.BINARY, b"%d" % i)
        events = await client.until("BINARY", count + 1000)
        numbers = [b"%d" % i for i in range(1000)]
        log("1000 in a row", [event[1] for event in events[-1000:]] == numbers)
        transport.disconnect()
        log("the client's last", (await client.until("disconnected"))[-1])
        log("the server's last", (await server.until("disconnected"))[-1])
