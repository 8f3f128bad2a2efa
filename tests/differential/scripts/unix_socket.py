"""A unix socket from socket_factory; in a process of its own, for it may not survive."""

import asyncio
import os
import sys
import tempfile

from kit import PATIENCE, Peer, accept

DIFFERS = {"unix-socket": ["a unix socket"]}

CLIENT = """
import asyncio, socket, {module} as ws
def unix(_):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect({path!r})
    return sock
async def main():
    transport, _ = await ws.ws_connect(ws.WSListener, "ws://127.0.0.1/", socket_factory=unix)
    print("connected", flush=True)
    transport.disconnect(False)
    await transport.wait_disconnected()
asyncio.run(main())
"""


async def main(ws, log):
    async def handle(reader, writer):
        await accept(Peer(reader, writer, False))

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "s")
        server = await asyncio.start_unix_server(handle, path)
        client = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CLIENT.format(module=ws.__name__, path=path),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            line = await asyncio.wait_for(client.stdout.readline(), PATIENCE)
            log("a unix socket", line.decode().strip() or "no connection")
        except asyncio.TimeoutError:
            log("a unix socket", "hangs")
            client.kill()
        await client.wait()
        server.close()
