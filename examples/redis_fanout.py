"""A room that spans processes: what is said in one of them reaches all, through Redis.

python redis_fanout.py --port 9001 --redis redis://127.0.0.1:6379
python redis_fanout.py --port 9002 --redis redis://127.0.0.1:6379        needs: pip install redis
"""

from __future__ import annotations

import argparse
import asyncio

import redis.asyncio

from picows_c import WSFrame, WSListener, WSMsgType, WSTransport, broadcast, ws_create_server

CHANNEL = "room"


class Room:
    """The members in this process, and the way to those in others."""

    def __init__(self, url: str) -> None:
        self.redis = redis.asyncio.from_url(url)
        self.members: set[WSTransport] = set()
        self.outgoing: asyncio.Queue[bytes] = asyncio.Queue(1000)

    async def publish(self) -> None:
        while True:  # one after the other: the order of what is said stays
            await self.redis.publish(CHANNEL, await self.outgoing.get())

    async def run(self, host: str, port: int) -> None:
        async with self.redis.pubsub() as subscription:
            await subscription.subscribe(CHANNEL)
            publishing = asyncio.ensure_future(self.publish())
            server = await ws_create_server(
                lambda request: Member(self), host, port, assemble_messages=True
            )
            print("listening on", server.sockets[0].getsockname(), flush=True)
            try:
                async for message in subscription.listen():
                    if message["type"] == "message":
                        broadcast(self.members, WSMsgType.TEXT, message["data"])
            finally:
                publishing.cancel()
                await server.close_gracefully(timeout=5)


class Member(WSListener):
    def __init__(self, room: Room) -> None:
        self.room = room

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.room.members.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.room.members.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT and not self.room.outgoing.full():
            self.room.outgoing.put_nowait(frame.get_payload_as_bytes())


async def main(host: str, port: int, url: str) -> None:
    await Room(url).run(host, port)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9001)
    parser.add_argument("--redis", metavar="URL", default="redis://127.0.0.1:6379")
    options = parser.parse_args()
    asyncio.run(main(options.host, options.port, options.redis))
