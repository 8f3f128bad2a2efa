"""picows_c and the websockets package."""

from __future__ import annotations

import asyncio
import contextlib
import inspect

import pytest
from talk import EXTENSIONS, Implementation, Talk, Theirs

try:
    from websockets.asyncio import client, server
    from websockets.extensions import permessage_deflate
except ImportError:
    client = server = None


class WebsocketsEnd(Theirs):
    empty_frames_at_end = 1

    def __init__(self, connection):
        self._connection = connection
        self.answer = connection.response.headers.get(EXTENSIONS)

    @property
    def compresses(self):
        return bool(self._connection.protocol.extensions)

    async def send(self, message):
        await self._connection.send(message)

    async def send_fragments(self, parts, ping):
        pongs = []

        async def one_by_one():
            for part in parts[:-1]:
                yield part
            pongs.append(await self._connection.ping(ping))
            yield parts[-1]

        await self._connection.send(one_by_one())
        await pongs[0]

    async def receive(self):
        return await self._connection.recv()

    async def ping(self, payload):
        pong = await self._connection.ping(payload)
        await pong

    async def close(self, code, reason):
        await self._connection.close(code, reason)

    async def closed(self):
        await self._connection.wait_closed()
        return self._connection.protocol.close_code, self._connection.protocol.close_reason


def options_for(make_extension, terms):
    # The argument compression= has settings of its own.
    options = {"compression": None, "max_size": None}
    if terms is not None:
        options["extensions"] = [make_extension(**terms)]
    return options


class Websockets(Implementation):
    @contextlib.asynccontextmanager
    async def connect(self, net, path, terms):
        options = options_for(permessage_deflate.ClientPerMessageDeflateFactory, terms)
        if "proxy" in inspect.signature(client.connect.__init__).parameters:
            options["proxy"] = None
        if net.scheme == "wss":
            options["ssl"] = net.certificates.client()
        async with client.connect(net.url(path), **options) as connection:
            yield WebsocketsEnd(connection)

    @contextlib.asynccontextmanager
    async def serve(self, net, terms):
        accepted = asyncio.Queue()

        async def handle(connection):
            accepted.put_nowait(WebsocketsEnd(connection))
            await connection.wait_closed()

        options = options_for(permessage_deflate.ServerPerMessageDeflateFactory, terms)
        if net.scheme == "wss":
            options["ssl"] = net.certificates.server()
        async with server.serve(handle, "127.0.0.1", 0, **options) as listening:
            yield next(iter(listening.sockets)).getsockname()[1], accepted.get


@pytest.fixture
def other(need):
    need("the package websockets, 13 or later", server)
    return Websockets()


class TestWebsockets(Talk):
    test_close_without_a_code_from_the_peer = None  # it always sends one
