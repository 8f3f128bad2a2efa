"""The mask keys of a client: another process has others."""

import asyncio
import sys

from kit import accept, raw_server

DIFFERS = {"mask-keys": ["the same keys in another process"]}

CLIENT = """
import asyncio, {module} as ws
async def main():
    transport, _ = await ws.ws_connect(ws.WSListener, "ws://127.0.0.1:{port}/")
    for _ in range(4):
        transport.send(ws.WSMsgType.TEXT, b"\\0\\0\\0\\0")
    transport.disconnect()
    await transport.wait_disconnected()
asyncio.run(main())
"""


async def main(ws, log):
    got = []

    async def handle(peer):
        await accept(peer)
        data = await peer.reader.readexactly(40)
        # Four frames of two bytes, a key, and four zeros: masked, the key itself.
        got.append([data[i + 2 : i + 6] for i in range(0, 40, 10)])
        peer.end()

    async with raw_server(handle) as port:
        for _ in range(2):
            code = CLIENT.format(module=ws.__name__, port=port)
            run = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
            await run.wait()
    log("the same keys in another process", got[0] == got[1])
    log("a key for each frame", len(set(got[0])) == 4)
