import asyncio
import sys

import aiohttp


async def main(url):
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        await socket.send_str("hello")
        print(await socket.receive_str())


asyncio.run(main(sys.argv[1]))
