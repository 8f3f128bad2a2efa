"""disconnect() where the peer does not read, and where it resets the connection."""

import contextlib
import socket
import struct

from kit import IMPATIENCE, ROLES, link, ours, outcome

DIFFERS = {"disconnect-bounded": [f"{role}: a peer that does not read" for role in ROLES]}


async def main(ws, log):
    for role in ROLES:
        async with link(ws, role, **ours(ws, close_timeout=0.2)) as there:
            there.peer.writer.transport.pause_reading()
            for _ in range(20):
                there.transport.send(ws.WSMsgType.BINARY, b"x" * 1_000_000)
            there.transport.disconnect()
            ended = await outcome(there.transport.wait_disconnected(), IMPATIENCE)
            log(f"{role}: a peer that does not read", ended)

        async with link(ws, role) as there:
            there.transport.underlying_transport.pause_reading()
            sock = there.peer.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            there.peer.abort()
            with contextlib.suppress(OSError, EOFError):
                await there.peer.reader.read()
            for _ in range(3):
                there.transport.send(ws.WSMsgType.BINARY, b"x")
            log(f"{role}: a send that fails", await there.events())
            log(f"{role}: waiting", await outcome(there.transport.wait_disconnected()))
