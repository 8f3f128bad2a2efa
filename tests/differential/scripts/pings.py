"""PING and PONG: answered by the library, or by the listener."""

import asyncio
import socket

from kit import BINARY, PING, PONG, ROLES, link, recorder

DIFFERS = {
    "ping-flood": [f"{role}: every PING of a flood is answered" for role in ROLES],
    "pong-after-close": [f"{role}: a PING behind our CLOSE" for role in ROLES],
}


async def main(ws, log):
    def answer(transport, frame):
        if frame.msg_type == ws.WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes() + b"!")

    for role in ROLES:
        async with link(ws, role) as there:
            for payload in (b"", b"x", b"y" * 125):
                there.peer.send_frame(PING, payload)
                log(f"{role}: a PING of {len(payload)}", await there.peer.receive())
            there.peer.send_frame(PONG, b"unasked")
            log(f"{role}: delivered", await there.listener.until("PONG"))

        async with link(
            ws, role, recorder(ws, on_ws_frame=answer), enable_auto_pong=False
        ) as there:
            there.peer.send_frame(PING, b"x")
            log(f"{role}: auto pong off", await there.peer.receive())
            log(f"{role}: auto pong off: delivered", await there.listener.until("PING"))

        async with link(ws, role, enable_auto_pong=False) as there:
            there.peer.send_frame(PING, b"x")
            await there.listener.until("PING")
            there.transport.send(ws.WSMsgType.BINARY, b"only this")
            log(f"{role}: nobody answers", await there.peer.receive())

        async with link(ws, role) as there:
            there.transport.send_close(1000)
            there.peer.send_frame(PING, b"late")
            await there.peer.receive()
            there.peer.send_frame(BINARY, b"late")
            await there.listener.until("BINARY")
            there.transport.disconnect()
            log(f"{role}: a PING behind our CLOSE", await there.peer.rest())

        # The peer sends pings and reads nothing until the library cannot write any more.
        async with link(ws, role) as there:
            underlying = there.transport.underlying_transport
            sock = underlying.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            there.peer.writer.transport.pause_reading()
            flood = there.peer.frame(PING, b"x" * 125) * 1000
            count = 0
            while underlying.get_write_buffer_size() < 125 and count < 60_000:
                there.peer.send(flood)
                count += 1000
                await asyncio.wait_for(there.peer.writer.drain(), 5)
                await asyncio.sleep(0)
            there.peer.send(flood * 3)
            there.peer.send_frame(BINARY, b"behind")
            count += 3000
            await there.listener.until("BINARY")
            there.transport.send(ws.WSMsgType.BINARY, b"the end")
            there.peer.writer.transport.resume_reading()
            pongs = await there.peer.until(BINARY)
            log(f"{role}: every PING of a flood is answered", len(pongs) - 1 == count)
            log(f"{role}: the last PONG", pongs[-2])
