import asyncio
import sys

from websockets.asyncio.client import connect


async def main(url):
    async with connect(url) as websocket:
        await websocket.send("hello")
        print(await websocket.recv())


asyncio.run(main(sys.argv[1]))
